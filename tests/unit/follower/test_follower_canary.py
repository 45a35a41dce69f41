"""A new champion as a canary, step by step, over a registry in memory."""

import json
from typing import Any

import pytest

from modelyard.errors import ServiceUnavailable
from modelyard.follower import rollback as rollback_module
from modelyard.follower.patience import Patience
from modelyard.follower.rollback import rollback
from modelyard.params.serve import Canary, ServeParams
from tests.unit.follower.fake_registry import FakeWorker, counts
from tests.unit.follower.yard import FixedServe, Yard

ON = ServeParams(canary=Canary(percent=20, minutes=10, min_requests=100))


@pytest.fixture
def canary(yard: Yard) -> Yard:
    """Version 1 is live, and 2 its canary for the share of callers that ``ON`` says."""
    yard.promote(1)
    yard.follower.serve = FixedServe(params=ON)
    yard.promote(2)
    assert yard.worker.canary == 2
    return yard


def _pointer(yard: Yard) -> dict[str, Any] | None:
    path = yard.root / "m/canary.json"
    return json.loads(path.read_text()) if path.exists() else None


def _pass(yard: Yard, minutes: float) -> None:
    """Let a canary have begun earlier."""
    pointer = _pointer(yard)
    assert pointer is not None
    pointer["since"] -= 60 * minutes
    (yard.root / "m/canary.json").write_text(json.dumps(pointer))


def _outcomes(yard: Yard) -> list[tuple[int, str]]:
    return [(line["to"], line["outcome"]) for line in yard.audit()]


def test_a_new_champion_answers_some_callers_first(canary: Yard) -> None:
    assert canary.worker.served == 1
    assert canary.aliases == {"champion": 2, "live": 1}
    pointer = _pointer(canary)
    assert pointer is not None
    assert (pointer["version"], pointer["percent"]) == (2, 20)
    assert _outcomes(canary) == [(1, "live"), (2, "canary")]
    assert canary.audit()[-1]["reason"] == "20 % of the callers, 10 min"
    writes, lines = canary.registry.num_writes, len(canary.audit())
    canary.turn(3)
    assert (canary.registry.num_writes, len(canary.audit())) == (writes, lines)


def test_a_good_canary_goes_live_with_its_numbers_in_the_trail(canary: Yard) -> None:
    canary.worker.live_counts = counts(900, 1)
    canary.worker.canary_counts = counts(200)
    canary.worker.step()
    _pass(canary, 9)
    canary.turn(2)
    assert canary.worker.served == 1
    _pass(canary, 2)
    canary.turn()
    assert (canary.worker.served, canary.worker.canary) == (2, 2)
    canary.turn(2)
    assert canary.aliases == {"champion": 2, "live": 2, "previous": 1}
    assert _pointer(canary) is None
    assert not (canary.root / "m/canary").exists()
    assert _outcomes(canary) == [(1, "live"), (2, "canary"), (2, "live")]
    reason = "canary 0 of 200 failed, median 4 ms; live 1 of 900 failed, median 4 ms"
    assert canary.audit()[-1]["reason"] == f"canary: {reason}"


@pytest.mark.parametrize(
    ("found", "minutes", "reason"),
    [
        (counts(100, 40), 0.1, "canary: 40.0% more requests fail, 1.0% are allowed"),
        (counts(100, 0, 20), 0.1, "canary: the median answer takes 400% longer, 50% is allowed"),
        (counts(12), 20.1, "canary: only 12 requests in 20.1 min, 100 are needed"),
    ],
)
def test_a_bad_canary_is_taken_back_with_its_reason(
    canary: Yard, found: dict[str, Any], minutes: float, reason: str
) -> None:
    canary.worker.live_counts, canary.worker.canary_counts = counts(900), found
    canary.worker.step()
    _pass(canary, minutes)
    canary.turn(2)
    assert canary.tags(2)["modelyard.refused"].startswith(reason)
    assert canary.aliases == {"champion": 2, "live": 1}
    assert (canary.worker.served, canary.worker.canary) == (1, None)
    assert _outcomes(canary) == [(1, "live"), (2, "canary"), (2, "refused")]
    canary.turn(3)
    assert _pointer(canary) is None
    # Whoever takes the tag away asks for another try.
    del canary.tags(2)["modelyard.refused"]
    canary.worker.canary_counts = counts()
    canary.turn(3)
    assert canary.worker.canary == 2


def test_without_enough_requests_it_goes_on_for_as_long_again(canary: Yard) -> None:
    canary.worker.canary_counts = counts(99)
    canary.worker.step()
    _pass(canary, 19)
    canary.turn(2)
    assert canary.worker.canary == 2
    canary.worker.canary_counts = counts(100)
    canary.turn(4)
    assert canary.aliases["live"] == 2


