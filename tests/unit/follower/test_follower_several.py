"""Two followers, each with a folder and a server of its own, of one registry."""

import os
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import Literal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from modelyard.errors import WorkspaceError
from modelyard.follower import fetch
from modelyard.follower.fetch import Fetcher
from modelyard.follower.folder import ModelFolder
from modelyard.follower.follow import Follower
from modelyard.follower.rollback import rollback
from modelyard.package import verify_manifest
from tests.unit.follower.fake_registry import FakeRegistry, FakeWorker, check_verdict
from tests.unit.follower.yard import Yard

Side = Literal["left", "right"]
SIDES: tuple[Side, Side] = ("left", "right")
STEP = st.one_of(
    st.tuples(st.just("champion"), st.integers(1, 4)),
    st.tuples(st.sampled_from(SIDES), st.integers(1, 4)),
    st.tuples(st.just("roll back"), st.sampled_from(SIDES)),
    st.tuples(st.just("live"), st.integers(1, 4)),
)


class Pair:
    """Two followers; the right one's server cannot serve version 3, none can serve version 4."""

    def __init__(self, base: Path) -> None:
        self.registry = FakeRegistry(base / "registry")
        for version in (1, 2, 3, 4):
            self.registry.add("m", version)
        self.left, self.right = self._yard(base / "left", {4}), self._yard(base / "right", {3, 4})

    def _yard(self, folder: Path, refused: set[int]) -> Yard:
        root, state = folder / "serving", folder / "state"
        worker = FakeWorker(root, refused=frozenset(refused))
        worker.start()
        fetcher = Fetcher(self.registry, folder / "trusted", check_verdict)
        follower = Follower(self.registry, fetcher, root, state)
        return Yard(self.registry, worker, follower, root, state)

    def turn(self, times: int = 1) -> None:
        for _ in range(times):
            self.left.turn()
            self.right.turn()

    @property
    def served(self) -> tuple[int | None, int | None]:
        return self.left.worker.served, self.right.worker.served

    @property
    def aliases(self) -> dict[str, int]:
        return self.registry.aliases["m"]

    def champion(self, version: int) -> None:
        self.aliases["champion"] = version

    def assert_quiet(self) -> None:
        """Neither writes any more, so neither undoes the other's words."""
        writes = self.registry.num_writes
        self.turn(3)
        assert self.registry.num_writes == writes

    def close(self) -> None:
        self.left.worker.stop()
        self.right.worker.stop()


@pytest.fixture
def pair(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> "Pair":
    monkeypatch.setattr(fetch, "verify_package", lambda folder, _: verify_manifest(folder))
    return Pair(tmp_path)


def test_both_end_at_the_champion(pair: Pair) -> None:
    for version in (1, 2, 1):
        pair.champion(version)
        pair.turn(6)
        assert pair.served == (version, version)
        assert pair.aliases["live"] == version
        pair.assert_quiet()
    assert pair.aliases == {"champion": 1, "live": 1, "previous": 2}


def test_one_that_lags_does_not_take_live_back(pair: Pair) -> None:
    pair.champion(1)
    pair.turn(6)
    pair.champion(2)
    pair.left.turn(6)
    assert pair.aliases["live"] == 2
    pair.right.follower.tick()
    assert pair.aliases["live"] == 2
    pair.turn(6)
    assert pair.served == (2, 2)
    pair.assert_quiet()


def test_one_whose_server_refuses_says_so_and_leaves_live_alone(pair: Pair) -> None:
    pair.champion(1)
    pair.turn(6)
    pair.champion(3)
    pair.turn(8)
    assert pair.served == (3, 1)
    assert pair.aliases["live"] == 3
    assert "golden request" in pair.left.tags(3)["modelyard.refused"]
    pair.assert_quiet()


def test_a_rollback_on_one_side_reaches_the_other(pair: Pair) -> None:
    pair.champion(1)
    pair.turn(6)
    pair.champion(2)
    pair.turn(6)
    with pytest.MonkeyPatch.context() as patches:
        patches.setattr("modelyard.follower.rollback.time.sleep", lambda _: pair.left.worker.step())
        rollback(pair.left.root, "m", "odd answers", pair.left.state)
    pair.turn(8)
    assert pair.served == (1, 1)
    assert pair.aliases == {"champion": 1, "live": 1, "previous": 2}
    pair.assert_quiet()


@settings(deadline=None, max_examples=25)
@given(st.lists(STEP, min_size=6, max_size=25), st.integers(1, 2))
def test_whatever_happens_they_come_to_agree(
    steps: list[tuple[str, int | str]], champion: int
) -> None:
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patches:
        patches.setattr(fetch, "verify_package", lambda path, _: verify_manifest(path))
        patches.setattr(os, "fsync", lambda _: None)
        pair = Pair(Path(folder))
        for what, how in steps:
            if what == "champion":
                pair.aliases["champion"] = int(how)
            elif what == "live":
                pair.aliases["live"] = int(how)
            elif what == "roll back":
                _roll_back(getattr(pair, str(how)), patches)
            else:
                getattr(pair, what).turn(int(how))
        pair.turn(12)
        pair.assert_quiet()
        pair.champion(champion)
        for version in (1, 2):
            pair.registry.tags["m", version].pop("modelyard.refused", None)
        pair.turn(12)
        assert pair.served == (champion, champion)
        assert pair.aliases["live"] == champion
        pair.assert_quiet()
        pair.close()


def _roll_back(yard: Yard, patches: pytest.MonkeyPatch) -> None:
    events = _history(yard)
    if len(set(events)) < 2:
        return
    patches.setattr("modelyard.follower.rollback.time.sleep", lambda _: yard.worker.step())
    with suppress(WorkspaceError):  # all that is left to go back to was rolled back from
        rollback(yard.root, "m", "because", yard.state)


def _history(yard: Yard) -> list[int]:
    return [event.release.version for event in ModelFolder(yard.root, "m").read().history]
