"""One run of the pipeline: its folder, its params, its snapshot and its stages."""

import fcntl
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from modelyard.errors import WorkspaceError
from modelyard.params import Params, load
from modelyard.runs import snapshot
from modelyard.runs.reproduce import Pipeline
from modelyard.settings import Settings


@dataclass(frozen=True)
class Run:
    """What every task of a run is given."""

    root: Path
    settings: Settings
    params: Params
    snapshot: snapshot.Snapshot
    pipeline: Pipeline
    _lock: IO[str] = field(repr=False)

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
    params = load(root)
    lock = _hold(root)
    try:
        taken = snapshot.take(root, settings.run_id or snapshot.new_run_id())
        run = Run(root, settings, params, taken, Pipeline(root), lock)
        if settings.run_id:
            run.pipeline.restore()
        return run
    except BaseException:
        lock.close()
        raise


def _hold(root: Path) -> IO[str]:
    """Take the folder's run lock; it goes with the process, however that ends."""
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
