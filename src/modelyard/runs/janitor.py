"""Remove what killed runs left: their worktrees, and checkpoints that nobody will resume."""

import json
import logging
import shutil
from pathlib import Path

import psutil

from modelyard.runs.git import git
from modelyard.settings import Settings

KEPT_CHECKPOINTS = 8
"""Trainings whose checkpoints are kept, the latest first: runs under way are among them."""

log = logging.getLogger(__name__)


def sweep(root: Path, settings: Settings) -> list[str]:
    """Remove the worktrees of runs whose processes are gone, and old checkpoints.

    Returns:
        The ids of the runs whose worktrees were removed.
    """
    folder = settings.state_dir.resolve() / "worktrees"
    swept = []
    for owner in sorted(folder.glob("*.json")):
        try:
            record = json.loads(owner.read_text(encoding="utf-8"))
        except FileNotFoundError:
            continue  # its run has just ended
        worktree = folder / owner.stem
        if not _alive(record["pid"], record["create_time"]) and not _inhabited(worktree):
            remove_worktree(root, worktree)
            swept.append(owner.stem)
    if swept:
        log.info("removed the worktrees of runs that were killed: %s", ", ".join(swept))
    keys = [path for path in settings.checkpoints.glob("*") if path.is_dir()]
    for path in sorted(keys, key=lambda path: path.stat().st_mtime)[:-KEPT_CHECKPOINTS]:
        shutil.rmtree(path, ignore_errors=True)
    return swept


def remove_worktree(root: Path, worktree: Path) -> None:
    """Remove a worktree, whatever state it is in, and the record of its owner."""
    shutil.rmtree(worktree, ignore_errors=True)
    git(root, "worktree", "prune")
    worktree.with_suffix(".json").unlink(missing_ok=True)


def _alive(pid: int, create_time: float) -> bool:
    try:
        return abs(psutil.Process(pid).create_time() - create_time) < 1
    except psutil.Error:
        return False


def _inhabited(worktree: Path) -> bool:
    """Whether a process works there: a run may outlive the command that began it."""
    for process in psutil.process_iter(["cwd"]):
        cwd = process.info["cwd"]
        if cwd and Path(cwd).is_relative_to(worktree):
            return True
    return False
