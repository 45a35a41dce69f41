"""The table's files, read once: batches of typed rows, and the rows that break the contract.

DuckDB reads on all threads and in order; nothing of the source goes to a temporary file. Rows are
counted in the order in which they could be taken apart (``ordinals``); where ragged rows lie
between them is known when a file has been read, and ``Places`` turns ordinals into positions.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from modelyard.data.pii import HIDDEN
from modelyard.data.quarantine import WHOLE_ROW, Rejection, rejection, shortened
from modelyard.data.table_columns import Broken, ColumnSql, add_functions, column_sql
from modelyard.data.table_database import connect, file_name, named, quoted
from modelyard.data.table_files import TableFile
from modelyard.errors import SourceError
from modelyard.params import DataParams, Field

if TYPE_CHECKING:
    import duckdb
    import pyarrow as pa

_PROBLEMS = "problems"
_LONGEST_LINE = 2_000_000
_MOST_RAGGED = 1_000_000
_JOIN = re.compile(r"─ [A-Za-z ]*Join ─")
_RAGGED = ("MISSING COLUMNS", "TOO MANY COLUMNS")


@dataclass(frozen=True)
class ScannedBatch:
    """Rows in their order: ``first`` is the ordinal of the first one.

    ``columns`` has the typed columns of the rows that keep the contract, ``ordinals`` int64 [N]
    theirs; ``refused`` (row as ordinal, column, value, reason, allowed) says why others do not,
    ``num_rows`` counts both.
    """

    num_rows: int
    ordinals: np.ndarray
    columns: "pa.Table"
    refused: "pa.Table | None"


@dataclass
class Places:
    """From ordinals to positions in the source, which count ragged rows too."""

    num_rows: int = 0
    ragged: list[Rejection] = field(default_factory=list)
    _before: np.ndarray | None = None

    def add(self, ragged: list[Rejection]) -> None:
        """Take in the rows of a file that could not be taken apart, by their position in it."""
        self.ragged += ragged

    @property
    def num_read(self) -> int:
        """All rows of the source."""
        return self.num_rows + len(self.ragged)

    def positions(self, ordinals: np.ndarray) -> np.ndarray:
        """int64 [N]."""
        if not self.ragged:
            return ordinals
        rows = np.sort(np.array([item.row for item in self.ragged], np.int64))
        return ordinals + np.searchsorted(rows - np.arange(len(rows)), ordinals, side="right")

    def position(self, ordinal: int) -> int:
        """The position of one row."""
        return int(self.positions(np.array([ordinal], np.int64))[0])


def scan(
    files: list[TableFile], fields: tuple[Field, ...], params: DataParams, rows: int, places: Places
) -> Iterator[ScannedBatch]:
    """Read every row once.

    Args:
        files: The table's files.
        fields: Those to read; in the batches they stand in this order.
        params: The contract.
        rows: Rows a batch.
        places: Filled while the files are read.

    Raises:
        SourceError: a file is damaged, in another encoding, or a quotation mark is opened and not
            closed; the message names the file and the row.
    """
    with connect() as connection:
        add_functions(connection, params)
        for file in files:
            present = tuple(
                item for item in fields if item.name in file.positions or item.column in file.extra
            )
            columns = [_column(item, file, params) for item in present]
            yield from _scan_file(file, columns, params, connection, rows, places)


def _column(item: Field, file: TableFile, params: DataParams) -> ColumnSql:
    position = file.positions.get(item.name)
    if position is None:
        position = file.names.index(item.column)
    name = file.names[position] if file.is_parquet else f"c{position}"
    return column_sql(item, named(name), file.types[position], params)


def _scan_file(
    file: TableFile,
    columns: list[ColumnSql],
    params: DataParams,
    connection: "duckdb.DuckDBPyConnection",
    rows: int,
    places: Places,
) -> Iterator[ScannedBatch]:
    import duckdb

    sql = query(columns, source_sql(file, params))
    start, before = places.num_read, places.num_rows
    try:
        found = connection.sql(sql)
        assert not _JOIN.search(found.explain()), "a join would lose the order of the rows"
        reader = found.to_arrow_reader(rows)
        for batch in reader:
            yield split_batch(batch, places.num_rows, columns)
            places.num_rows += batch.num_rows
    except (duckdb.Error, OSError) as error:
        raise _unreadable(file.path, error) from None
    if not file.is_parquet:
        places.add(_set_aside(connection, file, start, params))
    if places.num_rows == before and places.num_read == start:
        rest = "" if file.is_parquet or not params.dialect.header else " after its header"
        raise SourceError(f"{file.path.name} holds no rows{rest}", "Check data.source.")


def source_sql(file: TableFile, params: DataParams) -> str:
    """What DuckDB reads the file's columns from; those of delimited text are ``c0``, ``c1``, ..."""
    path = file_name(file.path)
    if file.is_parquet:
        return f"read_parquet({path})"
    dialect = params.dialect
    names = ", ".join(f"'c{index}': 'VARCHAR'" for index in range(len(file.names)))
    quote = quoted(dialect.quote_char)
    return (
        f"read_csv({path}, auto_detect = false, columns = {{{names}}}, "
        f"header = {str(dialect.header).lower()}, skip = {dialect.skip_rows}, "
        f"delim = {quoted(dialect.delimiter)}, quote = {quote}, escape = {quote}, "
        f"encoding = '{dialect.encoding}', max_line_size = {_LONGEST_LINE}, "
        f"store_rejects = true, rejects_limit = {_MOST_RAGGED})"
    )


