"""Follower, model server and MLflow, all real: promotion, refusals, rollback."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from modelyard.errors import ServiceUnavailable
from modelyard.follower.audit import read
from modelyard.follower.rollback import rollback
from modelyard.mlflow_api import MlflowApi
from modelyard.package import ensure_key, sign_folder
from modelyard.registry import tags as names
from modelyard.registry.verdict import Verdict
from tests.integration.serving_processes import follower, process, server, wait_until
from tests.mlflow_server import free_port, mlflow_server
from tests.unit.serving.tiny_packages import write_package

pytestmark = pytest.mark.server

NAME = "digits"


def _verdict(version: int, digest: str, passed: bool, champion: str | None) -> Verdict:
    return Verdict(
        name=NAME,
        version=version,
        digest=digest,
        champion_version=None,
        champion_digest=champion,
        dataset_digest="d",
        rows=100,
        metric="accuracy",
        score=0.95,
        score_low=0.93,
        difference=None,
        difference_low=None,
        difference_high=None,
        latency_ms=0.1,
        size_mb=0.1,
        margin=0.02,
        passed=passed,
        reason="" if passed else "too slow",
    )


@dataclass
class Registrar:
    """Registers tiny versions with MLflow as ``register`` and ``gate`` would."""

    api: MlflowApi
    folder: Path
    keys: Path
    trusted: Path

    def __post_init__(self) -> None:
        experiment = self.api.ensure_experiment("tiny")
        self._run = self.api.create_run(experiment, "tiny", 0, {})
        self.api.ensure_registered_model(NAME)
        self._key = ensure_key(self.keys, self.trusted)

    def add(
        self, seed: int, key: Path | None = None, passed: bool | None = True, flip: bool = False
    ) -> int:
        package = self.folder / str(seed)
        digest = write_package(package, seed)
        sign_folder(package, key or self._key)
        if flip:
            content = bytearray((package / "model.onnx").read_bytes())
            content[len(content) // 2] ^= 1
            (package / "model.onnx").write_bytes(content)
        uri = f"{self._run.artifact_uri}/{seed}"
        self.api.upload_folder(uri, package, "package")
        tags = {names.DIGEST: digest}
        made = self.api.create_version(NAME, uri, self._run.run_id, "", tags, "")
        if passed is not None:
            live = self.api.get_version_by_alias(NAME, names.LIVE)
            champion = live.tags[names.DIGEST] if live else None
            verdict = _verdict(made.version, digest, passed, champion)
            for tag, value in verdict.signed_tags(self._key).items():
                self.api.set_version_tag(NAME, made.version, tag, value)
        return made.version

    def aliases(self) -> dict[str, int]:
        model = self.api.get_registered_model(NAME)
        assert model is not None
        return model.aliases

    def tag(self, version: int, tag: str) -> str | None:
        found = self.api.get_version(NAME, version)
        assert found is not None
        return found.tags.get(tag)


@pytest.fixture
def folders(tmp_path: Path) -> dict[str, Path]:
    names = ("mlflow", "packages", "keys", "trusted", "serving", "state")
    return {name: tmp_path / name for name in names}


def _served(url: str) -> int | None:
    models = httpx.get(f"{url}/health", trust_env=False).json().get("models", {})
    return models[NAME]["version"] if NAME in models else None


def _audit(state: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (state / "audit.jsonl").read_text().splitlines()]


@pytest.mark.slow
def test_promotion_refusal_rollback(folders: dict[str, Path]) -> None:
    port = free_port()
    serving, state, trusted = folders["serving"], folders["state"], folders["trusted"]
    with server(serving, folders["state"] / "server.log") as url:
        with mlflow_server(folders["mlflow"], port) as mlflow, MlflowApi(mlflow) as api:
            registrar = Registrar(api, folders["packages"], folders["keys"], trusted)
            with follower(mlflow, serving, trusted, state):
                first, uncompared = registrar.add(1), registrar.add(7)
                api.set_alias(NAME, names.CHAMPION, first)
                wait_until(lambda: registrar.aliases().get(names.LIVE) == first)
                assert _served(url) == first
                api.set_alias(NAME, names.CHAMPION, uncompared)
                told = wait_until(lambda: registrar.tag(uncompared, names.REFUSED))
                assert f"judge it again: `modelyard promote {uncompared}`" in told
                second = registrar.add(2)
                api.set_alias(NAME, names.CHAMPION, second)
                wait_until(lambda: registrar.aliases().get(names.LIVE) == second)
                assert _served(url) == second
                wait_until(lambda: registrar.tag(second, names.WAS_LIVE) == "true")
                assert registrar.aliases()[names.PREVIOUS] == first
                _refused_versions_say_why(registrar, url, second, folders)
                api.set_alias(NAME, names.CHAMPION, second)
                wait_until(lambda: not (serving / NAME / "refused.json").exists())

        with follower(f"http://127.0.0.1:{port}", serving, trusted, state):
            with MlflowApi(mlflow) as api, pytest.raises(ServiceUnavailable):
                api.get_registered_model(NAME)
            result = rollback(serving, NAME, "wrong answers", state)
            assert (result.from_version, result.to_version) == (second, first)
            assert result.num_workers == 1
            assert _served(url) == first

            with mlflow_server(folders["mlflow"], port) as mlflow, MlflowApi(mlflow) as api:
                expected = {names.CHAMPION: first, names.LIVE: first, names.PREVIOUS: second}
                registrar.api = api
                wait_until(lambda: registrar.aliases() == expected)
                wait_until(lambda: not (serving / NAME / "pin.json").exists())
                assert _served(url) == first
    assert read(state).holds
    outcomes = [(line["outcome"], line["path"]) for line in _audit(state)]
    assert outcomes[:3] == [(word, "alias") for word in ("live", "refused", "live")]
    assert outcomes[3:7] == [("refused", "alias")] * 4
    assert outcomes[7:] == [("live", "rollback"), ("reconciled", "rollback")]


def _refused_versions_say_why(
    registrar: Registrar, url: str, live: int, folders: dict[str, Path]
) -> None:
    stranger = ensure_key(folders["keys"] / "stranger", folders["keys"] / "nobody")
    for version, reason in (
        (registrar.add(3, flip=True), "model.onnx"),
        (registrar.add(4, key=stranger), "is signed by key"),
        (registrar.add(5, passed=None), "has no signed verdict"),
        (registrar.add(6, passed=False), "did not pass the gate: too slow"),
    ):
        registrar.api.set_alias(NAME, names.CHAMPION, version)
        told = wait_until(lambda: registrar.tag(version, names.REFUSED))  # noqa: B023
        assert reason in told
        assert str(folders["serving"]) not in told
        assert registrar.aliases()[names.LIVE] == live
        assert _served(url) == live


def test_two_followers_of_one_folder_are_one_too_many(
    folders: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    nowhere = f"http://127.0.0.1:{free_port()}"
    serving, state = folders["serving"], folders["state"]
    with follower(nowhere, serving, folders["trusted"], state):
        wait_until(lambda: "does not answer" in (state / "follower.log").read_text())
        words = ["--folder", serving, "--trusted", state, "--state", state]
        log = state / "second.log"
        with process("modelyard.follower", log, *map(str, words)) as child:
            assert child.wait(timeout=20) == 2
        assert "no MLflow server: set MLFLOW_TRACKING_URI or give --mlflow" in log.read_text()
        monkeypatch.setenv("MLFLOW_TRACKING_URI", nowhere)
        with process("modelyard.follower", log, *map(str, words)) as child:
            assert child.wait(timeout=20) == 1
        assert "another follower works in" in log.read_text()
    assert (state / "follower.log").read_text().count("does not answer") == 1
