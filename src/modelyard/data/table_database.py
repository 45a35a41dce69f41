"""How DuckDB is opened for rows of a source: in memory, no file written, in order, times in UTC."""

import re
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import duckdb

MEMORY = "256MB"


def connect() -> "duckdb.DuckDBPyConnection":
    """Open a database of its own; close it, or use it in ``with``.

    There is no temporary folder, since rows may hold what must not be written anywhere.
    """
    import duckdb

    connection = duckdb.connect(
        config={
            "memory_limit": MEMORY,
            "temp_directory": "",
            "preserve_insertion_order": "true",
            "autoinstall_known_extensions": "false",
        }
    )
    connection.execute("SET TimeZone = 'UTC'")
    connection.execute("SET enable_progress_bar = false")
    # A long IN would become a join, which gives rows in any order.
    connection.execute("SET disabled_optimizers = 'in_clause'")
    return connection


def quoted(text: str) -> str:
    """A text as SQL writes it."""
    return "'" + text.replace("'", "''") + "'"


def file_name(path: Path) -> str:
    """A file as SQL names it: in a bare path ``*``, ``?`` and ``[`` would be a pattern."""
    return quoted(re.sub(r"([*?\[])", r"[\1]", str(path)))


def named(column: str) -> str:
    """A column's name as SQL writes it."""
    return '"' + column.replace('"', '""') + '"'
