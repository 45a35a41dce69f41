"""The explainer's process: one at a time, gone when idle and with the process that keeps it."""

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

SECONDS = 30.0


@pytest.fixture
def started(tmp_path: Path) -> Iterator[list[subprocess.Popen[bytes]]]:
    children: list[subprocess.Popen[bytes]] = []
    yield children
    for child in children:
        child.kill()
        child.wait()
        assert child.stdin is not None
        child.stdin.close()


def start(folder: Path, *more: str) -> subprocess.Popen[bytes]:
    words = ["--folder", str(folder), "--socket", str(folder / "socket"), *more]
    return subprocess.Popen(
        [sys.executable, "-m", "modelyard.explaining", *words], stdin=subprocess.PIPE
    )


def connect(folder: Path) -> socket.socket:
    end = time.monotonic() + SECONDS
    place = os.open(folder, os.O_RDONLY)
    while True:
        client = socket.socket(socket.AF_UNIX)
        client.settimeout(SECONDS)
        try:
            client.connect(f"/proc/self/fd/{place}/socket")
        except OSError:
            client.close()
            assert time.monotonic() < end
            time.sleep(0.02)
        else:
            os.close(place)
            return client


def ask(folder: Path, line: bytes) -> dict[str, Any]:
    with connect(folder) as client, client.makefile("rwb") as stream:
        stream.write(line + b"\n")
        stream.flush()
        return json.loads(stream.readline())


def test_it_refuses_is_one_and_ends_with_who_keeps_it(
    tmp_path: Path, started: list[subprocess.Popen[bytes]]
) -> None:
    keeper = start(tmp_path)
    started.append(keeper)
    outside = {"path": "../elsewhere", "digest": "0" * 64, "targets": [0]}
    assert ask(tmp_path, json.dumps(outside).encode())["status"] == 503
    assert ask(tmp_path, b"no question")["status"] == 500
    second = start(tmp_path)
    started.append(second)
    assert second.wait(SECONDS) == 0, "one at a time"
    assert keeper.poll() is None
    assert keeper.stdin is not None
    keeper.stdin.close()
    assert keeper.wait(SECONDS) == 0
    assert not (tmp_path / "socket").exists()


def test_it_ends_when_nobody_asks(tmp_path: Path, started: list[subprocess.Popen[bytes]]) -> None:
    child = start(tmp_path, "--idle-s", "0.1")
    started.append(child)
    assert child.wait(SECONDS) == 0
