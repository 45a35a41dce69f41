"""Pictures and sounds: from the fetched files to accepted rows, from those to Parquet columns."""

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np

from modelyard.data.columns import MEL_SUFFIX
from modelyard.data.contract import Checked, check, finish
from modelyard.data.decoded import Decoded
from modelyard.data.decoding import decode_all, empty_payload
from modelyard.data.files import has_files, list_files
from modelyard.data.quarantine import Rejection, rejection
from modelyard.data.raw import raw_files
from modelyard.data.readers import read_batches
from modelyard.data.scalars import check_scalars
from modelyard.data.spectrogram import Spectrogram
from modelyard.errors import SourceError
from modelyard.params import DataParams

_COMPACT_ROWS = 4096


def read_media(raw: Path, params: DataParams) -> Checked:
    """Read and check what fetch left in the folder ``raw``: one packed table, or files.

    Raises:
        ParamsError: placeholders do not fit the schema, or the spectrogram cannot be computed.
        SourceError: the table cannot be read as the contract says, or there is no file.
        DataRejected: see ``modelyard.data.contract.check``.
    """
    describe(params)
    if has_files(params):
        return _read_files(raw, params)
    files = raw_files(raw)
    if len(files) != 1:
        raise SourceError(
            f"data.source {params.source!r}: there are {len(files)} files, and nothing in their "
            "paths gives a field",
            f"Put placeholders into it: {{{params.targets[0]}}}/*, or name one packed table.",
        )
    return check(read_batches(raw / files[0], params), params)


def payload_columns(payload: np.ndarray, params: DataParams) -> dict[str, Any]:
    """The dataset's columns for a block of rows, ``pyarrow.FixedSizeListArray`` [N] by name.

    ``payload`` is uint8 [N, pixels] or int16 [N, samples]; beside a sound stands ``NAME.mel``, its
    spectrogram, float32 [mels x frames].
    """
    import pyarrow as pa

    def lists(rows: np.ndarray) -> Any:
        flat = np.ascontiguousarray(rows).reshape(-1)
        return pa.FixedSizeListArray.from_arrays(pa.array(flat), int(np.prod(rows.shape[1:])))

    field = params.media
    columns = {field.name: lists(payload)}
    if field.type == "audio":
        spectrogram = Spectrogram.of_contract(field, params.prepare.audio)
        columns[field.name + MEL_SUFFIX] = lists(spectrogram.transform(payload))
    return columns


def describe(params: DataParams) -> dict[str, Any]:
    """The entry of dataset.json's ``features`` for the picture or sound.

    Raises:
        ParamsError: the spectrogram cannot be computed for sounds of this rate and length.
    """
    field = params.media
    if field.type == "audio":
        return Spectrogram.of_contract(field, params.prepare.audio).as_feature(field.name)
    size = {"height": field.height, "width": field.width, "channels": field.channels}
    return {"name": field.name, "type": "image", **size, "fit": field.fit}


def _read_files(raw: Path, params: DataParams) -> Checked:
    """Check the fields in the paths first: what they refuse is not decoded."""
    listing, field = list_files(raw, params), params.media
    scalars, refused = check_scalars(listing.fields, listing.rows, params)
    keep = ~np.isin(listing.rows, [item.row for item in refused])
    rows, paths = listing.rows[keep], np.array(listing.paths, dtype=object)[keep]
    shown = np.array(listing.shown, dtype=object)[keep]
    payload = empty_payload(len(rows), field)
    results = decode_all([raw / path for path in paths], field, payload)
    decoded = np.array([isinstance(result, Decoded) for result in results], bool)
    rejections: list[Rejection] = [*listing.rejections, *refused]
    for row, path, result in zip(rows, shown, results, strict=True):
        if not isinstance(result, Decoded):
            rejections.append(rejection(row, field.name, path, result))
    found = [result for result in results if isinstance(result, Decoded)]
    checked = Checked(
        rows=rows[decoded],
        payload=_compact(payload, decoded),
        scalars={name: column.take(keep).take(decoded) for name, column in scalars.items()},
        rejections=tuple(sorted(set(rejections))),
        num_read=listing.num_read,
        figures={"path": shown[decoded], **_figures(found)},
        counts=dict(sorted(Counter(note for item in found for note in item.notes).items())),
    )
    return finish(checked, params)


def _figures(found: list[Decoded]) -> dict[str, np.ndarray]:
    """The figures of all files as columns [N]; texts as objects."""
    names = found[0].figures if found else {}
    columns = {name: [item.figures[name] for item in found] for name in names}
    return {
        name: np.array(values, dtype=object if isinstance(values[0], str) else None)
        for name, values in columns.items()
    }


def _compact(payload: np.ndarray, keep: np.ndarray) -> np.ndarray:
    """The rows that ``keep`` (bool [N]) selects, moved up in place: a copy could be gigabytes."""
    num = 0
    positions = np.flatnonzero(keep)
    for start in range(0, len(positions), _COMPACT_ROWS):
        block = positions[start : start + _COMPACT_ROWS]
        payload[num : num + len(block)] = payload[block]
        num += len(block)
    return payload[:num]
