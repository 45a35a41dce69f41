"""What a killed launch left in the temporary folder is removed by the next one; no more is."""

import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import cast

import pytest

from modelyard.params import ModelParams, TrainParams
from modelyard.training import launcher
from modelyard.training.worker import Job


def test_a_launch_removes_what_dead_ones_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    left = [f"modelyard-train-{dead.pid}-a_b1", f"modelyard-train-{dead.pid}-c"]
    kept = [
        f"modelyard-train-{os.getpid()}-other",
        "modelyard-train-1-init",
        f"modelyard-train-{10**30}-no-pid",
        "modelyard-train-mine-and-yours",
        f"another-{dead.pid}-a",
    ]
    for name in left + kept:
        (tmp_path / name / "logs").mkdir(parents=True)
    seen: list[Path] = []
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr(launcher, "_run", lambda job: seen.append(job.scratch))
    launcher.launch(_job(tmp_path / "checkpoints"))
    assert sorted(path.name for path in tmp_path.glob("*-*")) == sorted(kept)
    assert seen[0].name.startswith(f"modelyard-train-{os.getpid()}-")


def _job(folder: Path) -> Job:
    return Job(
        root=folder,
        dataset=folder,
        model=ModelParams(factory="mlp"),
        train=cast("TrainParams", None),
        inputs="",
        checkpoints=folder,
        resume=None,
        stream=None,
        threads=1,
        scratch=Path(),
    )
