"""Who moved which alias, and who copied which version: a record that MLflow itself does not keep.

It stands beside MLflow's own database, in a table that no request can write: the person is the one
whom basic-auth has let in. A tag would not do, as anyone who may edit a version may set its tags,
and MLflow's "Promote model" copies them to another model.
"""

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from flask import Flask, Response

ROUTE = "/api/2.0/modelyard/alias-moves"
"""GET with ``name`` and ``alias``: ``{"moves": [...]}``, the newest first."""
NUM_TOLD = 20
_WAIT = 10.0  # s, for a move that is under way
_TABLE = (
    "CREATE TABLE IF NOT EXISTS moves (id INTEGER PRIMARY KEY, at TEXT, by TEXT, action TEXT,"
    " name TEXT, alias TEXT, version INTEGER, source TEXT)"
)


@dataclass(frozen=True)
class Move:
    """What somebody did: ``set`` or ``delete`` an alias, or ``copy`` a version to another model.

    ``version`` is what the alias was set to, or the new version; ``source`` the copied version's
    address ``models:/NAME/VERSION``.
    """

    at: str
    by: str
    action: Literal["set", "delete", "copy"]
    name: str
    alias: str = ""
    version: int | None = None
    source: str = ""


class MoveLog:
    """The table.

    Writers hold its lock while MLflow does what they record, readers wait for it: who sees an alias
    moved in MLflow finds the record of it here, whichever worker process he asks.

    Args:
        path: The SQLite file; made with mode 0600.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        path.touch(mode=0o600)
        with closing(sqlite3.connect(path)) as database:
            database.execute(_TABLE)

    @contextmanager
    def recording(self) -> Iterator[Callable[[Move], None]]:
        """Yield what notes a move; an error in between leaves nothing of it.

        Raises:
            sqlite3.OperationalError: the lock was not free within 10 s, or the disk is full.
        """
        with self._locked() as database:
            yield lambda move: _insert(database, move)

    def moves(self, name: str, alias: str) -> list[Move]:
        """The last moves of an alias, newest first, and the copies that came to the model."""
        query = (
            "SELECT at, by, action, name, alias, version, source FROM moves"
            " WHERE name = ? AND (alias = ? OR action = 'copy') ORDER BY id DESC LIMIT ?"
        )
        with self._locked() as database:
            return [Move(*row) for row in database.execute(query, (name, alias, NUM_TOLD))]

    @contextmanager
    def _locked(self) -> Iterator[sqlite3.Connection]:
        with closing(sqlite3.connect(self._path, timeout=_WAIT, isolation_level=None)) as database:
            database.execute("BEGIN IMMEDIATE")
            try:
                yield database
            except BaseException:
                database.execute("ROLLBACK")
                raise
            database.execute("COMMIT")


def record_moves(app: "Flask", log: MoveLog, person: Callable[[], str]) -> None:
    """Wrap the views of MLflow's application that move aliases and make versions.

    Args:
        app: MLflow's Flask application, with all its routes.
        log: Where they are noted.
        person: Who sent the request that is being answered, as the server has proved.
    """
    readers = {
        "/registered-models/alias": _alias_move,
        "/model-versions/create": _copy,
    }
    wrapped: set[str] = set()
    for rule in app.url_map.iter_rules():
        for ending, read in readers.items():
            changes = rule.methods and rule.methods & {"POST", "DELETE"}
            if rule.rule.endswith(f"/mlflow{ending}") and changes and rule.endpoint not in wrapped:
                wrapped.add(rule.endpoint)
                view = app.view_functions[rule.endpoint]
                app.view_functions[rule.endpoint] = _recorded(view, log, read, person)
    # One that finds nothing to wrap would leave every name "unknown" without a word.
    assert len(wrapped) == 3, sorted(wrapped)


def _recorded(
    view: Callable[..., Any],
    log: MoveLog,
    read: Callable[["Response", str], Move | None],
    person: Callable[[], str],
) -> Callable[..., Any]:
    def answer(*args: Any, **kwargs: Any) -> Any:
        from flask import make_response

        with log.recording() as note:
            response = make_response(view(*args, **kwargs))
            if response.status_code < 400 and (move := read(response, person())):
                note(move)
            return response

    return answer


def _alias_move(_: "Response", by: str) -> Move:
    from flask import request
    from mlflow.protos.model_registry_pb2 import DeleteRegisteredModelAlias, SetRegisteredModelAlias
    from mlflow.server.handlers import _get_request_message

    # As MLflow's handler reads it: JSON has more than one spelling of a field.
    if request.method == "DELETE":
        said = _get_request_message(DeleteRegisteredModelAlias())
        return Move(_now(), by, "delete", said.name, said.alias)
    said = _get_request_message(SetRegisteredModelAlias())
    return Move(_now(), by, "set", said.name, said.alias, int(said.version))


def _copy(response: "Response", by: str) -> Move | None:
    made = response.get_json()["model_version"]
    source = made.get("source", "")
    # models:/m-... is a logged model, registered for the first time.
    if not source.startswith("models:/") or source.count("/") < 2:
        return None
    return Move(_now(), by, "copy", made["name"], "", int(made["version"]), source)


def _insert(database: sqlite3.Connection, move: Move) -> None:
    columns = asdict(move)
    places = ", ".join(f":{column}" for column in columns)
    database.execute(f"INSERT INTO moves ({', '.join(columns)}) VALUES ({places})", columns)  # noqa: S608 - names of fields


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds")
