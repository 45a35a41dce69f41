"""The MLflow server in one process: `-m modelyard.services.mlflow_server --port P --folder F`.

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

GRACE = 3  # s that open requests have when the server is told to stop


def main() -> None:
    """Serve tracking, registry, proxied artifacts and the UI on 127.0.0.1 until SIGTERM."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--folder", type=Path, required=True, help="holds mlflow.db and artifacts/")
    arguments = parser.parse_args()
    folder = arguments.folder.absolute()
    folder.mkdir(parents=True, exist_ok=True)
    _configure(f"sqlite:///{folder}/mlflow.db", folder / "artifacts")
    _serve(arguments.port)


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


def _serve(port: int) -> None:
    import uvicorn

    with warnings.catch_warnings():
        # MLflow mounts its Flask part by a Starlette module that is deprecated.
        warnings.simplefilter("ignore")
        from mlflow.server.fastapi_app import app

    # asyncio's own loop answers keep-alive requests 40 ms late; the follower's polling would fill
    # an access log.
    uvicorn.run(
        app,
        host="127.0.0.1",
        port=port,
        loop="uvloop",
        access_log=False,
        timeout_graceful_shutdown=GRACE,
    )


if __name__ == "__main__":
    main()
