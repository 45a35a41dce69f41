"""What a run of the pipeline makes of a version that waits for a person."""

from types import SimpleNamespace
from typing import Any

import pytest

import flows.pipeline as story
from flows import promote as promotion_story
from flows.promote import approved
from modelyard.artifacts import ModelVersion
from modelyard.errors import GateRefused, ServiceUnavailable
from modelyard.runs.summary import Promotion

WAITING = Promotion("waiting", "", ("challenger",))
VERSION = ModelVersion("m", 3, "d" * 64, "run")


def answer(monkeypatch: pytest.MonkeyPatch, said: Any) -> list[tuple[str, str]]:
    """Let the flow that asks end with ``said``; return the list of what is reported."""
    reported: list[tuple[str, str]] = []

    def promote(name: str, version: int) -> list[str]:
        assert (name, version) == ("m", 3)
        if isinstance(said, Exception):
            raise said
        return said

    monkeypatch.setattr(promotion_story, "promote", promote)
    monkeypatch.setattr(
        promotion_story, "report", lambda step, state, *_: reported.append((step, state))
    )
    return reported


def test_a_yes_ends_live(monkeypatch: pytest.MonkeyPatch) -> None:
    reported = answer(monkeypatch, ["champion", "live"])
    found = approved(WAITING, VERSION)
    assert (found.outcome, found.reason, found.aliases) == ("live", "", ("champion", "live"))
    assert reported == [("approval", "done")]


@pytest.mark.parametrize(
    ("error", "outcome", "reason"),
    [
        (GateRefused("a person said no"), "refused", "a person said no"),
        (
            ServiceUnavailable("MLflow is away", "Start it."),
            "skipped",
            "MLflow is away (Start it.)",
        ),
    ],
)
def test_a_no_and_a_server_that_is_away_are_outcomes(
    monkeypatch: pytest.MonkeyPatch, error: Exception, outcome: str, reason: str
) -> None:
    reported = answer(monkeypatch, error)
    found = approved(WAITING, VERSION)
    assert found == Promotion(outcome, reason, ("challenger",))
    assert reported == [("approval", "skipped")]


@pytest.mark.parametrize("outcome", ["live", "unchanged", "refused", "manual", "skipped"])
def test_nobody_is_asked_where_nothing_waits(monkeypatch: pytest.MonkeyPatch, outcome: str) -> None:
    reported = answer(monkeypatch, AssertionError("asked"))
    assert approved(Promotion(outcome), VERSION) == Promotion(outcome)
    assert approved(WAITING, None) == WAITING
    assert not reported


def test_the_pipeline_asks_and_tells_what_was_said(monkeypatch: pytest.MonkeyPatch) -> None:
    done: list[str] = []

    def step(name: str, value: Any = None) -> Any:
        def run(*_: Any) -> Any:
            done.append(name)
            return value

        return run

    snapshot = SimpleNamespace(run_id="r")
    run = SimpleNamespace(snapshot=snapshot, close=lambda: done.append("close"))
    monkeypatch.setattr(story, "begin", lambda _: run)
    steps = "name_page fetch ingest train cross_validate baselines evaluate compress push report"
    for name in steps.split():
        monkeypatch.setattr(story, name, step(name))
    monkeypatch.setattr(story, "register", step("register", VERSION))
    monkeypatch.setattr(story, "promote", step("promote", WAITING))
    answer(monkeypatch, ["champion", "live"])

    result = story.pipeline.fn()

    assert (result.run_id, result.version) == ("r", VERSION)
    assert result.promotion.outcome == "live"
    assert done[-4:] == ["register", "promote", "report", "close"]
