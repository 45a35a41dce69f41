"""The server as a process: swaps under load, drain, and what a rude caller gets."""

import asyncio
import json
import signal
import socket
from collections import Counter
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from tests.integration.serving_processes import process, server, wait_until
from tests.mlflow_server import free_port
from tests.unit.serving.tiny_packages import answer, point, publish, write_package

pytestmark = pytest.mark.server

NUM_FLIPS = 20
IMAGES = np.random.default_rng(7).integers(0, 256, (3, 4, 4), dtype=np.uint8)


def _ack(root: Path) -> dict[str, Any] | None:
    for path in (root / "m/acks").glob("[!.]*.json"):
        return json.loads(path.read_text())
    return None


def _body(image: np.ndarray) -> dict[str, Any]:
    return {"rows": [{"image": image.tolist()}]}


def test_no_request_fails_while_the_pointer_flips_among_three_versions(tmp_path: Path) -> None:
    root = tmp_path / "serving"
    digests = {version: publish(root, "m", version, version) for version in (1, 2, 3)}
    expected = {
        version: answer(root / f"m/versions/{version}-{digest[:12]}/model.onnx", IMAGES)
        for version, digest in digests.items()
    }

    async def flip() -> None:
        for sequence in range(4, 4 + NUM_FLIPS):
            version = 1 + sequence % 3
            point(root, "m", version, digests[version], sequence)
            while (_ack(root) or {}).get("sequence") != sequence:
                await asyncio.sleep(0.01)

    async def call(client: httpx.AsyncClient, done: asyncio.Event, seen: Counter[str]) -> None:
        turn = 0
        while not done.is_set():
            turn = (turn + 1) % len(IMAGES)
            response = await client.post("/predict/m", json=_body(IMAGES[turn]))
            assert response.status_code == 200, response.text
            version = response.headers["x-model-version"]
            page = response.json()
            assert page["version"] == int(version)
            found = list(page["predictions"][0]["probabilities"].values())
            assert found == pytest.approx(expected[int(version)][turn], abs=1e-5)
            seen[version] += 1

    async def scenario(url: str) -> None:
        done, seen = asyncio.Event(), Counter[str]()
        async with httpx.AsyncClient(base_url=url, timeout=20, trust_env=False) as client:
            async with asyncio.TaskGroup() as group:
                for _ in range(8):
                    group.create_task(call(client, done, seen))
                await asyncio.wait_for(flip(), 40)
                done.set()
            metrics = (await client.get("/metrics")).text
        assert seen.keys() == {"1", "2", "3"}
        assert f'modelyard_swaps_total{{model="m"}} {NUM_FLIPS + 1}.0' in metrics

    with server(root, tmp_path / "server.log") as url:
        wait_until(lambda: httpx.get(f"{url}/v2/health/ready", trust_env=False).status_code == 200)
        asyncio.run(scenario(url))


def test_sigterm_answers_what_has_begun_and_leaves_no_worker_behind(tmp_path: Path) -> None:
    root = tmp_path / "serving"
    publish(root, "m", 1, 1)
    port = free_port()
    words = ["--folder", str(root), "--port", str(port)]
    with process("modelyard.serving", tmp_path / "server.log", *words) as child:
        ping = f"http://127.0.0.1:{port}/ping"
        wait_until(lambda: _ack(root) and httpx.get(ping, trust_env=False).status_code == 200)
        body = json.dumps(_body(IMAGES[0])).encode()
        with socket.create_connection(("127.0.0.1", port)) as connection:
            head = b"POST /predict HTTP/1.1\r\nhost: x\r\ncontent-length: %d\r\n\r\n" % len(body)
            connection.sendall(head + body[:20])
            # The half request must have been read before the server is told to stop.
            assert httpx.get(ping, trust_env=False).status_code == 200
            child.send_signal(signal.SIGTERM)
            connection.sendall(body[20:])
            assert connection.recv(100).startswith(b"HTTP/1.1 200")
        assert child.wait(timeout=20) in (0, -signal.SIGTERM)
    assert list((root / ".workers").iterdir()) == []
    assert _ack(root) is None


def test_a_port_in_use_is_an_error(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        words = ["--folder", str(tmp_path), "--port", str(taken.getsockname()[1])]
        log = tmp_path / "server.log"
        with process("modelyard.serving", log, *words) as child:
            assert child.wait(timeout=20) != 0
    assert "address already in use" in log.read_text()


def test_raw_bytes_never_stop_the_server(tmp_path: Path) -> None:
    root = tmp_path / "serving"
    publish(root, "m", 1, 1)
    with server(root, tmp_path / "server.log") as url:
        wait_until(lambda: _ack(root))
        port = httpx.URL(url).port
        assert port is not None
        for raw in (
            b"GET /\xff\xfe HTTP/1.1\r\nhost: x\r\n\r\n",
            b"GET /v2/models/%ff%00/infer HTTP/1.1\r\nhost: x\r\n\r\n",
            b"POST /predict HTTP/1.1\r\nhost: x\r\ncontent-length: -5\r\n\r\n",
            b"POST /predict HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n",
            b"POST /predict HTTP/1.1\r\ncontent-type: \xff\r\ncontent-length: 2\r\n\r\n{}",
            b"\x16\x03\x01\x02\x00\x01\x00\x01",
        ):
            with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
                connection.sendall(raw)
                connection.shutdown(socket.SHUT_WR)
                status = connection.recv(100).split(b" ")[1:2]
                assert not status or status[0].startswith(b"4"), raw
        large = httpx.post(f"{url}/predict", content=b" " * 17_000_000, trust_env=False)
        assert large.status_code == 413
        fine = httpx.post(f"{url}/predict", json=_body(IMAGES[0]), trust_env=False)
        assert fine.status_code == 200
    assert "Traceback" not in (tmp_path / "server.log").read_text()


def test_a_refusal_is_acknowledged_and_golden_answers_must_agree(tmp_path: Path) -> None:
    root = tmp_path / "serving"
    digest = write_package(tmp_path / "bad", 1, golden_shift=0.2)
    (root / "m/versions").mkdir(parents=True)
    (tmp_path / "bad").rename(root / f"m/versions/1-{digest[:12]}")
    point(root, "m", 1, digest, 1)
    with server(root, tmp_path / "server.log") as url:
        ack = wait_until(lambda: _ack(root))
        assert ack["state"] == "refused"
        assert ack["reason"] == "golden request 0 is answered 0.2 off, 0.01 is allowed"
        ready = httpx.get(f"{url}/v2/health/ready", trust_env=False)
        assert ready.status_code == 503
        assert "m" in ready.json()["error"]
