"""A shadow in a server: its answers are compared and counted, and reach nobody."""

import asyncio
import json
import threading
from collections.abc import Callable
from pathlib import Path
from time import monotonic

import numpy as np
import pytest

from modelyard.artifacts import write_json
from modelyard.serving.model import Model
from modelyard.serving.shadow import compare
from tests.unit.serving.conftest import Client
from tests.unit.serving.tiny_packages import LABELS, place, point, write_package

ROWS = {"rows": [{"image": [[0] * 4] * 4}, {"image": [[255, 0, 0, 0]] * 4}]}


def _shadow(root: Path, version: int, seed: int, percent: float = 100) -> None:
    staged = root.parent / f"staged-{version}"
    live = (root / "m/live.json").read_bytes() if version > 1 else b""
    digest = write_package(staged, seed)
    place(staged, root, "m", version, digest, 1)
    if live:
        (root / "m/live.json").write_bytes(live)
        path = f"versions/{version}-{digest[:12]}"
        pointer = {"name": "m", "version": version, "digest": digest, "path": path}
        write_json(root / "m/shadow.json", pointer)
    write_json(root / "m/serve.json", {"shadow": {"percent": percent, "atol": 0.01}})


@pytest.fixture
def shadowed(client: Client, folder: Path) -> Callable[..., Client]:
    """Version 1 is live; version 2 is its shadow, with other weights by default."""

    def start(seed: int = 2, percent: float = 100) -> Client:
        _shadow(folder, 1, 1)
        client.scan()
        _shadow(folder, 2, seed, percent)
        _scan(client)
        return client

    return start


def _scan(client: Client) -> None:
    async def scan() -> None:
        watcher = client.app.watcher
        for _ in range(2):
            watcher.scan()
            await asyncio.gather(*watcher._loading.values(), *watcher.shadows._working.values())

    client.loop.run_until_complete(scan())


def _count(client: Client, what: str) -> float:
    labels = {"model": "m", "version": "2"}
    name = f"modelyard_shadow_{what}_total"
    return client.app.metrics.registry.get_sample_value(name, labels) or 0.0


def _wait(happened: Callable[[], bool]) -> None:
    end = monotonic() + 10
    pause = threading.Event()
    while not happened():
        assert monotonic() < end, "it did not happen in time"
        pause.wait(0.005)


@pytest.mark.parametrize(("seed", "differs"), [(1, False), (2, True)])
def test_answers_are_compared_and_never_shown(
    shadowed: Callable[..., Client], seed: int, differs: bool
) -> None:
    client = shadowed(seed)
    for _ in range(5):
        response = client("POST", "/predict/m", json=ROWS)
        assert response.headers["x-model-version"] == "1"
    _wait(lambda: _count(client, "requests") == 5)
    assert _count(client, "rows") == 10
    assert _count(client, "differences") == (10 if differs else 0)
    assert _count(client, "errors") == _count(client, "dropped") == 0
    assert "modelyard_shadow_seconds_bucket" in client("GET", "/metrics").text
    assert client("GET", "/health").json()["models"]["m"]["shadow"] == {"version": 2}
    assert client("GET", "/v2/models/m").json()["versions"] == ["1"]


def test_a_share_of_the_requests_is_copied(shadowed: Callable[..., Client]) -> None:
    client = shadowed(percent=25)
    for _ in range(20):
        client("POST", "/predict/m", json=ROWS)
    _wait(lambda: _count(client, "requests") == 5)


