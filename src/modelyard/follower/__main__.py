"""``python -m modelyard.follower``: one process that follows MLflow's aliases."""

import argparse
import fcntl
import importlib
import logging
import os
import signal
import sys
import threading
from pathlib import Path

from modelyard.errors import ModelyardError, ServiceUnavailable, WorkspaceError
from modelyard.follower.fetch import Fetcher
from modelyard.follower.follow import Follower, check_folder
from modelyard.follower.serve_params import ServeFiles
from modelyard.mlflow_api import MlflowApi
from modelyard.registry.verdict import check_current
from modelyard.settings import Settings

_logger = logging.getLogger("modelyard.follower")

_MAX_WAIT_S = 2.0
_BUSY_WAIT_S = 0.05


def main() -> None:
    """Parse the arguments and follow until SIGTERM or SIGINT."""
    parser = argparse.ArgumentParser(prog="python -m modelyard.follower", description=__doc__)
    # By the environment, where the address holds a password: everybody can read the arguments.
    parser.add_argument(
        "--mlflow",
        default=Settings().mlflow_tracking_uri,
        help="address of the MLflow server; by default the environment's MLFLOW_TRACKING_URI",
    )
    parser.add_argument("--folder", type=Path, required=True, help="the serving folder")
    parser.add_argument("--trusted", type=Path, required=True, help="folder of trusted public keys")
    parser.add_argument("--state", type=Path, required=True, help="folder of the audit log")
    parser.add_argument(
        "--params", type=Path, action="append", default=[], help="a params.yaml whose `serve` holds"
    )
    parser.add_argument("--names", default="", help="registered models, separated by commas")
    parser.add_argument("--interval", type=float, default=0.3, help="seconds between two looks")
    args = parser.parse_args()
    if not args.mlflow:
        parser.error("no MLflow server: set MLFLOW_TRACKING_URI or give --mlflow")
    logging.basicConfig(level="INFO", format="%(asctime)s %(levelname)s %(message)s")
    logging.getLogger("httpx").setLevel("WARNING")
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    try:
        check_folder(args.folder)
        _claim(args.folder)
        # It takes 0.7 s: now, rather than while somebody waits for the first promotion.
        importlib.import_module("model_signing.verifying")
        api = MlflowApi(args.mlflow)
        follower = Follower(
            registry=api,
            fetcher=Fetcher(api, args.trusted, check_current),
            root=args.folder,
            state_dir=args.state,
            names=tuple(name for name in args.names.split(",") if name),
            serve=ServeFiles(tuple(args.params)),
        )
        follow(follower, args.interval, stop)
    except ModelyardError as error:
        sys.exit(str(error))


def follow(follower: Follower, interval: float, stop: threading.Event) -> None:
    """Tick every ``interval`` seconds, more rarely while MLflow is away, until ``stop`` is set."""
    wait, away = interval, False
    while not stop.wait(wait):
        try:
            busy = follower.tick()
        except ServiceUnavailable as error:
            if not away:
                _logger.warning("%s; what serves now serves on", error.message)
            away = True
            wait = min(max(wait, 0.1) * 2, max(_MAX_WAIT_S, interval))
        else:
            if away:
                _logger.info("MLflow answers again")
            away = False
            wait = min(interval, _BUSY_WAIT_S) if busy else interval


def _claim(folder: Path) -> None:
    """Hold the folder for this process: two followers would undo each other's work."""
    descriptor = os.open(folder / ".follower.lock", os.O_CREAT | os.O_RDWR, 0o644)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise WorkspaceError(
            f"another follower works in {folder}", "Stop it first: `modelyard down`."
        ) from None


if __name__ == "__main__":
    main()
