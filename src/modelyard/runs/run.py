"""One run of the pipeline: its folder, its params, its snapshot and its stages."""

import fcntl
import os
from pathlib import Path
from typing import IO

from modelyard.errors import WorkspaceError
from modelyard.orchestration import run_rules
from modelyard.params import load
from modelyard.runs.janitor import sweep
from modelyard.runs.reproduce import Pipeline
from modelyard.runs.snapshot import Snapshot, new_run_id, take
from modelyard.settings import Settings


class Run:
    """What every task of a run is given: its folder, environment, params, snapshot and stages.

    Not a data class: Prefect walks through those when they are a task's argument.
    """

    def __init__(self, root: Path, snapshot: Snapshot, settings: Settings, lock: IO[str]) -> None:
        self.root = root
        self.settings = settings
        self.snapshot = snapshot
        self.params = load(root)
        self.rules = run_rules.load(root)
        self.pipeline = Pipeline(root)
        self._lock = lock

    def close(self) -> None:
        """Release what the run holds."""
        self.pipeline.close()
        self._lock.close()


def begin(root: Path) -> Run:
    """Check params.yaml, take the snapshot, and open the pipeline in ``root``.

    Raises:
        ParamsError: params.yaml is not possible.
        WorkspaceError: no git repository, or another run works in this folder.
    """
    root, settings = root.resolve(), Settings()
    load(root)
    lock = held(root)
    if not settings.run_id:
        sweep(root, settings)
    try:
        run = Run(root, take(root, settings.run_id or new_run_id()), settings, lock)
        if settings.run_id:
            run.pipeline.restore()
        return run
    except BaseException:
        lock.close()
        raise


def held(root: Path) -> IO[str]:
    """Take the folder's run lock; it goes when it is closed, or with the process.

    Raises:
        WorkspaceError: another process has it.
    """
    path = root / ".modelyard" / "run.lock"
    path.parent.mkdir(parents=True, exist_ok=True)
    file = path.open("a+", encoding="utf-8")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        file.seek(0)
        holder = file.read().strip()
        file.close()
        raise WorkspaceError(
            f"another run works in this folder (process {holder or 'unknown'})",
            "Wait for it, or start this one with --isolated.",
        ) from None
    file.truncate(0)
    file.write(str(os.getpid()))
    file.flush()
    return file
