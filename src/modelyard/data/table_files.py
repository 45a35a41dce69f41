"""The files of a table, and the columns of each: by their header, or by position without one."""

from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path

from modelyard.data.delimited import (
    delimiter_hint,
    first_rows,
    is_header,
    listed,
    refuse_numbers,
)
from modelyard.data.raw import raw_files
from modelyard.data.table_database import connect, file_name
from modelyard.errors import SourceError
from modelyard.params import DataParams
from modelyard.params.fields import Dialect

DELIMITED = (".csv", ".tsv", ".tab", ".txt")
FORMATS = (".parquet", *DELIMITED, *(f"{ending}.gz" for ending in DELIMITED))
_PEEK_BYTES = 1 << 18


@dataclass(frozen=True)
class TableFile:
    """One file of the table.

    ``names`` are all its columns in their order; ``positions`` says which of them a field is, by
    field name; ``extra`` are those that no field names and ``schema.rest`` takes in. ``types`` has
    DuckDB's name of each column's type, which is VARCHAR in delimited text.
    """

    path: Path
    names: tuple[str, ...]
    types: tuple[str, ...]
    positions: dict[str, int]
    extra: tuple[str, ...]

    @property
    def is_parquet(self) -> bool:
        """Whether it is Parquet, and not delimited text."""
        return self.path.name.lower().endswith(".parquet")


def table_files(raw: Path, params: DataParams, optional: tuple[str, ...] = ()) -> list[TableFile]:
    """The table's files in ``raw`` in the order of their names, which is that of the rows.

    Args:
        raw: The folder that fetch filled.
        params: The contract.
        optional: Fields that may be absent, such as the target when rows are to be predicted.

    Raises:
        SourceError: there is no file, one is of another kind, empty, damaged, in another encoding
            or delimited otherwise, or its columns are not those of the schema.
    """
    paths = [raw / path for path in raw_files(raw)] if raw.is_dir() else []
    if not paths:
        raise SourceError(f"{'/'.join(raw.parts[-2:])} holds no file", "Run the stage fetch.")
    return [_open(path, params, optional) for path in paths]


def _open(path: Path, params: DataParams, optional: tuple[str, ...]) -> TableFile:
    if not path.name.lower().endswith(FORMATS):
        raise SourceError(
            f"{path.name}: files of this kind are not read as a table",
            f"Supported: {', '.join(FORMATS)}",
        )
    if path.stat().st_size == 0:
        raise SourceError(f"{path.name} is empty", "Check data.source and the file.")
    if path.name.lower().endswith(".parquet"):
        names, types = _parquet_columns(path)
    else:
        names = _csv_columns(path, params)
        types = ("VARCHAR",) * len(names)
    positions = _positions(path, names, params, optional)
    extra = [name for index, name in enumerate(names) if index not in positions.values()]
    if extra and params.schema_.rest == "refuse":
        raise SourceError(
            f"{path.name}: no field names {listed(extra, params)}",
            "Declare them in data.schema.fields, or set data.schema.rest: drop (or infer).",
        )
    taken = tuple(extra) if params.schema_.rest == "infer" else ()
    for name in taken:
        if names.count(name) > 1:
            raise SourceError(
                f"{path.name}: {names.count(name)} columns are called {name!r}",
                "Rename all but one.",
            )
    return TableFile(path, names, types, positions, taken)


def _parquet_columns(path: Path) -> tuple[tuple[str, ...], tuple[str, ...]]:
    import duckdb

    try:
        with connect() as connection:
            rows = connection.execute(
                f"DESCRIBE SELECT * FROM read_parquet({file_name(path)})"  # noqa: S608 - quoted
            ).fetchall()
    except duckdb.Error:
        raise SourceError(
            f"{path.name} cannot be read as Parquet: it is damaged, cut off or of another format",
            "Fetch or copy the file again, and check its data.sha256.",
        ) from None
    return tuple(row[0] for row in rows), tuple(row[1] for row in rows)


def _csv_columns(path: Path, params: DataParams) -> tuple[str, ...]:
    row = _first_row(path, params.dialect)
    if not row:
        raise SourceError(f"{path.name} holds no rows", "Check data.source and the file.")
    fields = params.schema_.fields
    if params.dialect.header:
        names = tuple(name.strip() for name in row)
        refuse_numbers(path, names, params)
        return names
    width = len(row)
    if width < len(fields) or (width > len(fields) and params.schema_.rest == "refuse"):
        raise SourceError(
            f"{path.name}: row 0 has {width} columns, the schema names {len(fields)} fields",
            _delimiter_hint(path, params) or "Correct data.schema.fields or data.dialect.",
        )
    declared = {field.column for field in fields} | {field.name for field in fields}
    if {cell.strip() for cell in row[: len(fields)]} <= declared:
        raise is_header(path, row, params)
    names = [field.column for field in fields]
    return (*names, *(f"column_{index}" for index in range(len(names), width)))


def _positions(
    path: Path, names: tuple[str, ...], params: DataParams, optional: tuple[str, ...]
) -> dict[str, int]:
    positions: dict[str, int] = {}
    for field in params.schema_.fields:
        found = [index for index, name in enumerate(names) if name == field.column]
        if len(found) > 1:
            raise SourceError(
                f"{path.name}: {len(found)} columns are called {field.column!r}",
                "Rename all but one.",
            )
        if found:
            positions[field.name] = found[0]
        elif field.name not in optional:
            raise _no_column(path, field.column, names, params)
    return positions


def _no_column(path: Path, column: str, names: tuple[str, ...], params: DataParams) -> SourceError:
    near = get_close_matches(column, names, n=1, cutoff=0.5)
    remedy = "Correct data.schema.fields, or data.dialect.delimiter."
    if near:
        remedy = f"Did you mean {near[0]!r}? Correct the field, or give it header: {near[0]!r}."
    hint = "" if path.name.lower().endswith(".parquet") else _delimiter_hint(path, params)
    return SourceError(
        f"{path.name}: there is no column {column!r}; its columns: {listed(names, params)}",
        hint or remedy,
    )


def _delimiter_hint(path: Path, params: DataParams) -> str:
    """Which delimiter gives the columns that the schema asks for."""
    fields = params.schema_.fields

    def fits(dialect: Dialect) -> bool:
        first = [cell.strip() for cell in _first_row(path, dialect)]
        if dialect.header:
            return all(field.column in first for field in fields)
        return len(first) == len(fields) > 1

    return delimiter_hint(params.dialect, "all", fits)


def _first_row(path: Path, dialect: Dialect) -> list[str]:
    return next(first_rows(path, dialect, _PEEK_BYTES), [])
