"""A source's table in a temporary DuckDB database, so that it may be asked many questions.

The file is read once, in a stream; the database lies on disk, so that memory does not grow with
the rows.
"""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from modelyard.data.suggest.dialect import FoundDialect, find_dialect, header_of
from modelyard.data.table_database import file_name
from modelyard.data.table_files import FORMATS
from modelyard.errors import SourceError

if TYPE_CHECKING:
    import duckdb

MEMORY = "600MB"
_SPACE = " || ".join(f"chr({code})" for code in range(0x3001) if chr(code).isspace())


@dataclass(frozen=True)
class Table:
    """An open table ``t``: ``columns`` are its columns in SQL, ``names`` those of the source.

    Columns of text are trimmed, empty where missing. ``types`` are DuckDB's. ``num_ragged`` lines
    had another number of cells and are not in it.
    """

    connection: "duckdb.DuckDBPyConnection"
    names: tuple[str, ...]
    types: tuple[str, ...]
    num_rows: int
    num_ragged: int
    dialect: FoundDialect | None

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns as SQL names them: by position, so that no name needs care."""
        return tuple(f"c{index}" for index in range(len(self.names)))

    def ask(self, query: str, values: list[Any] | None = None) -> list[tuple[Any, ...]]:
        """The rows that answer a query."""
        return self.connection.execute(query, values or []).fetchall()


def is_table(path: Path) -> bool:
    """Whether a file is a table by its name."""
    return path.name.lower().endswith(FORMATS)


@contextmanager
def opened(paths: list[Path]) -> Iterator[Table]:
    """Read CSV, TSV (plain or gzipped) or Parquet files of the same columns into a table.

    The dialect and the columns are those of the first; they may stand in another order elsewhere.

    Raises:
        SourceError: one cannot be read or has other columns, or they hold no rows.
    """
    import duckdb

    with tempfile.TemporaryDirectory(prefix="modelyard-profile-") as folder:
        settings = {"memory_limit": MEMORY, "temp_directory": folder, "threads": 2}
        settings |= {"preserve_insertion_order": True}
        connection = duckdb.connect(str(Path(folder) / "profile.duckdb"), config=settings)
        try:
            if paths[0].name.lower().endswith(".parquet"):
                table = _parquet(connection, paths)
            else:
                table = _delimited(connection, paths)
            if not table.num_rows:
                raise SourceError(f"{paths[0].name} holds no rows", "Put the data there.")
            yield table
        except duckdb.Error as error:
            first = str(error).partition("\n")[0].replace(str(paths[0]), paths[0].name)
            raise SourceError(f"{paths[0].name} cannot be read: {first}", "Mend it.") from None
        finally:
            connection.close()


def _delimited(connection: "duckdb.DuckDBPyConnection", paths: list[Path]) -> Table:
    dialect = find_dialect(paths[0])
    names = [f"c{index}" for index in range(len(dialect.columns))]
    connection.execute(f"CREATE TABLE t ({', '.join(f'{name} VARCHAR' for name in names)})")
    for order, some in _by_order(paths, dialect).items():
        _read(connection, some, dialect, [names[place] for place in order])
    query = (
        "SELECT line, file_path FROM reject_errors JOIN reject_scans USING (scan_id, file_id) "
        "WHERE error_message LIKE '%unterminated quote%' LIMIT 1"
    )
    for line, name in connection.execute(query).fetchall():
        raise SourceError(
            f"{Path(name).name}: a quotation mark is opened in line {line} and not closed",
            "Mend that line: what follows it would be lost.",
        )
    ((num_rows,),) = connection.execute("SELECT count(*) FROM t").fetchall()
    query = "SELECT count(DISTINCT (scan_id, file_id, line)) FROM reject_errors"
    ((num_ragged,),) = connection.execute(query).fetchall()
    types = ("VARCHAR",) * len(names)
    return Table(connection, dialect.columns, types, num_rows, num_ragged, dialect)


def _by_order(paths: list[Path], dialect: FoundDialect) -> dict[tuple[int, ...], list[Path]]:
    """The files by the places that their columns have in the first one.

    Raises:
        SourceError: one has another column.
    """
    found: dict[tuple[int, ...], list[Path]] = {}
    places = {name: place for place, name in enumerate(dialect.columns)}
    for path in paths:
        names = dialect.columns
        if dialect.header and path is not paths[0]:
            names = header_of(path, dialect)
        if sorted(names) != sorted(places):
            raise SourceError(
                f"{path.name} has the columns {', '.join(names)}; {paths[0].name} has "
                f"{', '.join(places)}",
                "Give files of the same columns.",
            )
        found.setdefault(tuple(places[name] for name in names), []).append(path)
    return found


def _read(
    connection: "duckdb.DuckDBPyConnection",
    paths: list[Path],
    dialect: FoundDialect,
    columns: list[str],
) -> None:
    """Add the rows of files with these columns to ``t``."""
    trimmed = ", ".join(f"{_trimmed(name)} AS {name}" for name in columns)
    connection.execute(
        f"INSERT INTO t BY NAME SELECT {trimmed} FROM read_csv("  # noqa: S608 - names of our own
        f"{_names(paths)}, delim=$delim, quote='\"', escape='\"', header=$header, skip=$skip, "
        "encoding=$encoding, columns=$columns, auto_detect=false, ignore_errors=true, "
        "store_rejects=true, rejects_limit=0, max_line_size=16777216, compression=$compression)",
        {
            "delim": dialect.delimiter,
            "header": dialect.header,
            "skip": dialect.skip_rows,
            "encoding": dialect.encoding,
            "columns": dict.fromkeys(columns, "VARCHAR"),
            "compression": "gzip" if paths[0].name.lower().endswith(".gz") else "none",
        },
    )


def _parquet(connection: "duckdb.DuckDBPyConnection", paths: list[Path]) -> Table:
    files = f"read_parquet({_names(paths)})"
    described = connection.execute(f"DESCRIBE SELECT * FROM {files}")  # noqa: S608 - names quoted
    names, types = zip(*[(row[0], row[1]) for row in described.fetchall()], strict=True)
    quoted = ['"' + name.replace('"', '""') + '"' for name in names]
    selected = ", ".join(
        f"{_trimmed(name)} AS c{index}" if kind == "VARCHAR" else f"{name} AS c{index}"
        for index, (name, kind) in enumerate(zip(quoted, types, strict=True))
    )
    connection.execute(f"CREATE TABLE t AS SELECT {selected} FROM {files}")  # noqa: S608 - names quoted
    ((num_rows,),) = connection.execute("SELECT count(*) FROM t").fetchall()
    return Table(connection, names, types, num_rows, 0, None)


def _names(paths: list[Path]) -> str:
    return f"[{', '.join(map(file_name, paths))}]"


def _trimmed(name: str) -> str:
    """Without space at both ends, empty where missing; in most text the ends tell at once."""
    plain = f"ord({name}) BETWEEN 33 AND 126 AND ord({name}[-1]) BETWEEN 33 AND 126"
    return f"CASE WHEN {plain} THEN {name} ELSE trim(coalesce({name}, ''), {_SPACE}) END"
