"""``python -m modelyard.follower``: one process that follows MLflow's aliases."""

import argparse
import fcntl
import importlib
import logging
import os
import signal
import sys
import time
from pathlib import Path

from modelyard import logs
from modelyard.artifacts import write_atomic
from modelyard.errors import ModelyardError, ServiceUnavailable, WorkspaceError
from modelyard.follower.fetch import Fetcher
from modelyard.follower.follow import Follower, check_folder
from modelyard.follower.hooks import Hook, Waker, can_be_called, ensure_secret, hook_name
from modelyard.follower.serve_params import ServeFiles
from modelyard.follower.webhook import Guard, Receiver
from modelyard.mlflow_api import MlflowApi
from modelyard.registry.verdict import check_current
from modelyard.settings import Settings

_logger = logging.getLogger("modelyard.follower")

_MAX_WAIT_S = 2.0
_HOOKED_WAIT_S = 1.0
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
    parser.add_argument(
        "--no-webhook", action="store_true", help="notice promotions by looks alone"
    )
    parser.add_argument("--log-format", choices=logs.FORMATS, default=logs.default_format())
    args = parser.parse_args()
    if not args.mlflow:
        parser.error("no MLflow server: set MLFLOW_TRACKING_URI or give --mlflow")
    logs.configure(args.log_format)
    logging.getLogger("httpx").setLevel("WARNING")
    waker = Waker()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: waker.stop())
    try:
        check_folder(args.folder)
        _claim(args.folder)
        since = int(time.time())
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
        hook = (
            None if args.no_webhook else _listen(args.mlflow, args.folder, args.state, since, waker)
        )
        try:
            follow(follower, args.interval, waker, hook)
        finally:
            if hook is not None:
                hook.close()
    except ModelyardError as error:
        sys.exit(str(error))


def follow(follower: Follower, interval: float, waker: Waker, hook: Hook | None = None) -> None:
    """Tick at each call of ``waker`` and every ``interval`` seconds, until it says to stop.

    More rarely while MLflow is away, or while its webhook comes through.
    """
    wait, away = 0.0, False
    while not waker.wait(wait):
        calm = max(interval, _HOOKED_WAIT_S) if hook is not None and hook.reaches else interval
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
                if hook is not None:
                    hook.look()
            away = False
            wait = min(interval, _BUSY_WAIT_S) if busy else calm


def _listen(mlflow: str, folder: Path, state: Path, since: int, waker: Waker) -> Hook | None:
    """Ask MLflow to call at each alias that moves; None where that is not possible."""
    if not can_be_called(mlflow):
        _logger.info("MLflow is on another machine: its webhook cannot reach this follower")
        return None
    file = folder / ".webhook-port"
    try:
        secret = ensure_secret(state / "keys" / "webhook-secret")
        receiver = Receiver(Guard(secret.encode(), since), waker.wake, _former_port(file))
        # The same address at each start, as MLflow may know the former one for a minute.
        write_atomic(file, str(receiver.port).encode())
    except OSError as error:
        _logger.warning("no webhook, promotions are noticed by looks alone: %s", error)
        return None
    hook = Hook(mlflow, receiver, hook_name(folder), secret)
    hook.start()
    return hook


def _former_port(file: Path) -> int:
    try:
        port = int(file.read_text(encoding="ascii"))
    except (OSError, ValueError):
        return 0
    return port if 1024 <= port < 65536 else 0


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
