"""What is too much, too long or too slow: turned away with a status and a time to come back."""

import asyncio
from collections.abc import Iterator
from pathlib import Path
from threading import Event
from typing import Any

import httpx
import numpy as np
import orjson
import pytest

from modelyard.serving import calls
from modelyard.serving.app import App
from modelyard.serving.batcher import BatchLimits
from modelyard.serving.model import Model
from tests.unit.serving.conftest import Client
from tests.unit.serving.tiny_packages import publish

IMAGE = [[0] * 4] * 4
BODY = orjson.dumps({"rows": [{"image": IMAGE}]})


class Gate:
    """Holds every run of a model while it is closed."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.open = Event()
        self.open.set()
        self.entered = Event()
        run = Model.run

        def wait(model: Model, inputs: dict[str, np.ndarray]) -> list[np.ndarray]:
            self.entered.set()
            assert self.open.wait(10)
            return run(model, inputs)

        monkeypatch.setattr(Model, "run", wait)

    def close(self) -> None:
        self.open.clear()
        self.entered.clear()


@pytest.fixture
def gate(monkeypatch: pytest.MonkeyPatch) -> Gate:
    return Gate(monkeypatch)


@pytest.fixture
def small(folder: Path, gate: Gate) -> Iterator[Client]:
    """A server that keeps 2 rows waiting and no request longer than 0.2 s."""
    loop = asyncio.new_event_loop()
    limits = BatchLimits(max_queued_rows=2, deadline_s=0.2)
    client = Client(App(folder, "worker-0", limits, max_body_s=0.2), loop)
    publish(folder, "digits", 1, 1)
    client.scan()
    yield client
    gate.open.set()
    loop.close()


async def post(client: Client, body: bytes = BODY) -> httpx.Response:
    headers = {"content-type": "application/json"}
    return await client._client.post("/predict", content=body, headers=headers)


def test_a_model_that_hangs_costs_a_caller_the_deadline_and_no_more(
    small: Client, gate: Gate
) -> None:
    gate.close()

    async def scenario() -> None:
        computed = asyncio.create_task(post(small))
        while not gate.entered.is_set():
            await asyncio.sleep(0.001)
        queued = asyncio.create_task(post(small))
        for late in (await computed, await queued):
            assert late.status_code == 503
            assert "no answer within 0.2 s" in late.json()["error"]
            assert late.headers["retry-after"] == "1"
            assert late.headers["x-model-version"] == "1"
        gate.open.set()
        assert (await post(small)).status_code == 200

    small.loop.run_until_complete(asyncio.wait_for(scenario(), 10))


def test_a_full_queue_turns_away_and_forgets_nobody(small: Client, gate: Gate) -> None:
    gate.close()

    async def scenario() -> None:
        first = asyncio.create_task(post(small))
        while not gate.entered.is_set():
            await asyncio.sleep(0.001)
        queued = [asyncio.create_task(post(small)) for _ in range(2)]
        await asyncio.sleep(0)
        refused = await post(small)
        assert refused.status_code == 429
        assert refused.headers["retry-after"] == "1"
        assert refused.headers["x-model-name"] == "digits"
        gate.open.set()
        assert [(await one).status_code for one in (first, *queued)] == [200, 200, 200]

    small.loop.run_until_complete(asyncio.wait_for(scenario(), 10))


def test_the_deadline_is_each_requests_own(small: Client) -> None:
    """Requests that follow each other for longer than the deadline are all answered."""

    async def scenario() -> None:
        loop = asyncio.get_running_loop()
        end = loop.time() + 0.5
        num_answers = 0
        while loop.time() < end:
            assert (await post(small)).status_code == 200
            num_answers += 1
        assert num_answers > 5

    small.loop.run_until_complete(asyncio.wait_for(scenario(), 10))


def scope(path: str, **headers: str) -> dict[str, Any]:
    pairs = [(name.encode(), value.encode()) for name, value in headers.items()]
    return {"type": "http", "method": "POST", "path": path, "headers": pairs}


def test_a_body_that_does_not_come_is_not_waited_for(small: Client) -> None:
    async def scenario() -> None:
        sent: list[Any] = []

        async def receive() -> Any:
            if not sent_half:
                sent_half.append(True)
                return {"type": "http.request", "body": BODY[:5], "more_body": True}
            await asyncio.Event().wait()

        async def send(message: Any) -> None:
            sent.append(message)

        sent_half: list[bool] = []
        await small.app(scope("/predict"), receive, send)
        head, body = sent
        assert head["status"] == 408
        assert (b"connection", b"close") in head["headers"]
        assert (b"x-model-name", b"digits") in head["headers"]
        assert "within 0.2 s" in orjson.loads(body["body"])["error"]
        assert (await post(small)).status_code == 200

    small.loop.run_until_complete(asyncio.wait_for(scenario(), 10))


def test_a_server_that_ends_is_not_taken_for_a_late_body(small: Client) -> None:
    async def scenario() -> None:
        async def never(*_: Any) -> Any:
            await asyncio.Event().wait()

        task = asyncio.create_task(small.app(scope("/predict"), never, never))
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    small.loop.run_until_complete(asyncio.wait_for(scenario(), 10))


def test_large_bodies_wait_in_a_bounded_number(
    small: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    started, go = Event(), Event()
    monkeypatch.setattr(calls, "_LARGE_BODY", 10)
    monkeypatch.setattr(calls, "_MAX_CONVERTED", 2 * 16 * 1024 * 1024)
    parse = calls.parse_rows

    def slow(*arguments: Any) -> Any:
        started.set()
        assert go.wait(10)
        return parse(*arguments)

    monkeypatch.setattr(calls, "parse_rows", slow)

    async def scenario() -> None:
        waiting = [asyncio.create_task(post(small)) for _ in range(2)]
        while not started.is_set():
            await asyncio.sleep(0.001)
        assert (await post(small)).status_code == 429
        go.set()
        assert [(await one).status_code for one in waiting] == [200, 200]
        assert (await post(small)).status_code == 200

    small.loop.run_until_complete(asyncio.wait_for(scenario(), 10))


@pytest.mark.parametrize(
    ("path", "tree"),
    [
        ("/predict", {"rows": [{"image": IMAGE}] * 1025}),
        ("/invocations", {"instances": [IMAGE] * 1025}),
        (
            "/v2/models/digits/infer",
            {"inputs": [{"name": "image", "shape": [1025, 4, 4], "datatype": "UINT8", "data": []}]},
        ),
    ],
)
def test_too_many_rows_are_too_large(small: Client, path: str, tree: dict[str, Any]) -> None:
    response = small("POST", path, json=tree)
    assert response.status_code == 413
    assert "at most 1024" in response.json()["error"]
