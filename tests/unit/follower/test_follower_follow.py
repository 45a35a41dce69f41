"""The follower step by step, over a registry in memory."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from modelyard.errors import PackageError, ServiceUnavailable, WorkspaceError
from modelyard.follower import fetch
from modelyard.follower import rollback as rollback_module
from modelyard.follower.fetch import Fetcher
from modelyard.follower.folder import ModelFolder
from modelyard.follower.follow import Follower
from modelyard.follower.rollback import rollback
from modelyard.follower.settle import Patience
from modelyard.package import verify_manifest
from tests.unit.follower.fake_registry import FakeRegistry, FakeWorker, check_verdict


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


def test_a_champion_goes_live(yard: Yard) -> None:
    yard.promote(1)
    assert yard.aliases == {"champion": 1, "live": 1}
    assert yard.tags(1)["modelyard.was_live"] == "true"
    yard.promote(2)
    assert yard.aliases == {"champion": 2, "live": 2, "previous": 1}
    assert yard.worker.served == 2
    pointer = yard.pointer()
    assert (pointer["version"], pointer["sequence"], pointer["pinned"]) == (2, 2, False)
    assert [(line["from"], line["to"], line["outcome"]) for line in yard.audit()] == [
        (None, 1, "live"),
        (1, 2, "live"),
    ]
    assert yard.audit()[1]["load_ms"] == 1.5


def test_live_moves_only_after_every_live_worker_has_acknowledged(yard: Yard) -> None:
    other = FakeWorker(yard.root, "worker-1")
    other.start()
    yard.promote(1)
    assert "live" not in yard.aliases
    other.step()
    yard.turn()
    assert yard.aliases["live"] == 1
    yard.promote(2)
    assert yard.aliases["live"] == 1
    other.stop()
    yard.turn()
    assert yard.aliases["live"] == 2


def test_without_a_server_a_version_waits(yard: Yard) -> None:
    yard.worker.stop()
    yard.promote(1, turns=5)
    assert "live" not in yard.aliases
    yard.worker.start()
    yard.turn(2)
    assert yard.aliases["live"] == 1


def test_workers_that_do_not_answer_in_time_keep_the_old_version(yard: Yard) -> None:
    yard.promote(1)
    yard.follower.patience = Patience(seconds=0.0)
    yard.registry.aliases["m"]["champion"] = 2
    for _ in range(4):
        yard.follower.tick()
    assert yard.pointer()["version"] == 1
    assert yard.aliases["live"] == 1
    assert "not every worker" in yard.tags(2)["modelyard.refused"]


def _no_verdict(yard: Yard) -> None:
    del yard.tags(2)["modelyard.verdict"]


def _no_digest(yard: Yard) -> None:
    del yard.tags(2)["modelyard.digest"]


def _climbing_digest(yard: Yard) -> None:
    yard.tags(2)["modelyard.digest"] = "../../../etc"


def _flipped(yard: Yard) -> None:
    (yard.registry.source / "m/2/model.onnx").write_text("m 3")


def _other_package(yard: Yard) -> None:
    tags = yard.tags(2)
    tags["modelyard.digest"] = tags["modelyard.verdict"] = "0" * 64


def _was_live_tag(yard: Yard) -> None:
    del yard.tags(2)["modelyard.verdict"]
    yard.tags(2)["modelyard.was_live"] = "true"


@pytest.mark.parametrize(
    ("harm", "reason"),
    [
        (_no_verdict, "no passed verdict"),
        (_was_live_tag, "no passed verdict"),
        (_no_digest, "no tag modelyard.digest"),
        (_climbing_digest, "no tag modelyard.digest"),
        (_flipped, "model.onnx in the package"),
        (_other_package, "the tag modelyard.digest names 000000000000"),
    ],
)
def test_a_version_that_may_not_serve_is_refused_once(yard: Yard, harm: Any, reason: str) -> None:
    yard.promote(1)
    before = yard.pointer()
    harm(yard)
    yard.promote(2)
    assert reason in yard.tags(2)["modelyard.refused"]
    assert yard.pointer() == before
    assert yard.aliases == {"champion": 2, "live": 1}
    line = yard.audit()[-1]
    assert (line["from"], line["to"], line["outcome"]) == (1, 2, "refused")
    assert reason in line["reason"]
    writes, lines = yard.registry.num_writes, len(yard.audit())
    yard.turn(3)
    assert (yard.registry.num_writes, len(yard.audit())) == (writes, lines)
    assert list((yard.root / "m/versions").glob(".*")) == []
    yard.promote(3)
    assert yard.aliases["live"] == 3


def test_a_person_takes_the_refusal_back_by_removing_the_tag(yard: Yard) -> None:
    verdict = yard.tags(1).pop("modelyard.verdict")
    yard.promote(1)
    assert not (yard.root / "m/live.json").exists()
    yard.tags(1)["modelyard.verdict"] = verdict
    yard.turn(3)
    assert "live" not in yard.aliases
    del yard.tags(1)["modelyard.refused"]
    yard.turn(3)
    assert yard.aliases["live"] == 1


def test_a_person_takes_the_refusal_back_by_removing_the_alias_and_setting_it_again(
    yard: Yard,
) -> None:
    verdict = yard.tags(1).pop("modelyard.verdict")
    yard.promote(1)
    yard.tags(1)["modelyard.verdict"] = verdict
    yard.promote(1)
    assert "live" not in yard.aliases
    del yard.aliases["champion"]
    yard.turn()
    yard.promote(1)
    assert yard.aliases["live"] == 1
    assert "modelyard.refused" not in yard.tags(1)


def test_a_version_that_was_not_compared_with_what_is_live_is_refused(yard: Yard) -> None:
    for version in (1, 2):
        yard.tags(version)["against"] = ""
    yard.promote(1)
    assert yard.aliases["live"] == 1
    yard.promote(2)
    assert yard.aliases == {"champion": 2, "live": 1}
    assert "judged against another champion" in yard.tags(2)["modelyard.refused"]
    # The gate judges it again, and whoever asked for that asks anew.
    yard.tags(2)["against"] = yard.tags(1)["modelyard.digest"]
    del yard.tags(2)["modelyard.refused"]
    yard.turn(3)
    assert yard.aliases == {"champion": 2, "live": 2, "previous": 1}
    yard.promote(1)
    assert yard.aliases["live"] == 1


def test_a_version_that_a_worker_refuses_is_reverted(yard: Yard) -> None:
    yard.worker.refused = frozenset({2})
    yard.promote(1)
    yard.promote(2)
    assert yard.pointer()["version"] == 1
    assert yard.tags(2)["modelyard.refused"].startswith("golden request 0")
    assert yard.aliases["live"] == 1
    assert yard.worker.served == 1


def test_a_first_version_that_a_worker_refuses_leaves_no_pointer(yard: Yard) -> None:
    yard.worker.refused = frozenset({1})
    yard.promote(1)
    assert not (yard.root / "m/live.json").exists()
    yard.promote(2)
    assert yard.pointer()["sequence"] == 2
    assert yard.aliases["live"] == 2


def test_a_former_champion_returns_without_a_verdict(yard: Yard) -> None:
    yard.promote(1)
    yard.promote(2)
    del yard.tags(1)["modelyard.verdict"]
    yard.promote(1)
    assert yard.aliases == {"champion": 1, "live": 1, "previous": 2}


def test_live_and_previous_are_put_right_when_someone_moves_them(yard: Yard) -> None:
    yard.promote(1)
    yard.promote(2)
    yard.aliases.update(live=3, previous=3)
    yard.turn()
    assert yard.aliases == {"champion": 2, "live": 2, "previous": 1}


def test_a_deleted_live_version_does_not_stop_the_next(yard: Yard) -> None:
    yard.promote(1)
    del yard.registry.tags["m", 1], yard.aliases["live"], yard.aliases["champion"]
    yard.turn(2)
    yard.promote(2)
    assert yard.aliases["live"] == 2
    assert "previous" not in yard.aliases


def test_the_same_number_with_other_files_is_another_version(yard: Yard) -> None:
    yard.promote(1)
    (yard.registry.source / "m/1/new.txt").write_text("other")
    from modelyard.package import write_manifest

    digest = write_manifest(yard.registry.source / "m/1")
    yard.registry.away = True
    with pytest.raises(ServiceUnavailable):
        yard.follower.tick()
    yard.registry.away = False
    yard.tags(1).update({"modelyard.digest": digest, "modelyard.verdict": digest})
    yard.turn(3)
    assert yard.pointer()["digest"] == digest


def test_a_full_disk_refuses_nothing(yard: Yard, monkeypatch: pytest.MonkeyPatch) -> None:
    yard.promote(1)

    def full(*_: Any, **__: Any) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(yard.registry, "download_version", full)
        yard.promote(2)
        assert yard.pointer()["version"] == 1
        assert "modelyard.refused" not in yard.tags(2)
        assert list((yard.root / "m/versions").glob(".*")) == []
    yard.turn(3)
    assert yard.aliases["live"] == 2


def test_a_lasting_trouble_is_logged_once_and_stops_no_other_model(
    yard: Yard, caplog: pytest.LogCaptureFixture
) -> None:
    yard.promote(1)
    yard.registry.add("other", 1)
    yard.registry.aliases["other"]["champion"] = 1
    (yard.root / "m/history.json").write_text("{")
    for _ in range(4):
        yard.follower.tick()
    assert (yard.root / "other/live.json").exists()
    assert yard.worker.served == 1
    messages = [record.getMessage() for record in caplog.records]
    about = [message for message in messages if "cannot be understood" in message]
    assert len(about) == len(set(about)) > 0


def test_a_name_that_is_no_folder_name_stops_nobody_else(yard: Yard) -> None:
    yard.registry.aliases["../up"] = {"champion": 1}
    yard.promote(1)
    assert yard.aliases["live"] == 1
    assert not (yard.root.parent / "up").exists()


def test_old_packages_are_pruned_beyond_five(yard: Yard) -> None:
    for version in range(4, 9):
        yard.registry.add("m", version)
    for version in range(1, 9):
        yard.promote(version)
    kept = sorted(path.name.split("-")[0] for path in (yard.root / "m/versions").iterdir())
    assert kept == ["4", "5", "6", "7", "8"]


# ---- rollback


@pytest.fixture
def quick(yard: Yard, monkeypatch: pytest.MonkeyPatch) -> Yard:
    """A yard whose worker acknowledges while a rollback waits."""
    monkeypatch.setattr(rollback_module.time, "sleep", lambda _: yard.worker.step())
    return yard


def test_rollback_works_with_mlflow_stopped_and_is_reconciled_afterwards(quick: Yard) -> None:
    for version in (1, 2):
        quick.promote(version)
    quick.registry.away = True
    result = rollback(quick.root, "m", "too slow", quick.state)
    assert (result.from_version, result.to_version, result.num_workers) == (2, 1, 1)
    assert quick.worker.served == 1
    assert quick.pointer()["pinned"] is True
    for _ in range(3):
        with pytest.raises(ServiceUnavailable):
            quick.follower.tick()
    assert quick.worker.served == 1
    assert quick.aliases == {"champion": 2, "live": 2, "previous": 1}
    quick.registry.away = False
    quick.turn(2)
    assert quick.aliases == {"champion": 1, "live": 1, "previous": 2}
    assert not (quick.root / "m/pin.json").exists()
    assert quick.pointer()["pinned"] is False
    assert [(line["outcome"], line["by"]) for line in quick.audit()] == [
        ("live", "champion"),
        ("live", "champion"),
        ("live", "rollback"),
        ("reconciled", "rollback"),
    ]
    assert quick.audit()[2]["reason"] == "too slow"


def test_a_second_rollback_goes_further_back(quick: Yard) -> None:
    for version in (1, 2, 3):
        quick.promote(version)
    assert rollback(quick.root, "m", "a", quick.state).to_version == 2
    quick.turn(2)
    assert rollback(quick.root, "m", "b", quick.state).to_version == 1
    quick.turn(2)
    assert quick.aliases == {"champion": 1, "live": 1, "previous": 2}
    with pytest.raises(WorkspaceError, match="no version of m to go back to"):
        rollback(quick.root, "m", "c", quick.state)
    quick.promote(3)
    assert rollback(quick.root, "m", "d", quick.state).to_version == 1


def test_a_rollback_that_was_killed_after_its_pin_is_carried_out(
    quick: Yard, monkeypatch: pytest.MonkeyPatch
) -> None:
    for version in (1, 2):
        quick.promote(version)
    with monkeypatch.context() as patch:
        patch.setattr(ModelFolder, "point", lambda *_, **__: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            rollback(quick.root, "m", "x", quick.state)
    quick.turn(4)
    assert quick.aliases == {"champion": 1, "live": 1, "previous": 2}


def test_a_rollback_without_a_server_holds_until_one_comes(quick: Yard) -> None:
    for version in (1, 2):
        quick.promote(version)
    quick.worker.stop()
    assert rollback(quick.root, "m", "x", quick.state).num_workers == 0
    quick.turn(3)
    assert quick.aliases["champion"] == 2
    quick.worker.start()
    quick.turn(3)
    assert quick.aliases == {"champion": 1, "live": 1, "previous": 2}


def test_a_rollback_stops_a_promotion_on_its_way(quick: Yard) -> None:
    for version in (1, 2):
        quick.promote(version)
    quick.aliases["champion"] = 3
    quick.follower.tick()
    assert quick.pointer()["version"] == 3
    assert rollback(quick.root, "m", "x", quick.state).to_version == 2
    quick.turn(3)
    assert quick.aliases == {"champion": 2, "live": 2, "previous": 1}


def test_a_rollback_that_a_worker_refuses_changes_nothing(quick: Yard) -> None:
    for version in (1, 2):
        quick.promote(version)
    quick.worker.refused = frozenset({1})
    with pytest.raises(PackageError, match="cannot serve again"):
        rollback(quick.root, "m", "x", quick.state)
    quick.turn(3)
    assert quick.aliases == {"champion": 2, "live": 2, "previous": 1}
    assert quick.worker.served == 2
    assert not (quick.root / "m/pin.json").exists()


def test_a_rollback_to_a_version_that_the_registry_lost_holds(quick: Yard) -> None:
    for version in (1, 2):
        quick.promote(version)
    del quick.registry.tags["m", 1]
    rollback(quick.root, "m", "bad answers", quick.state)
    quick.turn(4)
    assert quick.worker.served == 1
    assert quick.tags(2)["modelyard.refused"] == "rolled back: bad answers"
    quick.promote(3)
    assert quick.worker.served == 3


def test_rollback_of_what_was_never_live_says_so(quick: Yard) -> None:
    with pytest.raises(WorkspaceError, match="no model nobody"):
        rollback(quick.root, "nobody", "x", quick.state)
    quick.promote(1)
    with pytest.raises(WorkspaceError, match="no version of m to go back to"):
        rollback(quick.root, "m", "x", quick.state)