def query(columns: list[ColumnSql], source: str) -> str:
    """A query for the typed columns of ``source``, and a list of what is wrong with each row."""
    inner, outer, tests, problems = [], [], [], []
    for index, column in enumerate(columns):
        raw, value = f"r{index}", f"v{index}"
        inner.append(f"{column.raw} AS {raw}")
        filled = column.value.replace("{raw}", raw)
        outer.append(f"{filled} AS {value}, {raw}")
        shown = column.shown.replace("{raw}", raw)
        wrong = ""
        for kind, broken in enumerate(column.broken):
            when = f"({broken.when.replace('{raw}', raw).replace('{value}', value)})"
            tests.append(when)
            item = f"{{'column': {index}, 'kind': {kind}, 'value': {shown}}}"
            problems.append(f"CASE WHEN {when}{wrong} THEN {item} END")
            # Of a value that is wrong, bounds say nothing more.
            wrong = wrong or f" AND NOT {when}"
    listed = f"list_filter([{', '.join(problems)}], lambda item: item IS NOT NULL)"
    found = f"CASE WHEN {' OR '.join(tests)} THEN {listed} END"
    values = ", ".join(f"v{index}" for index in range(len(columns)))
    return (
        f"SELECT {values}, {found} AS {_PROBLEMS} FROM "  # noqa: S608 - names and texts, quoted
        f"(SELECT {', '.join(outer)} FROM (SELECT {', '.join(inner)} FROM {source}))"
    )


def split_batch(batch: Any, first: int, columns: list[ColumnSql]) -> ScannedBatch:
    """Divide a batch into the rows that are accepted and what is wrong with the others."""
    import pyarrow as pa

    problems = batch.column(len(columns))
    ordinals = np.arange(first, first + batch.num_rows, dtype=np.int64)
    table = pa.table(batch.columns[:-1], names=[column.field.name for column in columns])
    if problems.null_count == batch.num_rows:
        return ScannedBatch(batch.num_rows, ordinals, table, None)
    accepted = problems.is_null()
    refused = _refused(problems, ordinals, columns)
    kept = accepted.to_numpy(zero_copy_only=False)
    return ScannedBatch(batch.num_rows, ordinals[kept], table.filter(accepted), refused)


def _refused(problems: Any, ordinals: np.ndarray, columns: list[ColumnSql]) -> "pa.Table":
    import pyarrow as pa
    import pyarrow.compute as pc

    parents = pc.call_function("list_parent_indices", [problems]).to_numpy()
    items = pc.call_function("list_flatten", [problems])
    keys = zip(items.field("column").to_pylist(), items.field("kind").to_pylist(), strict=True)
    found: list[tuple[str, Broken]] = [
        (columns[index].field.name, columns[index].broken[kind]) for index, kind in keys
    ]
    return pa.table(
        {
            "row": ordinals[parents],
            "column": pa.array([name for name, _ in found], pa.string()),
            "value": shortened(pc.call_function("coalesce", [items.field("value"), pa.scalar("")])),
            "reason": pa.array([broken.reason for _, broken in found], pa.string()),
            "allowed": pa.array([broken.allowed for _, broken in found], pa.bool_()),
        }
    )


def _set_aside(
    connection: "duckdb.DuckDBPyConnection", file: TableFile, start: int, params: DataParams
) -> list[Rejection]:
    """The rows of a file that DuckDB could not take apart.

    Blank lines count there as lines, so a ragged row after one is named a little too late.
    """
    rows = connection.execute(
        "SELECT DISTINCT ON (line) line, column_idx, error_type, csv_line, error_message "
        "FROM reject_errors ORDER BY line, error_type"
    ).fetchall()
    connection.execute("DELETE FROM reject_errors")
    connection.execute("DELETE FROM reject_scans")
    if len(rows) >= _MOST_RAGGED:
        raise SourceError(
            f"{file.path.name}: {len(rows):,} rows and more have not {len(file.names)} columns",
            "Correct data.dialect, or mend the file.",
        )
    hidden = any(item.pii for item in params.schema_.fields)
    header = 1 + int(params.dialect.header) + params.dialect.skip_rows
    found = []
    for line, column, kind, text, message in rows:
        row = line - header
        _refuse_broken_file(file, row, column, kind, text or "")
        reason = "has a quotation mark within a value"
        if kind in _RAGGED:
            reason = f"has {message.rpartition(' ')[2]} columns, not {len(file.names)}"
        elif kind == "LINE SIZE OVER MAXIMUM":
            reason = f"is longer than {_LONGEST_LINE:,} bytes"
        value = HIDDEN if hidden else (text or "").strip()
        found.append(rejection(start + row, WHOLE_ROW, value, reason))
    return found


def _refuse_broken_file(
    file: TableFile, row: int, column: int | None, kind: str, text: str
) -> None:
    """Some rows tell that the file as a whole is not what the dialect says."""
    if kind == "INVALID ENCODING":
        place = f", column {file.names[column - 1]!r}" if column else ""
        raise SourceError(
            f"{file.path.name}: row {row}{place} is not UTF-8 text",
            "Save the file as UTF-8, or set data.dialect.encoding (latin-1, utf-16).",
        )
    runs_on = kind == "UNQUOTED VALUE" and "\n" in text.rstrip("\n")
    if runs_on or (kind == "LINE SIZE OVER MAXIMUM" and "\n" in text):
        raise SourceError(
            f"{file.path.name}: row {row}: a value runs over several lines and does not end",
            "A quotation mark is opened there and not closed; mend the file.",
        )


def _unreadable(path: Path, error: Exception) -> SourceError:
    """The error without the data that DuckDB puts into its messages."""
    message = str(error)
    if "GZIP" in message.upper() or "compress" in message:
        return SourceError(
            f"{path.name} is cut off or damaged",
            "Fetch or copy the file again, and check its data.sha256.",
        )
    kind = type(error).__name__
    return SourceError(f"{path.name} cannot be read ({kind})", "Check data.dialect and the file.")
