"""Ingest of pictures and sounds: rows in memory, one manifest line each."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from modelyard.artifacts import Layout
from modelyard.data import leakage, splits, targets
from modelyard.data.contract import Checked
from modelyard.data.dataset import Accepted, SplitWriter
from modelyard.data.manifest import build_manifest, columns_of
from modelyard.data.media import describe, payload_columns, read_media
from modelyard.data.pii import HIDDEN
from modelyard.data.profile import profile_columns
from modelyard.data.quarantine import Refused, write_quarantine
from modelyard.data.refusals import refuse_failed, refuse_too_many
from modelyard.data.report import DataReport
from modelyard.data.targets import Targets
from modelyard.data.validation import import_expectations, validate
from modelyard.errors import DataRejected
from modelyard.params import DataParams

_BLOCK_ROWS = 1024
_GROUP_BYTES = 32 << 20
_FIGURES = ("pixel_mean", "pixel_min", "pixel_max", "peak", "rms")


@contextmanager
def accept_media(
    layout: Layout, params: DataParams, state_dir: Path, folder: Path, report: DataReport
) -> Iterator[Accepted]:
    """Read, check, validate and divide the rows; give what ``write_dataset`` writes.

    Raises:
        ModelyardError: see ``modelyard.data.ingest.ingest``.
    """
    del state_dir, folder
    columns_of(params)
    import_expectations(params, layout.root)
    checked = read_media(layout.raw, params)
    report.read(checked.num_read, Refused.of(checked.rejections), checked.counts)
    refuse_too_many(report, params)
    manifest = build_manifest(checked, params)
    report.validation = validation = validate(manifest, params)
    refused = Refused.of({*checked.rejections, *validation.rejections})
    report.read(checked.num_read, refused, checked.counts)
    refuse_too_many(report, params)
    refuse_failed(validation)
    checked = checked.refuse(validation.rejections)
    target = _targets(checked, params)
    parts = _divide(checked, target, params)
    _refuse_leaks(checked, parts, params)
    report.samples = _samples(checked, target, parts, params)
    profiles = _profiles(checked, manifest, target, params)
    yield Accepted(
        targets=target,
        parts=parts,
        features=[describe(params)],
        sensitive=_sensitive(checked, params),
        profiles=profiles,
        validation=validation,
        refused=refused,
        num_read=checked.num_read,
        write=lambda place: _write(place, checked, target, parts, params),
        counts={"converted": checked.counts} if checked.counts else {},
    )


def _targets(checked: Checked, params: DataParams) -> Targets:
    columns = {name: checked.scalars[name].array for name in params.targets}
    (first, *_) = columns.values()
    if params.task == "regression":
        return targets.number(first.astype(np.float64), params)
    if params.task == "multi-label" and len(columns) > 1:
        return targets.several(columns)
    separator = params.field(params.targets[0]).separator
    if params.task == "multi-label" and separator is not None:
        return targets.separated(first.tolist(), separator, params)
    return targets.classes(first, params)


def _divide(checked: Checked, target: Targets, params: DataParams) -> np.ndarray:
    split = params.split
    parts = _parts(checked, target, params)
    splits.refuse_empty(parts, split)
    if params.task == "classification":
        everywhere = split.type == "stratify" and split.column == params.targets[0]
        splits.refuse_absent(target.values, target.labels, parts, params.targets[0], everywhere)
    return parts


def _parts(checked: Checked, target: Targets, params: DataParams) -> np.ndarray:
    split, name = params.split, params.split.column
    if split.type == "hash":
        return splits.by_hash(_digests(checked, params), split)
    assert name is not None
    if split.type == "stratify":
        return _stratify(checked, target, params)
    column = checked.scalars[name]
    if column.null.any():
        raise DataRejected(
            f"{np.count_nonzero(column.null)} rows have no {name!r}, which divides them",
            f"Set constraints: {{required: true}} on {name}, so that such rows are refused.",
        )
    if split.type == "datetime":
        return splits.by_time(column.array, split)
    names, codes = np.unique(column.array, return_inverse=True)
    if split.type == "group":
        return splits.by_group(codes, split)
    texts = [str(value) for value in names.tolist()]
    return splits.fixed(codes, texts, split, targets.strata(target))


def _stratify(checked: Checked, target: Targets, params: DataParams) -> np.ndarray:
    column = checked.scalars[params.split.column or ""]
    if params.task == "regression" and params.split.column == params.targets[0]:
        return splits.stratify(splits.tenths(target.values, params.split), params.split)
    strata = column.array
    if column.null.any():
        strata = np.where(column.null, "(missing)", strata.astype(str))
    return splits.stratify(strata, params.split)


def _digests(checked: Checked, params: DataParams) -> np.ndarray:
    """What a hash split goes by, uint64 [N]: the payload's sha256, or the named fields."""
    import hashlib

    keys = [key for key in params.split.columns if key != params.media.name]
    columns = [checked.scalars[key].array.astype(str) for key in keys]
    if not keys or params.media.name in params.split.columns:
        columns.append(checked.figures["sha256"])
    texts = ("\x1f".join(values) for values in zip(*columns, strict=True))
    digests = (hashlib.sha256(text.encode()).digest()[:8] for text in texts)
    return np.array([int.from_bytes(digest, "little") for digest in digests], np.uint64)


