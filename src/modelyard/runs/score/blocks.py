"""A source as blocks of rows that the model can take, each judged by the contract.

Blocks are the same wherever the reading begins: a block that is done already is read past.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from modelyard.data.columns import raw_feature
from modelyard.data.quarantine import Rejection
from modelyard.errors import SourceError
from modelyard.runs.score.contract import Contract

if TYPE_CHECKING:
    import pyarrow as pa

    from modelyard.data.readers import Batch

ROWS = {"tabular": 131_072, "text": 32_768, "image": 8_192, "audio": 1_024}
"""Rows of a block, by the kind of data: some tens of megabytes."""
REFUSED = {"row": "int64", "column": "string", "value": "string", "reason": "string"}


@dataclass(frozen=True)
class Block:
    """Consecutive rows of the source, ``num_read`` of them.

    ``rows`` int64 [n] are the accepted ones, ``inputs`` theirs by feature (as ``SplitColumns`` has
    them); ``refused`` has columns ``REFUSED``; ``unmet`` are expectations on the block as a whole.
    """

    rows: np.ndarray
    inputs: dict[str, np.ndarray]
    refused: "pa.Table"
    num_refused: int
    num_read: int
    unmet: tuple[str, ...] = ()


@dataclass
class Source:
    """What is read: ``raw`` is the fetched folder."""

    raw: Path
    contract: Contract
    ragged: list[Rejection] = field(default_factory=list)
    """Rows that could not be taken apart; known when everything has been read."""

    def blocks(self, done: Callable[[int], bool]) -> Iterator[Block | None]:
        """The blocks in order; None in place of one that is ``done`` (by its number from 0).

        Rows of tables are numbered without those of ``ragged`` until all is read: see ``moved``.

        Raises:
            SourceError: the source is not as the contract says.
        """
        if self.contract.params.kind in ("tabular", "text"):
            return self._of_table(done)
        return self._of_media(done)

    @cached_property
    def files(self) -> list[Path] | None:
        """The files that are a row each, in their order; None where rows stand in tables."""
        from modelyard.data.raw import raw_files
        from modelyard.data.readers import FORMATS

        paths = raw_files(self.raw)
        tables = [path for path in paths if path.name.lower().endswith(FORMATS)]
        if self.contract.params.kind in ("image", "audio"):
            return None if len(paths) == 1 and tables else paths
        # Tables may end in .txt as well: then there is one, and the model learned from such.
        alone = len(paths) == 1 and not self.contract.learned_from_files
        return None if self.contract.texts is None or tables or alone else paths

    def moved(self, rows: np.ndarray) -> np.ndarray:
        """The positions in the source of rows of blocks, int64 [n], once all is read."""
        if not self.ragged:
            return rows
        lost = np.sort(np.array([item.row for item in self.ragged], np.int64))
        return rows + np.searchsorted(lost - np.arange(len(lost)), rows, side="right")

    def _of_table(self, done: Callable[[int], bool]) -> Iterator[Block | None]:
        from modelyard.data.table_files import table_files
        from modelyard.data.table_scan import Places
        from modelyard.data.table_source import TableSource
        from modelyard.runs.score.table import Judge

        contract, places = self.contract, Places()
        params, texts = contract.params, contract.texts
        if texts is not None and self.files is not None:
            source = TableSource(texts, contract.fields, (), self.raw)
        else:
            files = table_files(self.raw, params, contract.optional)
            source = TableSource(params, contract.fields, tuple(files), self.raw)
        judge = Judge(contract)
        for number, batch in enumerate(source.batches(ROWS[params.kind], places)):
            yield None if done(number) else judge.block(batch)
        self.ragged = places.ragged

    def _of_media(self, done: Callable[[int], bool]) -> Iterator[Block | None]:
        from modelyard.data.raw import raw_files

        paths = self.files
        if paths is None:
            yield from self._of_packed(self.raw / raw_files(self.raw)[0], done)
            return
        size = ROWS[self.contract.params.kind]
        for number, start in enumerate(range(0, len(paths), size)):
            chunk = paths[start : start + size]
            yield None if done(number) else self._decoded(start, chunk)

    def _of_packed(self, path: Path, done: Callable[[int], bool]) -> Iterator[Block | None]:
        from modelyard.data.decoding import empty_payload
        from modelyard.data.packed import fill_payload

        params = self.contract.params
        media = params.media
        for number, batch in enumerate(_read_packed(path, self.contract)):
            if done(number):
                yield None
                continue
            payload = empty_payload(len(batch.rows), media)
            arrays, missing = batch.columns.get(media.name, []), params.schema_.missing_values
            found, _ = fill_payload(arrays, batch.rows, media, missing, payload)
            yield self._media_block(batch.rows, payload, [*batch.rejections, *found])

    def _decoded(self, start: int, paths: list[Path]) -> Block:
        from modelyard.data.decoded import Decoded
        from modelyard.data.decoding import decode_all, empty_payload
        from modelyard.data.quarantine import rejection

        media = self.contract.params.media
        payload = empty_payload(len(paths), media)
        results = decode_all([self.raw / path for path in paths], media, payload)
        rows = np.arange(start, start + len(paths), dtype=np.int64)
        found = [
            rejection(row, media.name, path.as_posix(), result)
            for row, path, result in zip(rows.tolist(), paths, results, strict=True)
            if not isinstance(result, Decoded)
        ]
        return self._media_block(rows, payload, found)

    def _media_block(self, rows: np.ndarray, payload: np.ndarray, found: list[Rejection]) -> Block:
        (feature,) = self.contract.features
        refused = {item.row for item in found}
        keep = ~np.isin(rows, list(refused))
        shape: tuple[int, ...] = (-1, feature.get("samples", 0))
        if feature["type"] == "image":
            colour = () if feature["channels"] == 1 else (feature["channels"],)
            shape = (-1, feature["height"], feature["width"], *colour)
        inputs = {feature["name"]: payload[keep].reshape(shape)}
        num_read = len(refused | set(rows.tolist()))
        return Block(rows[keep], inputs, as_table(found), len(refused), num_read)


def as_table(found: list[Rejection]) -> "pa.Table":
    """Rejections as the columns of ``REFUSED``, in the order of the source."""
    import pyarrow as pa

    items = sorted(set(found))
    return pa.table(
        {
            name: pa.array([getattr(item, name) for item in items], getattr(pa, kind)())
            for name, kind in REFUSED.items()
        }
    )


def inputs_of(table: "pa.Table", contract: Contract) -> dict[str, np.ndarray]:
    """The model's inputs from typed columns."""
    return {feature["name"]: raw_feature(table, feature) for feature in contract.features}


def _read_packed(path: Path, contract: Contract) -> "Iterator[Batch]":
    """The batches of a packed table with the columns beside the media, or else without them."""
    from modelyard.data.readers import read_batches

    params = contract.params
    alone = params.schema_.model_copy(update={"fields": contract.fields})
    first: SourceError | None = None
    for schema in (params.schema_, alone):
        batches = read_batches(path, params.model_copy(update={"schema_": schema}))
        try:
            batch = next(batches)
        except SourceError as error:
            first = first or error
        else:
            return chain([batch], batches)
    assert first is not None
    raise first
