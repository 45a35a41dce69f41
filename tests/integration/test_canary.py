"""A canary and a shadow with everything real: MLflow, a follower, a server of two workers.

A good version is promoted by itself; one that fails and one that is slow are taken back, each with
its reason, while callers outside of the canary notice nothing.
"""

import asyncio
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from modelyard.follower.audit import read
from modelyard.mlflow_api import MlflowApi
from modelyard.package import write_manifest
from modelyard.registry import tags as names
from tests.integration import tiny_registrar
from tests.integration.serving_processes import process, server, wait_until
from tests.integration.tiny_registrar import Registrar
from tests.mlflow_server import free_port, mlflow_server
from tests.unit.serving.tiny_packages import model_bytes, write_package

pytestmark = pytest.mark.server

NAME = "m"
PARAMS = Path(__file__).parents[2] / "params.yaml"
SERVE = """
serve:
  canary: {percent: 40, minutes: 0.04, max_error_rise: 0.05, max_latency_rise: 9, min_requests: 30}
  shadow: {percent: 100}
"""
CALLERS = [f"caller-{number}" for number in range(16)]
BRIGHT = {"rows": [{"image": [[250] * 4] * 4}]}
"""The failing version fails at it; none of its golden requests is like that."""


def _write_altered(folder: Path, seed: int, *nodes: onnx.NodeProto, **weights: np.ndarray) -> str:
    """As write_package; what ``nodes`` make of ``pixels`` as ``extra`` is added to the logits."""
    write_package(folder, seed)
    model = onnx.load_from_string(model_bytes(seed))
    (softmax,) = [node for node in model.graph.node if node.op_type == "Softmax"]
    softmax.input[0] = "sum"
    place = list(model.graph.node).index(softmax)
    for node in (helper.make_node("Add", ["logits", "extra"], ["sum"]), *reversed(nodes)):
        model.graph.node.insert(place, node)
    model.graph.initializer.extend(
        numpy_helper.from_array(value, name) for name, value in weights.items()
    )
    onnx.checker.check_model(model)
    (folder / "model.onnx").write_bytes(model.SerializeToString())
    return write_manifest(folder)


def write_failing(folder: Path, seed: int) -> str:
    """A version that takes an element beyond the end of a list for bright pictures."""
    return _write_altered(
        folder,
        seed,
        helper.make_node("ReduceMin", ["pixels"], ["darkest"], keepdims=0),
        helper.make_node("Greater", ["darkest", "limit"], ["bright"]),
        helper.make_node("Cast", ["bright"], ["index"], to=TensorProto.INT64),
        helper.make_node("Gather", ["one", "index"], ["extra"], axis=0),
        limit=np.array(200, np.float32),
        one=np.zeros(1, np.float32),
    )


def write_slow(folder: Path, seed: int) -> str:
    """A version that answers the same after some 50 ms of arithmetic."""
    return _write_altered(
        folder,
        seed,
        helper.make_node("ReduceMean", ["pixels"], ["mean"], keepdims=0),
        helper.make_node("Mul", ["mean", "half"], ["a"]),
        helper.make_node("Expand", ["a", "large"], ["b"]),
        helper.make_node("MatMul", ["b", "b"], ["c"]),
        helper.make_node("ReduceMax", ["c"], ["d"], keepdims=0),
        helper.make_node("Mul", ["d", "zero"], ["extra"]),
        half=np.array(0.5, np.float32),
        large=np.array([1100, 1100], np.int64),
        zero=np.array(0, np.float32),
    )


@dataclass
class Seen:
    """What each caller was answered by, one after the other, and what failed."""

    versions: dict[str, list[int]] = field(default_factory=lambda: {name: [] for name in CALLERS})
    failed_versions: list[int] = field(default_factory=list)


def _ask_until(url: str, happened: Callable[[], Any]) -> Seen:
    """Let all callers ask at once, again and again, until something has happened."""

    async def call(client: httpx.AsyncClient, caller: str, done: asyncio.Event) -> None:
        while not done.is_set():
            headers = {"x-caller-id": caller}
            answer = await client.post(f"/predict/{NAME}", json=BRIGHT, headers=headers)
            version = int(answer.headers["x-model-version"])
            seen.versions[caller].append(version)
            if answer.status_code != 200:
                assert answer.status_code == 500
                seen.failed_versions.append(version)
            await asyncio.sleep(0.02)

    async def ask() -> None:
        done = asyncio.Event()
        async with (
            httpx.AsyncClient(base_url=url, timeout=20, trust_env=False) as client,
            asyncio.TaskGroup() as group,
        ):
            for caller in CALLERS:
                group.create_task(call(client, caller, done))
            try:
                await asyncio.to_thread(wait_until, happened)
            finally:
                done.set()

    seen = Seen()
    asyncio.run(ask())
    return seen


