"""The MLflow server in one process: `-m modelyard.services.mlflow_server --port P --folder F`.

With ``--auth`` it asks for accounts (see ``mlflow_auth``); ``--keys`` holds their secrets.

`mlflow server` imports MLflow, prepares the database and then starts uvicorn in a child, which
imports it all again: twice the time to start and 240 MB for a parent that only waits. This does
what its one-worker case does, with the same application, in the process itself. The names of
MLflow's settings come from MLflow, so that a release that renames one is an error at start, not a
server that ignores it.
"""

import argparse
import os
import uuid
import warnings
from pathlib import Path
from typing import Any

from modelyard.artifacts import write_atomic
from modelyard.services.mlflow_auth import create_app, is_wanted
from modelyard.settings import Settings

GRACE = 3  # s that open requests have when the server is told to stop


def main() -> None:
    """Serve tracking, registry, proxied artifacts and the UI on 127.0.0.1 until SIGTERM."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--folder", type=Path, required=True, help="holds mlflow.db and artifacts/")
    parser.add_argument("--keys", type=Path, help="holds the accounts' secrets")
    parser.add_argument(
        "--auth",
        action=argparse.BooleanOptionalAction,
        default=Settings().mlflow_auth,
        help="ask for accounts; by default the environment's MODELYARD_MLFLOW_AUTH",
    )
    arguments = parser.parse_args()
    folder = arguments.folder.absolute()
    folder.mkdir(parents=True, exist_ok=True)
    _allow_webhooks(folder / "webhook-key")
    _configure(f"sqlite:///{folder}/mlflow.db", folder / "artifacts")
    keys = (arguments.keys or folder / "keys").absolute()
    _serve(arguments.port, keys if is_wanted(folder, arguments.auth) else None, folder)


def _configure(store: str, artifacts: Path) -> None:
    from mlflow.environment_variables import _MLFLOW_IN_JOB_EXECUTOR, _MLFLOW_SERVER_BOOT_ID
    from mlflow.server import constants, handlers

    root = "mlflow-artifacts:/"
    os.environ |= {
        constants.BACKEND_STORE_URI_ENV_VAR: store,
        constants.REGISTRY_STORE_URI_ENV_VAR: store,
        constants.ARTIFACT_ROOT_ENV_VAR: root,
        constants.ARTIFACTS_DESTINATION_ENV_VAR: str(artifacts),
        constants.SERVE_ARTIFACTS_ENV_VAR: "true",
        _MLFLOW_SERVER_BOOT_ID.name: uuid.uuid4().hex,
        _MLFLOW_IN_JOB_EXECUTOR.name: "false",
    }
    handlers.initialize_backend_stores(store, store, root)


def _allow_webhooks(key_file: Path) -> None:
    """Let MLflow call the follower on this machine; secrets of webhooks are encrypted at rest."""
    from cryptography.fernet import Fernet
    from mlflow import environment_variables as names

    if not key_file.exists():
        write_atomic(key_file, Fernet.generate_key(), mode=0o600)
    os.environ |= {
        names.MLFLOW_WEBHOOK_SECRET_ENCRYPTION_KEY.name: key_file.read_text(encoding="ascii"),
        names._MLFLOW_WEBHOOK_ALLOWED_SCHEMES.name: "http,https",
        names._MLFLOW_WEBHOOK_ALLOW_PRIVATE_IPS.name: "true",
        # Which webhooks there are is asked at each event: a new one counts at once.
        names.MLFLOW_WEBHOOK_CACHE_TTL.name: "0",
    }


def _app(keys: Path | None, folder: Path) -> Any:
    with warnings.catch_warnings():
        # MLflow mounts its Flask part by a Starlette module that is deprecated.
        warnings.simplefilter("ignore")
        if keys is not None:
            return create_app(folder, keys)
        from mlflow.server.fastapi_app import app
    return app


def _serve(port: int, keys: Path | None, folder: Path) -> None:
    import uvicorn

    # asyncio's own loop answers keep-alive requests 40 ms late; the follower's polling would fill
    # an access log.
    uvicorn.run(
        _app(keys, folder),
        host="127.0.0.1",
        port=port,
        loop="uvloop",
        access_log=False,
        timeout_graceful_shutdown=GRACE,
    )


if __name__ == "__main__":
    main()
