"""Rows of Python values to one Parquet file, where nobody says the columns' types beforehand.

A column's type is that of its values so far. Where a later batch does not fit (all were missing
before, an integer column gets a fraction, SQLite mixes words and numbers), what follows goes to a
further file of the wider type, and the files are joined in the end. So memory holds one batch.
"""

import json
from collections.abc import Sequence
from contextlib import suppress
from datetime import date, datetime
from decimal import Decimal
from math import isfinite
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from modelyard.errors import SourceError

if TYPE_CHECKING:
    import pyarrow as pa
    import pyarrow.parquet as pq

_NUMBERS = (int, float, Decimal)
_BYTES = {bytes, bytearray, memoryview}


class TypedRows:
    """Writes batches to ``path`` when the block ends without an error."""

    def __init__(self, path: Path, names: list[str]) -> None:
        self._path = path
        self._names = names
        self._parts: list[Path] = []
        self._schema: pa.Schema | None = None
        self._writer: pq.ParquetWriter | None = None

    def __enter__(self) -> Self:
        return self

    def write(self, rows: Sequence[Sequence[Any]]) -> None:
        """Write a batch of rows; it becomes a row group."""
        import pyarrow as pa

        columns = zip(self._names, zip(*rows, strict=True), strict=True)
        arrays = [typed(values, name) for name, values in columns]
        schema = self._schema
        types = [array.type for array in arrays]
        if schema is not None:
            types = [wider(field, kind) for field, kind in zip(schema, types, strict=True)]
        if schema is None or types != schema.types:
            self._begin_part(pa.schema(list(zip(self._names, types, strict=True))))
        schema = self._schema
        assert schema is not None
        assert self._writer is not None
        arrays = [widened(array, field.type) for array, field in zip(arrays, schema, strict=True)]
        table = pa.Table.from_arrays(arrays, schema=schema)
        self._writer.write_table(table, row_group_size=max(len(rows), 1))

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._writer is not None:
            self._writer.close()
        if error is None and self._parts:
            self._join()
        for part in self._parts:
            part.unlink(missing_ok=True)

    def _begin_part(self, schema: "pa.Schema") -> None:
        if self._writer is not None:
            self._writer.close()
        self._schema = schema
        self._parts.append(self._path.with_name(f"_{self._path.name}.{len(self._parts)}"))
        self._writer = _writer(self._parts[-1], schema)

    def _join(self) -> None:
        import pyarrow as pa
        import pyarrow.parquet as pq

        assert self._schema is not None
        if len(self._parts) == 1 and pa.null() not in self._schema.types:
            self._parts.pop().replace(self._path)
            return
        # A column of nothing but missing values is text: not every reader knows the null type.
        fields = [
            (field.name, pa.string() if pa.types.is_null(field.type) else field.type)
            for field in self._schema
        ]
        schema = pa.schema(fields)
        with _writer(self._path, schema) as writer:
            for part in self._parts:
                with pq.ParquetFile(part) as file:
                    for position in range(file.num_row_groups):
                        group = file.read_row_group(position)
                        columns = zip(group.columns, schema, strict=True)
                        wide = [widened(column, field.type) for column, field in columns]
                        table = pa.Table.from_arrays(wide, schema=schema)
                        writer.write_table(table, row_group_size=max(group.num_rows, 1))


def typed(values: Sequence[Any], name: str) -> "pa.Array":
    """A column of values, None where missing, as an Arrow array of the type that they share.

    Integers beyond 64 bits and decimals become float64, times with a zone UTC, trees JSON, and
    what has no type in common text.

    Raises:
        SourceError: column ``name`` holds bytes beside other values.
    """
    import pyarrow as pa

    kinds = set(map(type, values)) - {type(None)}
    if kinds & _BYTES:
        if not kinds <= _BYTES:
            raise _mixed(name)
        return pa.array([None if item is None else bytes(item) for item in values], pa.binary())
    if kinds == {int}:
        with suppress(OverflowError):
            return pa.array(values, pa.int64())
    kind = _common(kinds, values)
    if pa.types.is_floating(kind) and kinds != {float}:
        return pa.array([None if item is None else float(item) for item in values], kind)
    if pa.types.is_string(kind) and kinds != {str}:
        return pa.array([None if item is None else _text(item) for item in values], kind)
    return pa.array(values, kind)


def _common(kinds: set[type], values: Sequence[Any]) -> "pa.DataType":
    """The Arrow type that values of these Python types have in common."""
    import pyarrow as pa

    simple = {frozenset(): pa.null(), frozenset({bool}): pa.bool_(), frozenset({date}): pa.date32()}
    if kind := simple.get(frozenset(kinds)):
        return kind
    if all(issubclass(kind, _NUMBERS) and kind is not bool for kind in kinds):
        return pa.float64()
    if kinds == {datetime}:
        zones = {item.tzinfo is not None for item in values if item is not None}
        if len(zones) == 1:
            return pa.timestamp("us", tz="UTC" if zones.pop() else None)
    return pa.string()


def wider(field: "pa.Field", new: "pa.DataType") -> "pa.DataType":
    """The narrowest type that holds the values of a column so far and those of type ``new``.

    Raises:
        SourceError: some are bytes and some are not.
    """
    import pyarrow as pa

    known = field.type
    if known == new or pa.types.is_null(new):
        return known
    if pa.types.is_null(known):
        return new
    if {known, new} == {pa.int64(), pa.float64()}:
        return pa.float64()
    if pa.binary() in (known, new):
        raise _mixed(field.name)
    return pa.string()


def widened(column: Any, kind: "pa.DataType") -> Any:
    """A column as values of a type of ``wider``; in whatever batch, a value is written alike."""
    import pyarrow as pa

    if column.type == kind or not pa.types.is_string(kind) or pa.types.is_null(column.type):
        return column.cast(kind, safe=False)
    return pa.array([None if item is None else _text(item) for item in column.to_pylist()], kind)


def _mixed(name: str) -> SourceError:
    return SourceError(
        f"column {name!r} of data.query holds bytes beside other values",
        f"CAST({name} AS TEXT) in data.query, or leave it out.",
    )


def _text(value: Any) -> str:
    if isinstance(value, dict | list):
        return json.dumps(value, sort_keys=True, ensure_ascii=False, default=str)
    if isinstance(value, float | Decimal) and isfinite(value) and value == int(value):
        # A column of numbers has one type for whole ones and others.
        return str(int(value))
    return value if type(value) is str else str(value)


def _writer(path: Path, schema: "pa.Schema") -> "pq.ParquetWriter":
    import pyarrow.parquet as pq

    return pq.ParquetWriter(path, schema, compression="zstd")
