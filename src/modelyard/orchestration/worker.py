"""The process worker of this machine: `-m modelyard.orchestration.worker --folder F --root R`.

It waits for Prefect, tells it of prefect.yaml, starts what is due, and beside that looks at the
watched places and sends messages about failed runs. A file in its folder, touched while it polls,
is the sign of its life. `prefect worker start` does the first half, and would need the pool, the
deployments and the automations to be there.
"""

import argparse
import asyncio
import logging
import os
import sys
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from modelyard.errors import ModelyardError, ServiceUnavailable
from modelyard.orchestration import deployments, messages, run_rules, watches
from modelyard.prefect_api import PrefectApi
from modelyard.services.health import answers
from modelyard.services.processes import TOKEN
from modelyard.settings import Settings

if TYPE_CHECKING:
    from prefect.workers.process import ProcessWorker

HEARTBEAT = "heartbeat"
FAULT = "fault"
_LOOK = 2.0
"""Seconds between two looks at whether something is due."""
_AGAIN = 5.0
"""Seconds after a failure."""

log = logging.getLogger(__name__)


def main() -> None:
    """Work until SIGTERM."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--folder", type=Path, required=True, help="holds the sign of life")
    parser.add_argument("--root", type=Path, required=True, help="the project")
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(name)s: %(message)s")
    logging.getLogger("httpx").setLevel(logging.WARNING)
    os.chdir(arguments.root)
    sys.path[:0] = [str(arguments.root / "src"), str(arguments.root)]
    # A run outlives its worker: what looks for the worker's own processes must not find it.
    os.environ.pop(TOKEN, None)
    # The jobs' command names no interpreter: it is this one.
    os.environ["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}"
    settings = Settings()
    registrar = Registrar(arguments.root, arguments.folder)
    while True:
        _await_prefect(settings)
        try:
            with PrefectApi.of(settings) as api:
                registrar.register(api)
            _work(arguments.folder, registrar, arguments.root, settings)
            return
        except Exception:
            # Prefect's loops give up when their server is away for long.
            log.exception("the worker starts again")
            time.sleep(_AGAIN)


def _await_prefect(settings: Settings) -> None:
    """Wait for the server before prefect is imported: others start at the same time."""
    with PrefectApi.of(settings) as api:
        while not answers(f"{api.url}/health"):
            time.sleep(0.2)


class Registrar:
    """Tells Prefect what there is, at the start and whenever the files change.

    A fault in them stops nobody: it is in the log, and in ``FAULT``, which `modelyard status`
    shows; what was registered before stays.
    """

    def __init__(self, root: Path, folder: Path) -> None:
        self._root = root
        self._fault = folder / FAULT
        self._files = [root / name for name in (deployments.PREFECT_YAML, run_rules.RUNS_YAML)]
        self._seen: list[int] = []

    def register(self, api: PrefectApi) -> None:
        """Register what has changed.

        Raises:
            ServiceUnavailable: Prefect is away; the next call does it.
        """
        state = [path.stat().st_mtime_ns if path.exists() else 0 for path in self._files]
        if state == self._seen:
            return
        try:
            changed = deployments.register(self._root, api, run_rules.load(self._root))
            log.info("registered: %s", ", ".join(changed) or "nothing new")
            self._fault.unlink(missing_ok=True)
        except ServiceUnavailable:
            raise
        except ModelyardError as error:
            log.warning("nothing more is registered: %s", error)
            self._fault.write_text(str(error), encoding="utf-8")
        self._seen = state


def _work(folder: Path, registrar: Registrar, root: Path, settings: Settings) -> None:
    from prefect.workers.process import ProcessWorker

    worker = ProcessWorker(work_pool_name=deployments.POOL, name=deployments.POOL)
    stop = threading.Event()
    looked = watches.Watcher(root, folder)
    told = messages.Messenger(folder, settings.notify)
    duties = (registrar.register, looked.look, told.tell)
    arguments = (worker, folder / HEARTBEAT, duties, settings, stop)
    attendant = threading.Thread(target=_attend, args=arguments, daemon=True)
    attendant.start()
    try:
        asyncio.run(worker.start())
    finally:
        stop.set()
        attendant.join(timeout=_AGAIN)


def _attend(
    worker: "ProcessWorker",
    heartbeat: Path,
    duties: Sequence[Callable[[PrefectApi], object]],
    settings: Settings,
    stop: threading.Event,
) -> None:
    """Beside the worker's loops: the sign of life, and whatever else is to be done."""
    from prefect.settings import PREFECT_WORKER_QUERY_SECONDS

    interval = PREFECT_WORKER_QUERY_SECONDS.value()
    with PrefectApi.of(settings) as api:
        while not stop.wait(_LOOK):
            if worker._has_successfully_synced and worker.is_worker_still_polling(interval):
                heartbeat.touch()
            for duty in duties:
                try:
                    duty(api)
                except ServiceUnavailable as error:
                    log.warning("%s", error.message)
                except Exception:
                    # A fault in one duty must not end the others, nor the worker's sign of life.
                    log.exception("the worker goes on")


if __name__ == "__main__":
    try:
        main()
    except ModelyardError as error:
        sys.exit(str(error))