def test_it_begins_when_every_worker_has_loaded_it(yard: Yard) -> None:
    yard.promote(1)
    other = FakeWorker(yard.root, "worker-1")
    other.start()
    other.step()
    yard.follower.serve = FixedServe(params=ON)
    yard.promote(2)
    assert yard.worker.canary is None
    other.step()
    yard.turn()
    assert yard.worker.canary == 2
    # What a worker counted before it died counts.
    other.canary_counts = counts(100, 100)
    other.step()
    other.stop()
    yard.turn(2)
    assert "100.0% more requests fail" in yard.tags(2)["modelyard.refused"]


def test_a_canary_that_a_worker_refuses_or_does_not_load_is_refused(yard: Yard) -> None:
    yard.promote(1)
    yard.follower.serve = FixedServe(params=ON)
    yard.worker.refused = frozenset({2})
    yard.promote(2)
    assert yard.tags(2)["modelyard.refused"].startswith("golden request 0")
    yard.follower.patience = Patience(seconds=0.0)
    yard.aliases["champion"] = 3
    for _ in range(4):
        yard.follower.tick()
    assert "not every worker had loaded it" in yard.tags(3)["modelyard.refused"]
    assert yard.aliases["live"] == yard.worker.served == 1


def test_the_first_version_and_a_former_one_need_no_canary(canary: Yard) -> None:
    canary.follower.serve = FixedServe()
    canary.promote(3)
    assert canary.aliases["live"] == 3
    canary.follower.serve = FixedServe(params=ON)
    canary.promote(1)
    assert canary.aliases["live"] == 1


@pytest.mark.parametrize(
    ("champion", "reason"), [(1, "moved to version 1"), (3, "moved to version 3"), (None, "taken")]
)
def test_a_champion_that_moves_on_ends_the_canary(
    canary: Yard, champion: int | None, reason: str
) -> None:
    if champion is None:
        del canary.aliases["champion"]
    else:
        canary.aliases["champion"] = champion
    canary.turn(3)
    assert canary.worker.served == canary.aliases["live"] == 1
    assert canary.worker.canary == (3 if champion == 3 else None)
    ended = next(line for line in canary.audit() if line["outcome"] == "withdrawn")
    assert (ended["from"], ended["to"]) == (1, 2)
    assert reason in ended["reason"]
    assert "modelyard.refused" not in canary.tags(2)


def test_it_is_judged_with_mlflow_away_by_the_terms_that_it_began_with(canary: Yard) -> None:
    canary.follower.serve = FixedServe()
    canary.registry.away = True
    canary.worker.canary_counts = counts(100)
    canary.worker.step()
    _pass(canary, 5)
    with pytest.raises(ServiceUnavailable):
        canary.follower.tick()
    assert canary.pointer()["version"] == 1
    _pass(canary, 6)
    for _ in range(3):
        with pytest.raises(ServiceUnavailable):
            canary.follower.tick()
        canary.worker.step()
    assert canary.worker.served == 2
    canary.registry.away = False
    canary.turn(2)
    assert canary.aliases == {"champion": 2, "live": 2, "previous": 1}


def test_a_rollback_ends_the_canary(canary: Yard, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rollback_module.time, "sleep", lambda _: canary.worker.step())
    canary.registry.away = True
    result = rollback(canary.root, "m", "odd answers", canary.state)
    assert (result.from_version, result.to_version) == (2, 1)
    assert _pointer(canary) is None
    canary.registry.away = False
    canary.turn(3)
    assert canary.aliases == {"champion": 1, "live": 1}
    assert (canary.worker.served, canary.worker.canary) == (1, None)
    line = canary.audit()[2]
    assert (line["outcome"], line["path"]) == ("withdrawn", "rollback")
    assert line["reason"] == "canary: rolled back: odd answers"
    assert canary.audit()[-1]["outcome"] == "reconciled"


def test_counts_that_nobody_can_have_written_stop_no_other_model(
    canary: Yard, caplog: pytest.LogCaptureFixture
) -> None:
    report = canary.root / "m/canary/worker-9.json"
    pointer = _pointer(canary)
    assert pointer is not None
    report.write_text(json.dumps({"worker": "worker-9", "sequence": pointer["sequence"]}))
    canary.follower.tick()
    assert "cannot be understood" in caplog.text
    assert canary.worker.served == 1


def test_a_canary_keeps_its_package(canary: Yard) -> None:
    from modelyard.follower.folder import ModelFolder

    ModelFolder(canary.root, "m").prune()
    assert len(list((canary.root / "m/versions").iterdir())) == 2