def _refuse_leaks(checked: Checked, parts: np.ndarray, params: DataParams) -> None:
    for name in params.leakage.groups:
        column = checked.scalars[name]
        values, codes = np.unique(column.array, return_inverse=True)
        groups = np.where(column.null, -1, codes)
        shown = [HIDDEN if params.field(name).pii else str(value) for value in values.tolist()]
        leakage.refuse_shared_groups(groups, parts, name, shown.__getitem__, _rows(checked))
    if params.leakage.rows == "fail":
        hashes = [int(digest[:16], 16) for digest in checked.figures["sha256"]]
        leakage.refuse_equal_rows(
            np.array(hashes, np.uint64), parts, [params.media.name], _rows(checked)
        )


def _rows(checked: Checked) -> leakage.Positions:
    return lambda places: checked.rows[places]


def _samples(
    checked: Checked, target: Targets, parts: np.ndarray, params: DataParams
) -> list[tuple[str, np.ndarray]]:
    """For each class its first pictures in train, uint8 [n,H,W] or [n,H,W,3]."""
    if params.kind != "image" or target.values.ndim != 1 or not target.labels:
        return []
    image = params.media
    size = [image.height or 0, image.width or 0, *([3] if image.channels == 3 else [])]
    samples = []
    for code, label in enumerate(target.labels[: DataReport.MAX_CLASSES]):
        places = np.flatnonzero((target.values == code) & (parts == splits.TRAIN))
        chosen = checked.payload[places[: DataReport.NUM_SAMPLES]]
        samples.append((label, chosen.reshape(-1, *size)))
    return samples


def _sensitive(checked: Checked, params: DataParams) -> list[str]:
    return [
        item.name
        for item in params.schema_.fields
        if item.sensitive
        and not item.pii
        and item.name in checked.scalars
        and item.name not in params.targets
    ]


def _profiles(
    checked: Checked, manifest: Any, target: Targets, params: DataParams
) -> dict[str, Any]:
    """The target's, and of the figures of each picture or sound, as ``FIELD.pixel_mean``."""
    import pyarrow as pa

    figures = [name for name in _FIGURES if name in manifest.columns]
    kept = manifest[manifest["row"].isin(checked.rows)]
    table = pa.table({name: pa.array(np.asarray(kept[name], np.float64)) for name in figures})
    kinds = dict.fromkeys(figures, "number")
    for name in params.targets:
        table = table.append_column(name, _arrow(checked, name))
        kinds[name] = params.field(name).type
        if target.labels:
            labels = pa.array(list(map(str, checked.scalars[name].array.tolist())), pa.string())
            table = table.set_column(table.num_columns - 1, name, labels)
            kinds[name] = "category"
    found = profile_columns([(checked.rows, table)], kinds, len(checked.rows))
    columns = {
        f"{params.media.name}.{name}" if name in figures else name: profile.as_json()
        for name, profile in found.items()
    }
    return {"rows": len(checked.rows), "columns": columns}


def _arrow(checked: Checked, name: str) -> Any:
    import pyarrow as pa

    column = checked.scalars[name]
    array = column.array
    if array.dtype.kind == "M":
        kind = pa.date32() if np.datetime_data(array.dtype)[0] == "D" else pa.timestamp("us")
        return pa.array(array, mask=column.null).cast(kind)
    return pa.array(array, pa.string() if array.dtype == object else None, mask=column.null)


def _write(
    folder: Path, checked: Checked, target: Targets, parts: np.ndarray, params: DataParams
) -> None:
    import pyarrow as pa

    row_bytes = checked.payload.itemsize * checked.payload.shape[1]
    with ExitStack() as stack:
        writer: SplitWriter | None = None
        for start in range(0, len(checked.rows), _BLOCK_ROWS):
            here = slice(start, start + _BLOCK_ROWS)
            keep = np.zeros(len(checked.rows), bool)
            keep[here] = True
            block = replace(checked, rejections=()).take(keep)
            columns = {"row": pa.array(block.rows, pa.int64())}
            columns |= payload_columns(block.payload, params)
            columns |= {name: _arrow(block, name) for name in _sensitive(checked, params)}
            columns["target"] = target.arrow(target.values[here])
            table = pa.table(columns)
            writer = writer or stack.enter_context(
                SplitWriter(folder, table.schema, max(1, _GROUP_BYTES // row_bytes))
            )
            writer.write(table, parts[here])
    write_quarantine(folder / "quarantine.parquet", checked.rejections)
