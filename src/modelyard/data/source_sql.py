"""The answer of an SQL query as a source: streamed to Parquet, a batch of rows at a time."""

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from modelyard.artifacts import Layout
from modelyard.data.source import LocalSource, SqlSource, sqlite_file
from modelyard.data.source_files import find_local
from modelyard.data.typed_rows import TypedRows
from modelyard.errors import ServiceUnavailable, SourceError, WorkspaceError
from modelyard.settings import Settings

if TYPE_CHECKING:
    from sqlalchemy import Engine

log = logging.getLogger(__name__)

FILE = "query.parquet"
BATCH = 50_000
_SHOWN = 1_000_000


def bring_sql(layout: Layout, source: SqlSource, query: str, folder: Path) -> None:
    """Write the rows of ``query``, in the order in which they come, to ``folder/query.parquet``.

    The transaction is read-only where the database knows that (SQLite, PostgreSQL).

    Raises:
        SourceError: the database or its driver is not there, the query is refused or gives no
            rows, or two columns have one name.
        ServiceUnavailable: the database went away half-way.
        WorkspaceError: the password file can be read by others.
    """
    num_rows = 0
    engine = _engine(layout, source)
    try:
        with _explained(source, lambda: num_rows), engine.connect() as connection:
            options: dict[str, Any] = {"stream_results": True, "max_row_buffer": BATCH}
            if engine.dialect.name == "postgresql":
                options["postgresql_readonly"] = True
            # Without parameters, so that a % or a colon in the query means itself.
            connection = connection.execution_options(no_parameters=True, **options)
            result = connection.exec_driver_sql(query)
            if not result.returns_rows:
                raise SourceError("data.query gives no rows", "Write a SELECT.")
            with TypedRows(folder / FILE, _columns(list(result.keys()))) as rows:
                for batch in result.partitions(BATCH):
                    rows.write(batch)
                    if (num_rows + len(batch)) // _SHOWN > num_rows // _SHOWN:
                        log.info("fetch: %d rows", num_rows + len(batch))
                    num_rows += len(batch)
    finally:
        engine.dispose()
    if num_rows == 0:
        raise SourceError("data.query gives an empty answer", "Correct data.query, or wait.")


def _columns(names: list[str]) -> list[str]:
    for name in names:
        if names.count(name) > 1:
            raise SourceError(
                f"data.query gives {names.count(name)} columns of the name {name!r}",
                f"Name each, for instance: SELECT a.{name} AS a_{name}, ...",
            )
    return names


def _engine(layout: Layout, source: SqlSource) -> "Engine":
    from sqlalchemy import URL, create_engine, make_url
    from sqlalchemy.exc import ArgumentError, NoSuchModuleError

    try:
        url = make_url(source.url)
        if file := sqlite_file(source):
            (path,) = find_local(layout, LocalSource(file)).values()
            place = f"file:{quote(str(path))}"
            url = URL.create(url.drivername, database=place, query={"mode": "ro", "uri": "true"})
        elif (password := _password()) is not None:
            url = url.set(password=password)
        return create_engine(url, hide_parameters=True)
    except ModuleNotFoundError as error:
        raise SourceError(
            f"data.source {source.url!r} needs the driver {error.name}, which is not installed",
            "For PostgreSQL write postgresql+psycopg://..., whose driver is; "
            "for another database install its driver.",
        ) from None
    except (NoSuchModuleError, ArgumentError) as error:
        raise SourceError(
            f"data.source {source.url!r} is no address that SQLAlchemy can open",
            f"{error}".partition("\n")[0],
        ) from None


def _password() -> str | None:
    """The first line of the file that MODELYARD_SQL_PASSWORD_FILE names."""
    path = Settings().sql_password_file
    if path is None:
        return None
    if not path.is_file():
        raise WorkspaceError(f"MODELYARD_SQL_PASSWORD_FILE names {path}, which is no file")
    if path.stat().st_mode & 0o077:
        raise WorkspaceError(
            f"{path} holds a password and can be read by others than its owner",
            f"Run `chmod 600 {path}`.",
        )
    return path.read_text(encoding="utf-8").split("\n", 1)[0]


@contextmanager
def _explained(source: SqlSource, num_rows: Callable[[], int]) -> Iterator[None]:
    from sqlalchemy.exc import DBAPIError, SQLAlchemyError

    try:
        yield
    except SQLAlchemyError as error:
        own = error.orig if isinstance(error, DBAPIError) else error
        problem = (str(own).strip() or type(own).__name__).partition("\n")[0]
        if done := num_rows():
            raise ServiceUnavailable(
                f"data.source {source.url!r} broke off after {done:,} rows: {problem}",
                "Nothing was kept. Run again when the database answers.",
            ) from None
        raise SourceError(
            f"data.source {source.url!r}: {problem}",
            "Check the address, the login and data.query.",
        ) from None
