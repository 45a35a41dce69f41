"""A registry in memory and a server that is one lock and one file, for tests of the follower."""

import fcntl
import json
import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from modelyard.artifacts import write_json
from modelyard.errors import GateRefused, ModelyardError, ServiceUnavailable
from modelyard.mlflow_api.types import AliasMove, RegisteredModel, RegisteredVersion
from modelyard.package import write_manifest


@dataclass
class FakeRegistry:
    """Registered models whose versions' files lie in ``source``/NAME/VERSION."""

    source: Path
    away: bool = False
    aliases: dict[str, dict[str, int]] = field(default_factory=dict)
    tags: dict[tuple[str, int], dict[str, str]] = field(default_factory=dict)
    moves: list[AliasMove] = field(default_factory=list)
    num_writes: int = 0
    before_write: Callable[[], None] = lambda: None

    def add(self, name: str, version: int, passed: bool = True) -> str:
        """Register a version with a package of its own; return its digest."""
        folder = self.source / name / str(version)
        folder.mkdir(parents=True)
        (folder / "model.onnx").write_text(f"{name} {version}")
        digest = write_manifest(folder)
        self.tags[name, version] = {"modelyard.digest": digest}
        if passed:
            self.tags[name, version]["modelyard.verdict"] = digest
        self.aliases.setdefault(name, {})
        return digest

    def get_registered_model(self, name: str) -> RegisteredModel | None:
        self._reach()
        known = self.aliases.get(name)
        return None if known is None else RegisteredModel(name, dict(known), {})

    def search_registered_models(self) -> list[RegisteredModel]:
        self._reach()
        return [RegisteredModel(name, dict(known), {}) for name, known in self.aliases.items()]

    def get_version(self, name: str, version: int) -> RegisteredVersion | None:
        self._reach()
        tags = self.tags.get((name, version))
        if tags is None:
            return None
        return RegisteredVersion(name, version, "READY", dict(tags), (), "", "", "", "")

    def alias_moves(self, name: str, alias: str) -> list[AliasMove]:
        self._reach()
        return self.moves

    def set_alias(self, name: str, alias: str, version: int) -> None:
        self._write()
        if (name, version) not in self.tags:
            raise ModelyardError(f"no version {version}")
        self.aliases[name][alias] = version

    def set_version_tag(self, name: str, version: int, key: str, value: str) -> None:
        self._write()
        self.tags[name, version][key] = value

    def delete_version_tag(self, name: str, version: int, key: str) -> None:
        self._write()
        self.tags[name, version].pop(key, None)

    def download_version(self, name: str, version: int, folder: Path, under: str = "") -> None:
        assert under == "package"
        self._write()
        shutil.copytree(self.source / name / str(version), folder, dirs_exist_ok=True)

    def _reach(self) -> None:
        if self.away:
            raise ServiceUnavailable("MLflow does not answer")

    def _write(self) -> None:
        self._reach()
        self.num_writes += 1
        self.before_write()


def check_verdict(
    tags: dict[str, str], name: str, version: int, digest: str, live: str | None, _: Path
) -> None:
    """Stands for the signed verdict: a tag that holds the digest, and one for what it was against.

    Without the second it was judged against whatever is live.
    """
    if tags.get("modelyard.verdict") != digest:
        raise GateRefused(f"version {version} of {name} has no passed verdict")
    if live not in (None, tags.get("against", live)):
        raise GateRefused(f"version {version} of {name} was judged against another champion")


def counts(requests: int = 0, failed: int = 0, ms: float = 4.0) -> dict[str, Any]:
    """What a worker counted of a version that takes ``ms`` for each answer."""
    return {
        "requests": requests,
        "failed": failed,
        "latencies": [[ms / 1000, requests - failed]] if requests > failed else [],
    }


@dataclass
class FakeWorker:
    """Acknowledges what ``live.json`` and ``canary.json`` name; refuses those in ``refused``.

    ``canary`` is what answers some of the callers, ``live_counts`` and ``canary_counts`` what it
    says that it counted.
    """

    root: Path
    worker: str = "worker-0"
    refused: frozenset[int] = frozenset()
    served: int | None = None
    canary: int | None = None
    live_counts: dict[str, Any] = field(default_factory=counts)
    canary_counts: dict[str, Any] = field(default_factory=counts)
    _lock: int | None = None

    @property
    def is_up(self) -> bool:
        return self._lock is not None

    def start(self) -> None:
        path = self.root / ".workers" / self.worker
        path.parent.mkdir(parents=True, exist_ok=True)
        self._lock = os.open(path, os.O_CREAT | os.O_RDWR, 0o600)
        fcntl.flock(self._lock, fcntl.LOCK_EX)

    def stop(self) -> None:
        assert self._lock is not None
        os.close(self._lock)
        self._lock = None
        self.served = None

    def step(self, name: str = "m") -> None:
        """Look at the pointers and write what it says of them."""
        if self._lock is None:
            return
        self._step_canary(name)
        try:
            pointer = json.loads((self.root / name / "live.json").read_text())
        except FileNotFoundError:
            self.served = None
            return
        package = self.root / name / pointer["path"]
        assert (package / "model.onnx").read_text() == f"{name} {pointer['version']}"
        ack = self._ack(pointer)
        if ack["state"] == "live":
            self.served = pointer["version"]
        write_json(self.root / name / "acks" / f"{self.worker}.json", ack)

    def _step_canary(self, name: str) -> None:
        self.canary = None
        try:
            pointer = json.loads((self.root / name / "canary.json").read_text())
        except FileNotFoundError:
            return
        package = self.root / name / pointer["path"]
        assert (package / "model.onnx").read_text() == f"{name} {pointer['version']}"
        ack = self._ack(pointer)
        if ack["state"] == "live" and pointer["since"] is not None:
            self.canary = pointer["version"]
        report = ack | {"live": self.live_counts, "canary": self.canary_counts}
        write_json(self.root / name / "canary" / f"{self.worker}.json", report)

    def _ack(self, pointer: dict[str, Any]) -> dict[str, Any]:
        fine = pointer["version"] not in self.refused
        return {
            "worker": self.worker,
            "pid": os.getpid(),
            **{key: pointer[key] for key in ("sequence", "version", "digest")},
            "state": "live" if fine else "refused",
            "reason": "" if fine else "golden request 0 is answered 0.5 off",
            "load_ms": 1.5,
            "at": 0.0,
        }
