"""New data becomes an event once: after it is whole, while somebody waits for it."""

import hashlib
import os
from pathlib import Path
from typing import Any

import pytest
from fake_prefect import FakePrefect

from modelyard.errors import ServiceUnavailable, WorkspaceError
from modelyard.orchestration import watches
from modelyard.orchestration.watches import Watcher


def waiting(enabled: bool = True, match: Any = "modelyard.watch.*") -> dict[str, Any]:
    trigger = {"expect": ["modelyard.new-data"], "match": {"prefect.resource.id": match}}
    return {"enabled": enabled, "trigger": trigger, "actions": []}


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project whose folder incoming/ is watched; each look comes a minute after the last."""
    (tmp_path / "infra").mkdir()
    (tmp_path / "incoming").mkdir()
    (tmp_path / "state").mkdir()
    rules = "watches: {incoming: {place: incoming, every: 10}}"
    (tmp_path / "infra/runs.yaml").write_text(rules)
    clock = iter(range(0, 10**6, 60))
    monkeypatch.setattr(watches.time, "monotonic", lambda: next(clock))
    return tmp_path


def test_a_file_is_told_once_when_it_no_longer_grows(root: Path) -> None:
    (root / "incoming/old.csv").write_text("known")
    api, watcher = FakePrefect(automations=[waiting()]), Watcher(root, root / "state")
    assert watcher.look(api) == []
    new = root / "incoming/deep/new.csv"
    new.parent.mkdir()
    new.write_text("a,b\n")
    assert watcher.look(api) == [], "seen for the first time: it may be half-written"
    new.write_text("a,b\n1,2\n")
    assert watcher.look(api) == [], "it grew"
    assert watcher.look(api) == ["incoming/deep/new.csv"]
    assert watcher.look(api) == []
    (((event,),)) = api.sent("/events")
    assert event["event"] == "modelyard.new-data"
    assert event["resource"] == {"prefect.resource.id": "modelyard.watch.incoming"}
    assert event["payload"] == {
        "watch": "incoming",
        "place": "incoming",
        "path": "incoming/deep/new.csv",
        "size": 8,
        "sha256": hashlib.sha256(b"a,b\n1,2\n").hexdigest(),
    }


def test_a_changed_file_is_new_and_what_fetch_passes_over_is_none(root: Path) -> None:
    file = root / "incoming/table.csv"
    file.write_text("1")
    api, watcher = FakePrefect(automations=[waiting()]), Watcher(root, root / "state")
    watcher.look(api)
    for name in (".part", "_SUCCESS", "_tmp/part.csv"):
        (root / "incoming" / name).parent.mkdir(exist_ok=True)
        (root / "incoming" / name).write_text("1")
    os.utime(file, ns=(1, 1))
    assert [watcher.look(api), watcher.look(api)] == [[], ["incoming/table.csv"]]


def test_what_comes_while_the_worker_is_down_is_told_after_it(root: Path) -> None:
    api = FakePrefect(automations=[waiting()])
    Watcher(root, root / "state").look(api)
    (root / "incoming/late.csv").write_text("1")
    again = Watcher(root, root / "state")
    assert [again.look(api), again.look(api)] == [[], ["incoming/late.csv"]]


@pytest.mark.parametrize(
    "automations",
    [[], [waiting(enabled=False)], [waiting(match="modelyard.watch.other")]],
    ids=["none", "off", "another place"],
)
def test_nobody_is_told_who_does_not_wait(root: Path, automations: list[Any]) -> None:
    on = FakePrefect(automations=[waiting()])
    off = FakePrefect(automations=automations)
    watcher = Watcher(root, root / "state")
    watcher.look(on)
    watcher.look(off)
    (root / "incoming/new.csv").write_text("1")
    assert watcher.look(off) == []
    # Switched on again: what is there is known.
    assert [watcher.look(on), watcher.look(on), watcher.look(on)] == [[], [], []]
    assert on.sent("/events") == off.sent("/events") == []


def test_what_prefect_did_not_take_is_told_again(root: Path) -> None:
    class Away(FakePrefect):
        def call(self, method: str, path: str, body: Any = None) -> Any:
            raise ServiceUnavailable("away")

    away, api = Away(automations=[waiting()]), FakePrefect(automations=[waiting()])
    watcher = Watcher(root, root / "state")
    watcher.look(api)
    (root / "incoming/new.csv").write_text("1")
    watcher.look(away)
    with pytest.raises(ServiceUnavailable):
        watcher.look(away)
    assert watcher.look(api) == ["incoming/new.csv"]


def test_a_place_that_cannot_be_listed_hinders_no_other(
    root: Path, caplog: pytest.LogCaptureFixture
) -> None:
    rules = "watches: {bucket: {place: 's3://Lake/raw'}, incoming: {place: incoming}}"
    (root / "infra/runs.yaml").write_text(rules)
    api, watcher = FakePrefect(automations=[waiting()]), Watcher(root, root / "state")
    watcher.look(api)
    (root / "incoming/new.csv").write_text("1")
    assert [watcher.look(api), watcher.look(api)] == [[], ["incoming/new.csv"]]
    assert "watch bucket: data.source 's3://Lake/raw' is not s3://bucket/prefix" in caplog.text


def test_a_rule_that_is_none_is_named(root: Path) -> None:
    (root / "infra/runs.yaml").write_text("watches: {incoming: {place: x, every: 0}}")
    with pytest.raises(WorkspaceError, match=r"watches\.incoming\.every"):
        Watcher(root, root / "state").look(FakePrefect())
