"""A real MLflow server, a client of it, and a finished project to register, as fixtures."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from modelyard.artifacts import Layout, ModelVersion
from modelyard.mlflow_api import MlflowApi
from modelyard.registry import tags as names
from modelyard.registry.verdict import Verdict, check_verdict
from tests.integration.registry_project import Project, make_project
from tests.mlflow_server import mlflow_server


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with mlflow_server(tmp_path_factory.mktemp("mlflow")) as address:
        yield address


@pytest.fixture
def api(url: str) -> Iterator[MlflowApi]:
    with MlflowApi(url) as client:
        yield client


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    return make_project(tmp_path / "project", wrong=3)


def stored(api: MlflowApi, project: Project, version: ModelVersion) -> Verdict:
    """The verdict that the version's tags prove."""
    found = api.get_version(project.name, version.version)
    assert found is not None
    return check_verdict(found.tags, project.name, version.version, version.digest, project.trusted)


def follow(api: MlflowApi, name: str, version: int) -> None:
    """What the follower says once it serves a version."""
    api.set_version_tag(name, version, names.WAS_LIVE, "true")
    api.set_alias(name, names.LIVE, version)


def aliases(api: MlflowApi, name: str) -> dict[str, int]:
    model = api.get_registered_model(name)
    assert model is not None
    return model.aliases
