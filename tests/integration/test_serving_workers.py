"""Several workers on one port: all swap, all count, one that dies is replaced."""

import re
import signal
from collections import Counter
from pathlib import Path

import httpx
import psutil
import pytest

from tests.integration.serving_processes import process, server, wait_until
from tests.mlflow_server import free_port
from tests.unit.serving.tiny_packages import point, publish

pytestmark = pytest.mark.server

BODY = {"rows": [{"image": [[0] * 4] * 4}]}
NUM_REQUESTS = 40


def workers(root: Path) -> dict[str, int]:
    """Process ids by the workers' names."""
    return {path.name: int(path.read_text()) for path in (root / ".workers").glob("[!.]*")}


def acknowledged(root: Path, sequence: int, number: int) -> bool:
    files = [path.read_text() for path in (root / "m/acks").glob("[!.]*.json")]
    return sum(f'"sequence":{sequence}' in text.replace(" ", "") for text in files) == number


def ask(url: str, number: int) -> Counter[str]:
    """Versions that answered, a connection each."""
    answers = (httpx.post(f"{url}/predict/m", json=BODY, trust_env=False) for _ in range(number))
    return Counter(
        f"{answer.status_code} {answer.headers['x-model-version']}" for answer in answers
    )


def test_all_swap_and_count_and_a_dead_one_is_replaced(tmp_path: Path) -> None:
    root = tmp_path / "serving"
    first, second = publish(root, "m", 1, 1), publish(root, "m", 2, 2)
    point(root, "m", 1, first, 3)
    with server(root, tmp_path / "log", "--workers", "2") as url:
        wait_until(lambda: len(workers(root)) == 2 and acknowledged(root, 3, 2))
        assert ask(url, NUM_REQUESTS) == {"200 1": NUM_REQUESTS}
        point(root, "m", 2, second, 4)
        wait_until(lambda: acknowledged(root, 4, 2))
        assert ask(url, NUM_REQUESTS) == {"200 2": NUM_REQUESTS}, "no worker serves the old one"

        before = workers(root)
        dead = next(iter(before.values()))
        psutil.Process(dead).kill()
        wait_until(
            lambda: (
                len(workers(root)) == 2
                and dead not in workers(root).values()
                and acknowledged(root, 4, 2)
            )
        )
        assert ask(url, NUM_REQUESTS) == {"200 2": NUM_REQUESTS}
        metrics = httpx.get(f"{url}/metrics", trust_env=False).text
        counts = re.findall(r"^modelyard_requests_total\{.*\} ([\d.]+)$", metrics, re.MULTILINE)
        assert sum(map(float, counts)) == 3 * NUM_REQUESTS
    assert workers(root) == {}


def test_they_end_with_their_parent(tmp_path: Path) -> None:
    root = tmp_path / "serving"
    words = ["--folder", str(root), "--port", str(free_port()), "--workers", "2"]
    with process("modelyard.serving", tmp_path / "log", *words) as parent:
        wait_until(lambda: len(workers(root)) == 2)
        family = psutil.Process(parent.pid).children()
        parent.send_signal(signal.SIGKILL)
        _, alive = psutil.wait_procs(family, timeout=10)
    assert not alive


def test_a_worker_that_cannot_live_ends_the_server(tmp_path: Path) -> None:
    (tmp_path / "serving").mkdir()
    (tmp_path / "serving/.workers").write_text("no folder")
    words = ["--folder", str(tmp_path / "serving"), "--port", str(free_port()), "--workers", "2"]
    with process("modelyard.serving", tmp_path / "log", *words) as parent:
        assert parent.wait(timeout=20) == 3
    assert "ended at once" in (tmp_path / "log").read_text()
