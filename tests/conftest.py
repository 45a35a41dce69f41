"""What every test may use: a project folder to work in, and no address of the outside."""

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


PREFIXES = ("MODELYARD_", "PREFECT_", "MLFLOW_", "AWS_", "DVC_")


@pytest.fixture(autouse=True)
def _own_environment(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """No test sees addresses of the outside.

    Nor does it see those that a library left behind in an earlier test.
    """
    for name in _foreign():
        monkeypatch.delenv(name)
    yield
    for name in _foreign():
        del os.environ[name]


def _foreign() -> list[str]:
    return [name for name in os.environ if name.startswith(PREFIXES)]


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """A clone of the project as it stands, uncommitted files too.

    It has one commit, and nothing was run in it.
    """
    return copy_project(tmp_path / "clone")


def copy_project(target: Path) -> Path:
    """Copy every file that git knows or does not ignore to ``target``, a repository of its own."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"],
        cwd=ROOT,
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    for name in filter(None, listed.split("\0")):
        if (ROOT / name).is_file() and name.split("/")[0] not in ("metrics", "dvc.lock"):
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, target / name)
    git = ["git", "-c", "user.name=test", "-c", "user.email=test@localhost"]
    for words in (["init", "-q", "-b", "main"], ["add", "-A"], ["commit", "-qm", "start"]):
        subprocess.run([*git, *words], cwd=target, check=True)
    return target