def test_a_shadow_that_fails_fails_nobody(
    shadowed: Callable[..., Client],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    client, run = shadowed(), Model.run

    def fail(model: Model, inputs: dict[str, np.ndarray]) -> list[np.ndarray]:
        if model.version == 2:
            raise RuntimeError("no such operator\nat node 7")
        return run(model, inputs)

    monkeypatch.setattr(Model, "run", fail)
    for _ in range(3):
        assert client("POST", "/predict/m", json=ROWS).status_code == 200
    _wait(lambda: _count(client, "errors") == 3)
    assert _count(client, "requests") == 0
    assert caplog.text.count("shadow 2 of m fails: no such operator\n") == 1


def test_a_stuck_shadow_delays_nobody(
    shadowed: Callable[..., Client], monkeypatch: pytest.MonkeyPatch
) -> None:
    client, run, free = shadowed(), Model.run, threading.Event()

    def stick(model: Model, inputs: dict[str, np.ndarray]) -> list[np.ndarray]:
        if model.version == 2:
            assert free.wait(60)
        return run(model, inputs)

    monkeypatch.setattr(Model, "run", stick)
    # Each would take for ever if it waited for the shadow.
    for _ in range(80):
        assert client("POST", "/predict/m", json=ROWS).status_code == 200
    assert _count(client, "requests") == 0
    dropped = _count(client, "dropped")
    assert dropped >= 80 - 65
    free.set()
    _wait(lambda: _count(client, "requests") == 80 - dropped)


@pytest.mark.parametrize("end", ["pointer", "params"])
def test_without_pointer_or_params_there_is_no_shadow(
    shadowed: Callable[..., Client], folder: Path, end: str
) -> None:
    client = shadowed()
    assert len(client.app.watcher.shadows.observers) == 1
    if end == "pointer":
        (folder / "m/shadow.json").unlink()
    else:
        write_json(folder / "m/serve.json", {"shadow": None})
    _scan(client)
    assert client.app.watcher.shadows.observers == []
    assert client.app.watcher.shadows.version("m") is None
    assert client("POST", "/predict/m", json=ROWS).status_code == 200


def test_a_shadow_that_is_altered_is_not_loaded(
    shadowed: Callable[..., Client], folder: Path
) -> None:
    client = shadowed()
    (package,) = (folder / "m/versions").glob("2-*")
    (package / "model.onnx").write_bytes(b"")
    (folder / "m/shadow.json").touch()
    _scan(client)
    assert client.app.watcher.shadows.version("m") is None
    assert client("POST", "/predict/m", json=ROWS).status_code == 200


def test_only_what_the_live_version_answered_is_copied(
    shadowed: Callable[..., Client], folder: Path
) -> None:
    client = shadowed()
    (path,) = (folder / "m/versions").glob("2-*")
    digest = json.loads((folder / "m/shadow.json").read_text())["digest"]
    point(folder, "m", 2, digest, 5)
    _scan(client)
    tensor = {"name": "image", "datatype": "UINT8", "shape": [1, 4, 4], "data": [0] * 16}
    answered = client("POST", "/v2/models/m/versions/1/infer", json={"inputs": [tensor]})
    assert answered.status_code == 200
    assert client.app.watcher.shadows._queue.empty()
    assert path.is_dir()


def _model(task: str, labels: tuple[str, ...] = ()) -> Model:
    return Model("m", 1, "", task, (), (), labels, None)  # pyright: ignore[reportArgumentType]


def test_classes_are_compared_by_name() -> None:
    first, second = _model("classification", ("a", "b")), _model("classification", ("b", "a", "c"))
    expected = np.array([[0.9, 0.1], [0.5, 0.5], [0.4, 0.6]])
    found = np.array([[0.1, 0.9, 0.0], [0.4, 0.5, 0.1], [0.1, 0.2, 0.7]])
    labels, scores = compare(first, expected, second, found, 0.05)
    assert labels.tolist() == [False, False, True]
    assert scores.tolist() == [False, True, True]


def test_numbers_and_sets_of_labels_are_compared() -> None:
    number = _model("regression")
    labels, scores = compare(
        number, np.array([[1.0], [2.0]]), number, np.array([[1.0], [2.2]]), 0.1
    )
    assert (labels.tolist(), scores.tolist()) == ([False, False], [False, True])
    several = _model("multi-label", tuple(LABELS))
    expected, found = (
        np.array([[0.49, 0.9, 0.1]] * 2),
        np.array([[0.51, 0.9, 0.1], [0.4, 0.9, 0.1]]),
    )
    labels, scores = compare(several, expected, several, found, 0.05)
    assert (labels.tolist(), scores.tolist()) == ([True, False], [False, True])
    with pytest.raises(ValueError, match="regression of 2 rows, not multi-label"):
        compare(several, expected, number, found, 0.05)
