"""The dataset version goes to a real S3 server and comes back from it into another clone."""

import shutil
import sys
from pathlib import Path

import pytest

from tests import project
from tests.conftest import copy_project
from tests.integration.s3_server import KEYS, client

pytestmark = [pytest.mark.slow, pytest.mark.server]

BUCKET = "datasets"


def use_remote(root: Path, url: str) -> None:
    """Point the clone to the bucket; the keys stay in the environment."""
    project.dvc(root, "remote", "add", "--local", "--force", "-d", "bucket", f"s3://{BUCKET}/dvc")
    project.dvc(root, "remote", "modify", "--local", "bucket", "endpointurl", url)


def test_push_and_pull_a_dataset_version(
    s3: str, small: Path, tmp_path: Path, servers: dict[str, str]
) -> None:
    producer = small
    client(s3).create_bucket(Bucket=BUCKET)
    use_remote(producer, s3)
    printed = project.modelyard(producer, "run", "--no-up", **servers, **KEYS).stdout
    assert "✓ push" in printed
    stored = client(s3).list_objects_v2(Bucket=BUCKET)["KeyCount"]
    assert stored > 10

    consumer = copy_project(tmp_path / "consumer")
    shutil.copy2(producer / "params.yaml", consumer / "params.yaml")
    shutil.copytree(producer / "samples", consumer / "samples")
    shutil.copy2(producer / "dvc.lock", consumer / "dvc.lock")
    shutil.copytree(producer / "metrics", consumer / "metrics")
    project.commit(consumer, "the producer's version")
    use_remote(consumer, s3)
    project.call(consumer, sys.executable, "-m", "dvc", "pull", **KEYS)
    for name in ("data/dataset/train.parquet", "models/package/model.onnx", "reports/data.html"):
        assert (consumer / name).read_bytes() == (producer / name).read_bytes()
    assert "up to date" in project.dvc(consumer, "status").stdout
    # Nothing has to be computed where everything was pulled.
    printed = project.modelyard(consumer, "run", "--no-up", **servers, **KEYS).stdout
    assert "✓" not in printed.replace("✓ push", "")

    for path in (consumer / ".dvc").glob("config*"):
        assert KEYS["AWS_SECRET_ACCESS_KEY"] not in path.read_text()
