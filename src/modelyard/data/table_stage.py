"""Typed rows on their way from the source to the splits: shards on disk, one in memory at a time.

A row's *index* is its place among the rows that kept the contract; ``kept`` says which of them are
still there. Shards are Arrow files in a folder that goes when ingest ends.
"""

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

import numpy as np

if TYPE_CHECKING:
    import pyarrow as pa

ORDINAL = "(ordinal)"
"""The column of a shard that says which row of the scan a row is."""

SHARD_ROWS = 250_000
_BLOCK_ROWS = 65_536
_ENCODED_SHARE = 0.02


@dataclass(frozen=True)
class Shard:
    """The rows from index ``start`` on, ``num_rows`` of them, in the Arrow file ``path``."""

    path: Path
    start: int
    num_rows: int

    def read(self, columns: Iterable[str] | None = None) -> "pa.Table":
        """All rows of the named columns, by default of all."""
        import pyarrow as pa

        with pa.OSFile(str(self.path)) as file:
            names = None
            if columns is not None:
                schema = pa.ipc.open_file(file).schema
                names = [schema.get_field_index(name) for name in columns]
            options = pa.ipc.IpcReadOptions(included_fields=names)
            table = pa.ipc.open_file(file, options=options).read_all()
        return table if columns is None else table.select(list(columns))


@dataclass
class Stage:
    """The shards in their order; ``kept`` bool [N] is made when the last one is written."""

    shards: list[Shard] = field(default_factory=list)
    kept: np.ndarray = field(default_factory=lambda: np.empty(0, bool))

    @property
    def num_rows(self) -> int:
        """Rows in all shards, kept or not."""
        return sum(shard.num_rows for shard in self.shards)

    @property
    def num_kept(self) -> int:
        """Rows that are still there."""
        return int(np.count_nonzero(self.kept))

    @property
    def schema(self) -> "pa.Schema":
        """The columns but for the ordinal."""
        import pyarrow as pa

        with pa.OSFile(str(self.shards[0].path)) as file:
            schema = pa.ipc.open_file(file).schema
        return schema.remove(schema.get_field_index(ORDINAL))

    @property
    def names(self) -> list[str]:
        """The columns' names, but for the ordinal."""
        return self.schema.names

    def kept_of(self, shard: Shard) -> np.ndarray:
        """Which rows of a shard are still there, bool [n]."""
        return self.kept[shard.start : shard.start + shard.num_rows]

    def tables(self, columns: Iterable[str]) -> Iterator[tuple[np.ndarray, "pa.Table"]]:
        """The rows that are still there, shard by shard: index int64 [n], and the columns."""
        wanted = list(columns)
        for shard in self.shards:
            kept, table = self.kept_of(shard), shard.read(wanted)
            indices = shard.start + np.flatnonzero(kept)
            yield indices, table if len(indices) == len(kept) else table.filter(kept)

    def column(self, name: str) -> "pa.ChunkedArray":
        """One column of the rows that are still there; text without a dictionary."""
        import pyarrow as pa

        chunks = [plain(table.column(name)) for _, table in self.tables([name])]
        kind = chunks[0].type
        return pa.chunked_array([part for chunk in chunks for part in chunk.chunks], kind)

    def present(self, name: str) -> np.ndarray | None:
        """The places int64 [m], among the rows still there, of those with a value; None: all."""
        tables = [table.column(0) for _, table in self.tables([name])]
        if not any(column.null_count for column in tables):
            return None
        return np.flatnonzero(np.concatenate([column.is_valid().to_numpy() for column in tables]))

    def ordinals(self) -> np.ndarray:
        """Those of the rows that are still there, int64 [n]."""
        return self.column(ORDINAL).to_numpy()

    def drop(self, indices: np.ndarray) -> None:
        """Leave rows out from now on."""
        self.kept[indices] = False


class StageWriter:
    """Cuts rows into shards and writes them in a thread of its own, beside what makes the rows.

    Args:
        folder: For the shards; it must not exist.
        rows: Of a shard, but for the last one.
        on_shard: Called with each shard when it is written.
    """

    def __init__(
        self, folder: Path, rows: int = SHARD_ROWS, on_shard: Callable[[Shard], None] | None = None
    ) -> None:
        self._folder, self._rows, self._on_shard = folder, rows, on_shard
        self._stage = Stage()
        self._encoded: set[str] | None = None
        self._waiting: list[pa.Table] = []
        self._num_waiting = 0
        self._pending: Future[None] | None = None
        self._pool = ThreadPoolExecutor(1)

    def __enter__(self) -> Self:
        self._folder.mkdir(parents=True)
        return self

    def add(self, ordinals: np.ndarray, columns: "pa.Table") -> None:
        """Take in the next rows."""
        import pyarrow as pa

        self._waiting.append(columns.append_column(ORDINAL, pa.array(ordinals)))
        self._num_waiting += len(ordinals)
        while self._num_waiting >= self._rows:
            self._cut(self._rows)

    def flush(self) -> None:
        """Make a shard of the rows that there are; what follows may have other types."""
        if self._num_waiting:
            self._cut(self._num_waiting)
        self._waiting = []

    def finish(self) -> Stage:
        """The stage with all its rows."""
        self.flush()
        self._wait()
        self._stage.kept = np.ones(self._stage.num_rows, bool)
        return self._stage

    def _cut(self, num_rows: int) -> None:
        import pyarrow as pa

        table = pa.concat_tables(self._waiting)
        shard_table, rest = table.slice(0, num_rows), table.slice(num_rows)
        self._waiting, self._num_waiting = [rest], rest.num_rows
        path = self._folder / f"{len(self._stage.shards):05d}.arrow"
        shard = Shard(path, self._stage.num_rows, num_rows)
        self._wait()
        if self._encoded is None:
            columns = {name: shard_table.column(name) for name in shard_table.column_names}
            self._encoded = {name for name, column in columns.items() if _repeats(column)}
        self._pending = self._pool.submit(self._write, shard, shard_table)
        self._stage.shards.append(shard)

    def _wait(self) -> None:
        if self._pending is not None:
            self._pending.result()
            self._pending = None
            if self._on_shard is not None:
                self._on_shard(self._stage.shards[-1])

    def _write(self, shard: Shard, table: "pa.Table") -> None:
        import pyarrow as pa

        for position, name in enumerate(table.column_names):
            if name in (self._encoded or ()):
                column = table.column(position).combine_chunks().dictionary_encode()
                table = table.set_column(position, name, column)
        options = pa.ipc.IpcWriteOptions(compression="lz4")
        with (
            pa.OSFile(str(shard.path), "wb") as file,
            pa.ipc.new_file(file, table.schema, options=options) as writer,
        ):
            writer.write_table(table, max_chunksize=_BLOCK_ROWS)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._pool.shutdown(wait=True)


def plain(column: Any) -> Any:
    """A column without its dictionary, if it has one."""
    import pyarrow as pa

    return column.cast(column.type.value_type) if pa.types.is_dictionary(column.type) else column


def plain_table(table: "pa.Table") -> "pa.Table":
    """The same for all columns of a table."""
    import pyarrow as pa

    return pa.table({name: plain(table.column(name)) for name in table.column_names})


def _repeats(column: Any) -> bool:
    """Whether text has so few different values that numbering them pays."""
    import pyarrow as pa

    if not pa.types.is_string(column.type) or not len(column):
        return False
    return len(column.unique()) <= max(16, _ENCODED_SHARE * len(column))
