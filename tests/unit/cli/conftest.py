"""A project's folder with nothing but what the command line looks for."""

import gc
import os
import sys
from collections.abc import Callable, Iterator
from importlib import import_module
from pathlib import Path

import pytest

from modelyard.cli import main

Invoke = Callable[..., int]
ROOT = Path(__file__).parents[3]


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in list(os.environ):
        if name.startswith(("MODELYARD_", "MLFLOW_", "PREFECT_")):
            monkeypatch.delenv(name)
    folder = tmp_path / "project"
    (folder / "deep" / "er").mkdir(parents=True)
    (folder / "dvc.yaml").write_text("stages: {}\n")
    (folder / "params.yaml").write_text((ROOT / "params.yaml").read_text())
    monkeypatch.chdir(folder)
    return folder


@pytest.fixture
def invoke(monkeypatch: pytest.MonkeyPatch) -> Iterator[Invoke]:
    """Give the words to the program as a shell would, and return its exit status."""
    before = Path.cwd()

    def call(*words: str, cwd: Path) -> int:
        monkeypatch.chdir(cwd)
        monkeypatch.setattr(sys, "argv", ["modelyard", *words])
        monkeypatch.setattr(sys, "path", list(sys.path))
        monkeypatch.setattr(gc, "freeze", lambda: None)
        # Dropped at a process's end; another import of it in the same process aborts that.
        monkeypatch.setattr(import_module("modelyard.cli.app"), "_BINDINGS", ())
        with pytest.raises(SystemExit) as end:
            main()
        return int(end.value.code or 0)

    yield call
    os.chdir(before)
