"""What every test may use: project folders to work in, and no address of the outside."""

import fcntl
import os
import shutil
import subprocess
import sys
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


@pytest.fixture(autouse=True)
def _own_imports() -> Iterator[None]:
    """No test sees the functions of another test's project."""
    before = list(sys.path)
    yield
    sys.path[:] = before
    for name in [name for name in sys.modules if name.partition(".")[0] == "custom"]:
        if not str(getattr(sys.modules[name], "__file__", None)).startswith(str(ROOT)):
            del sys.modules[name]


def _foreign() -> list[str]:
    return [name for name in os.environ if name.startswith(PREFIXES)]


@pytest.fixture(scope="session")
def repeated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A clone of the small project whose stages `dvc repro` has run, from an empty cache.

    It is made once, by the first process of the session that needs it; tests change copies alone.
    """
    from tests import project

    base = tmp_path_factory.getbasetemp()
    place = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "repeated"
    place.mkdir(exist_ok=True)
    root, done = place / "clone", place / "done"
    with (place / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not done.exists():
            shutil.rmtree(root, ignore_errors=True)
            project.shrink(copy_project(root))
            project.dvc(root, "repro")
            done.touch()
    return root


@pytest.fixture
def cold(clone: Path) -> Path:
    """A clone of the project with the small dataset and network; nothing is cached."""
    from tests import project

    project.shrink(clone)
    return clone


@pytest.fixture
def small(cold: Path, repeated: Path) -> Path:
    """The same with a filled DVC cache: stages whose inputs are unchanged come from there."""
    shutil.copytree(repeated / ".dvc" / "cache", cold / ".dvc" / "cache", dirs_exist_ok=True)
    return cold


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
