"""Server and follower as the processes they are, for tests; stopped by their ids."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

import httpx

from tests.mlflow_server import free_port

Answer = TypeVar("Answer")
SECONDS = 20.0


@contextmanager
def server(folder: Path, log: Path, *more: str) -> Iterator[str]:
    """Run a model server on a serving folder; yield its address."""
    port = free_port()
    words = ["--folder", str(folder), "--port", str(port), *more]
    with process("modelyard.serving", log, *words) as child:
        url = f"http://127.0.0.1:{port}"
        wait_until(lambda: is_up(url) or child.poll() is not None)
        assert child.poll() is None, log.read_text()
        yield url


@contextmanager
def follower(mlflow: str, folder: Path, trusted: Path, state: Path) -> Iterator[None]:
    """Run a follower."""
    words = ["--mlflow", mlflow, "--folder", folder, "--trusted", trusted, "--state", state]
    log = state / "follower.log"
    with process("modelyard.follower", log, *map(str, words), "--interval", "0.1") as child:
        yield
        assert child.poll() is None, log.read_text()


@contextmanager
def process(
    module: str, log: Path, *words: str, env: dict[str, str] | None = None
) -> Iterator[subprocess.Popen[bytes]]:
    """Run ``python -m module``; at the end SIGTERM it must obey. ``env`` adds to ours."""
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("ab") as output:
        child = subprocess.Popen(
            [sys.executable, "-m", module, *words],
            stdout=output,
            stderr=subprocess.STDOUT,
            env=os.environ | (env or {}),
        )
    try:
        yield child
    finally:
        child.send_signal(signal.SIGTERM)
        try:
            child.wait(timeout=SECONDS)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()
            raise


def is_up(url: str) -> bool:
    """Whether a server answers."""
    try:
        return httpx.get(f"{url}/v2/health/live", timeout=2, trust_env=False).status_code == 200
    except httpx.TransportError:
        return False


def wait_until(happened: Callable[[], Answer | None], seconds: float = SECONDS) -> Answer:
    """Wait for something to be true and return it."""
    end = time.monotonic() + seconds
    while not (answer := happened()):
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.02)
    return answer
