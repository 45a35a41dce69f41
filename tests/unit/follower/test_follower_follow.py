"""The follower step by step, over a registry in memory."""

from typing import Any

import pytest

from modelyard.errors import ServiceUnavailable
from modelyard.follower.patience import Patience
from tests.unit.follower.fake_registry import FakeWorker
from tests.unit.follower.yard import Yard


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
