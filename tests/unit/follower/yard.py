"""A follower over a registry in memory, with all that is around it."""

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from modelyard.follower import fetch
from modelyard.follower.fetch import Fetcher
from modelyard.follower.follow import Follower
from modelyard.follower.serve_params import ServeFiles
from modelyard.package import verify_manifest
from modelyard.params.serve import ServeParams
from tests.unit.follower.fake_registry import FakeRegistry, FakeWorker, check_verdict


@dataclass
class FixedServe(ServeFiles):
    """What holds for every model, without a file."""

    params: ServeParams = field(default_factory=ServeParams)

    def of(self, name: str) -> ServeParams:
        return self.params


@dataclass
class Yard:
    """A follower with all that is around it."""

    registry: FakeRegistry
    worker: FakeWorker
    follower: Follower
    root: Path
    state: Path

    def turn(self, times: int = 1) -> None:
        for _ in range(times):
            self.follower.tick()
            self.worker.step()

    def promote(self, version: int, turns: int = 3) -> None:
        self.registry.aliases["m"]["champion"] = version
        self.turn(turns)

    @property
    def aliases(self) -> dict[str, int]:
        return self.registry.aliases["m"]

    def pointer(self) -> dict[str, Any]:
        return json.loads((self.root / "m/live.json").read_text())

    def audit(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in (self.state / "audit.jsonl").read_text().splitlines()]

    def tags(self, version: int) -> dict[str, str]:
        return self.registry.tags["m", version]


@pytest.fixture
def yard(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Yard]:
    monkeypatch.setattr(fetch, "verify_package", lambda folder, _: verify_manifest(folder))
    root, state = tmp_path / "serving", tmp_path / "state"
    registry = FakeRegistry(tmp_path / "registry")
    for version in (1, 2, 3):
        registry.add("m", version)
    worker = FakeWorker(root)
    worker.start()
    fetcher = Fetcher(registry, tmp_path / "trusted", check_verdict)
    yield Yard(registry, worker, Follower(registry, fetcher, root, state), root, state)
    if worker.is_up:
        worker.stop()
