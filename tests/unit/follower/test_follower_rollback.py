"""Rollback, with and without the registry."""

import pytest

from modelyard.errors import PackageError, ServiceUnavailable, WorkspaceError
from modelyard.follower import rollback as rollback_module
from modelyard.follower.folder import ModelFolder
from modelyard.follower.rollback import rollback
from tests.unit.follower.yard import Yard


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
    assert [(line["outcome"], line["path"]) for line in quick.audit()] == [
        ("live", "alias"),
        ("live", "alias"),
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