@dataclass
class Stage:
    """Everything that runs, and its folders."""

    registrar: Registrar
    url: str
    serving: Path
    state: Path

    def tag(self, version: int) -> str | None:
        """The reason why a version was refused."""
        found = self.registrar.api.get_version(NAME, version)
        assert found is not None
        return found.tags.get(names.REFUSED)

    def has_begun(self) -> bool:
        """Whether a canary answers."""
        path = self.serving / NAME / "canary.json"
        return path.exists() and json.loads(path.read_text())["since"] is not None

    def metric(self, name: str, version: int) -> float:
        """A counter of the server, of all its workers."""
        text = httpx.get(f"{self.url}/metrics", trust_env=False).text
        start = f'{name}{{model="{NAME}",version="{version}"}} '
        found = [line for line in text.splitlines() if line.startswith(start)]
        return float(found[0].removeprefix(start)) if found else 0.0


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[Stage]:
    serving, state, trusted = (tmp_path / name for name in ("serving", "state", "trusted"))
    params = tmp_path / "params.yaml"
    params.write_text(PARAMS.read_text() + SERVE)
    with (
        mlflow_server(tmp_path / "mlflow", free_port()) as mlflow,
        MlflowApi(mlflow) as api,
        server(serving, tmp_path / "server.log", "--workers", "2") as url,
        _follower(mlflow, serving, trusted, state, params),
    ):
        yield Stage(Registrar(api, NAME, tmp_path / "packages", trusted), url, serving, state)


@contextmanager
def _follower(mlflow: str, *folders: Path) -> Iterator[None]:
    options = ("--folder", "--trusted", "--state", "--params")
    words = [str(word) for pair in zip(options, folders, strict=True) for word in pair]
    log = folders[2] / "follower.log"
    with process("modelyard.follower", log, "--mlflow", mlflow, "--interval", "0.1", *words):
        yield


def test_versions_prove_themselves_before_all_callers_get_them(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    registrar = stage.registrar
    first = registrar.add(1)
    registrar.promote(first)
    wait_until(lambda: registrar.is_live(first))

    second = registrar.add(4)
    registrar.api.set_alias(NAME, names.CHALLENGER, second)
    shadowed = "modelyard_shadow_requests_total"
    seen = _ask_until(stage.url, lambda: stage.metric(shadowed, second) > 20)
    assert all(set(versions) == {first} for versions in seen.versions.values())
    assert stage.metric("modelyard_shadow_differences_total", second) > 20

    registrar.promote(second)
    wait_until(stage.has_begun)
    seen = _ask_until(stage.url, lambda: registrar.is_live(second))
    assert seen.failed_versions == []
    # Without the first answers: a worker begins up to 50 ms after the follower says so.
    later = [versions[5:] for versions in seen.versions.values()]
    assert {versions[0] for versions in later} == {first, second}
    assert all(set(versions) == {second} for versions in later if versions[0] == second)
    assert not (stage.serving / NAME / "canary.json").exists()

    for write, reason in (
        (write_failing, "canary: 100.0% more requests fail, 5.0% are allowed"),
        (write_slow, "canary: the median answer takes"),
    ):
        monkeypatch.setattr(tiny_registrar, "write_package", write)
        bad = registrar.add(10 + len(reason))
        registrar.promote(bad)
        seen = _ask_until(stage.url, lambda: stage.tag(bad))  # noqa: B023
        told = stage.tag(bad)
        assert told is not None
        assert told.startswith(reason)
        outside = [name for name, versions in seen.versions.items() if bad not in versions]
        assert 0 < len(outside) < len(CALLERS)
        assert all(set(seen.versions[caller]) == {second} for caller in outside)
        assert set(seen.failed_versions) == ({bad} if write is write_failing else set())
        assert registrar.is_live(second)

    trail = read(stage.state)
    assert trail.holds
    lines = [json.loads(line) for line in (stage.state / "audit.jsonl").read_text().splitlines()]
    assert [line["outcome"] for line in lines] == [
        *("live", "canary", "live"),
        *("canary", "refused") * 2,
    ]
    assert lines[2]["reason"].startswith("canary: canary 0 of ")
