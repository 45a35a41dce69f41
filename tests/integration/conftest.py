"""One Prefect, one MLflow and one S3 server for all tests of a session."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from modelyard import services
from modelyard.settings import Settings
from tests.integration.s3_server import serving

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="session")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """The environment that points to a Prefect and an MLflow server of this session's own."""
    state = tmp_path_factory.mktemp("servers")
    settings = Settings(state_dir=state, prefect_port=0, mlflow_port=0, serving_port=0)
    try:
        started = services.up(settings, ROOT, names=["prefect", "mlflow"])
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
