"""kill -9 at each point of a canary's life, one after the other: it ends as it would have.

The trail tells of each step once.
"""

from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

import pytest

from modelyard.errors import WorkspaceError
from modelyard.follower import rollback
from modelyard.follower.folder import ModelFolder
from tests.unit.follower.fake_registry import counts
from tests.unit.follower.test_follower_crashes import CANARY, Crashes, FollowerUnderFire, Killed

MOST_POINTS = 80


class Before(Crashes):
    """Kills before a write; after it is the same as before the next."""

    def around(self, function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            self.point()
            return function(*args, **kwargs)

        return call


def _live(stage: FollowerUnderFire) -> None:
    """Version 1 is live, and canaries are wanted from now on."""
    stage.crashes = Before()
    stage.build()
    stage.worker.start()
    stage.registry.aliases["m"]["champion"] = 1
    _turns(stage, 3)
    stage.serve_params.params = CANARY
    stage.registry.aliases["m"]["champion"] = 2


def _turns(stage: FollowerUnderFire, times: int, hours: int = 0) -> None:
    """Let everybody take their steps; at each of them ``hours`` have passed."""
    for _ in range(times):
        for _ in range(hours):
            stage.pass_time()
        stage.worker.step()
        try:
            stage.follower.tick()
        except Killed:
            stage.follower = stage.start_follower()
    stage.worker.step()


def _good(stage: FollowerUnderFire) -> None:
    stage.worker.canary_counts = counts(200)
    _turns(stage, 7, hours=1)


def _bad(stage: FollowerUnderFire) -> None:
    stage.worker.live_counts, stage.worker.canary_counts = counts(900), counts(200, 150)
    _turns(stage, 7)


def _moved_back(stage: FollowerUnderFire) -> None:
    _begin(stage)
    stage.registry.aliases["m"]["champion"] = 1
    _turns(stage, 4)


def _rolled_back(stage: FollowerUnderFire) -> None:
    _begin(stage)
    try:
        rollback.rollback(stage.root, "m", "odd", stage.state)
    except Killed:
        stage.follower = stage.start_follower()
    if stage.crashes.countdown is None and stage.registry.aliases["m"]["champion"] == 2:
        # Killed before its wish was written down: somebody gives the command again.
        with suppress(WorkspaceError):  # it was carried out as far as it needs to be
            rollback.rollback(stage.root, "m", "odd", stage.state)
    _turns(stage, 5)


def _begin(stage: FollowerUnderFire) -> None:
    _turns(stage, 4)
    assert stage.worker.canary == 2


@pytest.fixture
def killed_at() -> Iterator[Callable[[int], FollowerUnderFire]]:
    stages: list[FollowerUnderFire] = []

    def start(point: int) -> FollowerUnderFire:
        while stages:
            _end(stages.pop())
        stages.append(stage := FollowerUnderFire())
        _live(stage)
        stage.crashes.countdown = point
        return stage

    yield start
    while stages:
        _end(stages.pop())


def _end(stage: FollowerUnderFire) -> None:
    stage.crashes.countdown = None
    del stage.follower  # its own end is another test's
    stage.teardown()


@pytest.mark.parametrize(
    ("happens", "live", "outcomes"),
    [
        (_good, 2, [(2, "canary"), (2, "live")]),
        (_bad, 1, [(2, "canary"), (2, "refused")]),
        (_moved_back, 1, [(2, "canary"), (2, "withdrawn")]),
        (_rolled_back, 1, [(2, "canary"), (2, "withdrawn"), (1, "reconciled")]),
    ],
)
def test_a_kill_changes_nothing_in_the_end(
    killed_at: Callable[[int], FollowerUnderFire],
    happens: Callable[[FollowerUnderFire], None],
    live: int,
    outcomes: list[tuple[int, str]],
) -> None:
    for point in range(MOST_POINTS):
        stage = killed_at(point)
        happens(stage)
        was_killed = stage.crashes.countdown is None
        stage.crashes.countdown = None
        state = ModelFolder(stage.root, "m").read()
        assert state.canary is None, point
        assert state.is_settled, point
        assert stage.worker.served == stage.registry.aliases["m"]["live"] == live, point
        told = [(line["to"], line["outcome"]) for line in stage.audit()]
        assert told == [(1, "live"), *outcomes], point
        if not was_killed:
            assert point > 8
            return
    raise AssertionError(f"more than {MOST_POINTS} points; look at all of them")
