"""One Prefect and one MLflow server for all tests of a session; clones of the small project."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from modelyard import services
from modelyard.settings import Settings
from tests import project
from tests.conftest import copy_project
from tests.integration.s3_server import serving

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="session")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """The environment that points to a Prefect and an MLflow server of this session's own."""
    state = tmp_path_factory.mktemp("servers")
    settings = Settings(state_dir=state, prefect_port=0, mlflow_port=0, serving_port=0)
    try:
        started = services.start(settings, ROOT, names=["prefect", "mlflow"])
        services.wait(started.values())
        yield {
            "PREFECT_API_URL": f"{started['prefect'].url}/api",
            "MLFLOW_TRACKING_URI": f"{started['mlflow'].url}",
        }
    finally:
        services.down(settings)


@pytest.fixture(scope="session")
def s3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a SeaweedFS server; each test makes buckets of its own."""
    with serving(tmp_path_factory.mktemp("weed")) as url:
        yield url


@pytest.fixture(scope="session")
def repeated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A clone of the small project whose stages `dvc repro` has run, from an empty cache."""
    root = copy_project(tmp_path_factory.mktemp("repeated") / "clone")
    project.shrink(root)
    project.dvc(root, "repro")
    return root


@pytest.fixture
def cold(clone: Path) -> Path:
    """A clone of the project with the small dataset and network; nothing is cached."""
    project.shrink(clone)
    return clone


@pytest.fixture
def small(cold: Path, repeated: Path) -> Path:
    """The same with a filled DVC cache: stages whose inputs are unchanged come from there."""
    shutil.copytree(repeated / ".dvc" / "cache", cold / ".dvc" / "cache", dirs_exist_ok=True)
    return cold
