"""MLflow with accounts: its basic-auth application in our own process, and who moved an alias.

Secrets are made at the first start, in files of mode 0600 in the folder of keys; none stands on a
command line, in a log, or in an environment that another process inherits.
"""

import os
import secrets
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from modelyard.artifacts import write_atomic
from modelyard.errors import WorkspaceError
from modelyard.services.mlflow_moves import ROUTE, MoveLog, record_moves

if TYPE_CHECKING:
    from fastapi import FastAPI

ADMIN = "admin"
FOLLOWER = "follower"
DATABASE = "basic_auth.db"
MOVES = "alias_moves.db"
_ADMIN_PASSWORD = "MLFLOW_AUTH_ADMIN_PASSWORD"  # noqa: S105 - a variable's name
_FLASK_KEY = "MLFLOW_FLASK_SERVER_SECRET_KEY"
_FLASK_SECRET = "mlflow-secret"  # noqa: S105 - a file's name
# Names are checked at each request and cost 50 ms without it; the one worker forgets at a change.
_CACHE_SECONDS = 60


def is_wanted(folder: Path, asked: bool | None) -> bool:
    """Whether the server asks for accounts.

    Without a word it does once it did: a start that forgot the setting opens no door.

    Args:
        folder: The server's, with its databases.
        asked: ``Settings.mlflow_auth``.
    """
    return (folder / DATABASE).exists() if asked is None else asked


def account_file(keys: Path, name: str) -> Path:
    """The file that holds ``NAME:PASSWORD`` of an account that the server itself makes."""
    return keys / f"mlflow-{name}"


def create_app(folder: Path, keys: Path) -> "FastAPI":
    """MLflow's application with basic-auth, the accounts ``admin`` and ``follower``, and moves.

    Every account may read every model and experiment; rights to change are granted one by one. The
    follower's may change every registered model, as it sets ``live``, and webhooks.

    Args:
        folder: The server's, for the databases of accounts and of moves.
        keys: Folder of the secrets (mode 0700).

    Raises:
        WorkspaceError: others than the owner may read a secret.
    """
    keys.mkdir(parents=True, exist_ok=True, mode=0o700)
    admin, is_new = _password(account_file(keys, ADMIN), ADMIN)
    _configure(folder, keys, admin)
    from mlflow.server import app, auth
    from mlflow.server.handlers import STATIC_PREFIX_ENV_VAR

    made: Any = auth.create_app(app)
    for name in (_ADMIN_PASSWORD, _FLASK_KEY):
        os.environ.pop(name)
    if is_new and not auth.store.authenticate_user(ADMIN, admin):
        auth.store.update_user(ADMIN, password=admin)  # its file was lost
    _ensure_follower(auth.store, _password(account_file(keys, FOLLOWER), FOLLOWER)[0])
    log = MoveLog(folder / MOVES)
    record_moves(app, log, _person)
    _let_follower_be_woken(auth.WEBHOOK_BEFORE_REQUEST_VALIDATORS)
    _tell_moves(app, auth, os.environ.get(STATIC_PREFIX_ENV_VAR, "") + ROUTE, log)
    return made


def _configure(folder: Path, keys: Path, admin: str) -> None:
    """Write MLflow's configuration; its module reads it when it is imported."""
    config = folder / "basic_auth.ini"
    lines = [
        "[mlflow]",
        "default_permission = READ",
        f"database_uri = sqlite:///{folder / DATABASE}",
        f"admin_username = {ADMIN}",
        "authorization_function = mlflow.server.auth:authenticate_request_basic_auth",
        f"auth_cache_ttl_seconds = {_CACHE_SECONDS}",
    ]
    write_atomic(config, ("\n".join(lines) + "\n").encode(), mode=0o600)
    os.environ |= {
        "MLFLOW_AUTH_CONFIG_PATH": str(config),
        _ADMIN_PASSWORD: admin,
        _FLASK_KEY: _read_or_make(keys / _FLASK_SECRET, secrets.token_hex(32))[0],
        # Which of its two applications MLflow's factory returns: that with the artifact routes.
        "_MLFLOW_SGI_NAME": "uvicorn",
    }


def _password(path: Path, name: str) -> tuple[str, bool]:
    text, is_new = _read_or_make(path, f"{name}:{secrets.token_urlsafe(24)}")
    return text.partition(":")[2], is_new


def _read_or_make(path: Path, fresh: str) -> tuple[str, bool]:
    """The text of a secret file, made with ``fresh`` where there is none; whether it was made."""
    if not path.exists():
        write_atomic(path, fresh.encode(), mode=0o600)
        return fresh, True
    if path.stat().st_mode & 0o077:
        raise WorkspaceError(
            f"{path} can be read by others than its owner",
            f"Run `chmod 600 {path}`; if others have had access, delete it, and start again.",
        )
    return path.read_text(encoding="utf-8").strip(), False


def _ensure_follower(store: Any, password: str) -> None:
    if not store.has_user(FOLLOWER):
        store.create_user(FOLLOWER, password)
    elif not store.authenticate_user(FOLLOWER, password):
        store.update_user(FOLLOWER, password=password)
    store.grant_user_resource_permission(FOLLOWER, "registered_model", "*", "MANAGE")


def _let_follower_be_woken(validators: dict[Any, Callable[[], bool]]) -> None:
    """Let the follower's account manage webhooks, too, which MLflow lets administrators alone."""
    for route, is_allowed in list(validators.items()):
        validators[route] = lambda others=is_allowed: _person() == FOLLOWER or others()


def _person() -> str:
    from flask import g

    return g.mlflow_authenticated_user


def _tell_moves(app: Any, auth: Any, route: str, log: MoveLog) -> None:
    """Add the route that tells the moves of a model's alias to those who may read the model."""
    from flask import jsonify, request

    def alias_moves() -> Any:
        moves = log.moves(request.args["name"], request.args.get("alias", ""))
        return jsonify({"moves": [asdict(move) for move in moves]})

    app.add_url_rule(route, view_func=alias_moves, methods=["GET"])
    auth.BEFORE_REQUEST_VALIDATORS[route, "GET"] = auth.validate_can_read_registered_model
