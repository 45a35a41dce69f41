"""The janitor removes what is dead, and leaves what lives."""

import os
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from modelyard.artifacts import write_json
from modelyard.runs import janitor
from modelyard.settings import Settings


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    subprocess.run(["git", "init", "-q", str(tmp_path)], check=True)
    return Settings(state_dir=tmp_path / ".modelyard")


def worktree(settings: Settings, name: str, pid: int, create_time: float) -> Path:
    folder = settings.state_dir / "worktrees" / name
    (folder / "data").mkdir(parents=True)
    write_json(folder.with_suffix(".json"), {"pid": pid, "create_time": create_time})
    return folder


def test_only_the_worktrees_of_dead_runs_go(tmp_path: Path, settings: Settings) -> None:
    me = psutil.Process()
    alive = worktree(settings, "alive", me.pid, me.create_time())
    reused = worktree(settings, "reused", me.pid, me.create_time() - 100)
    assert janitor.sweep(tmp_path, settings) == ["reused"]
    assert alive.exists()
    assert not reused.exists()
    assert not reused.with_suffix(".json").exists()


def test_a_worktree_where_a_process_still_works_stays(tmp_path: Path, settings: Settings) -> None:
    folder = worktree(settings, "orphan", 2**22 - 1, 0.0)
    process = subprocess.Popen(
        [sys.executable, "-c", "print('there', flush=True); input()"],
        cwd=folder / "data",
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert process.stdout is not None
    process.stdout.readline()
    assert janitor.sweep(tmp_path, settings) == []
    assert folder.exists()
    process.communicate(b"\n")
    assert janitor.sweep(tmp_path, settings) == ["orphan"]


def test_the_latest_checkpoints_stay(tmp_path: Path, settings: Settings) -> None:
    for number in range(janitor.KEPT_CHECKPOINTS + 3):
        folder = settings.checkpoints / f"key{number:02}"
        folder.mkdir(parents=True)
        os.utime(folder, (number, number))
    janitor.sweep(tmp_path, settings)
    left = sorted(path.name for path in settings.checkpoints.iterdir())
    assert left == [f"key{number:02}" for number in range(3, janitor.KEPT_CHECKPOINTS + 3)]
