"""A source without a pin: the flow sees what it is now; equal content changes nothing."""

import os
import sqlite3
from pathlib import Path

import pytest
import yaml

import tasks.fetch
from modelyard.runs.progress import Progress, listen
from modelyard.runs.run import begin
from modelyard.runs.why import forecast
from tests import project


@pytest.fixture
def root(cold: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(cold)
    monkeypatch.setattr(tasks.fetch, "warm_up", lambda: None)
    return cold


def unpin(root: Path, **changes: object) -> None:
    params = yaml.safe_load((root / "params.yaml").read_text())
    params["data"] |= {"sha256": None} | changes
    (root / "params.yaml").write_text(yaml.safe_dump(params, sort_keys=False))


def fetched(root: Path) -> tuple[str, str]:
    """Run the task as the flow does: how the stage ended, and DVC's md5 of data/raw."""
    ends: list[Progress] = []
    run = begin(root)
    try:
        with listen(ends.append):
            tasks.fetch.fetch.fn(run)
    finally:
        run.close()
    lock = yaml.safe_load((root / "dvc.lock").read_text())
    return ends[-1].state, lock["stages"]["fetch"]["outs"][0]["md5"]


def test_a_changed_file_is_fetched_and_an_equal_one_is_not(root: Path) -> None:
    unpin(root)
    path = root / "samples/bands.csv"
    state, first = fetched(root)
    assert state == "executed"
    assert fetched(root) == ("unchanged", first)
    os.utime(path, ns=(1, 1))
    assert fetched(root) == ("unchanged", first)
    content = path.read_bytes()
    path.write_bytes(content + content[:200])
    reasons = forecast(root, "fetch", ask=True)[0].reasons
    assert ("data", "samples/bands.csv") in [(item.kind, item.name) for item in reasons]
    assert forecast(root, "fetch")[0].reasons == ()
    state, second = fetched(root)
    assert state == "executed"
    assert second != first
    # What DVC's run cache knows of this contract is of an older file.
    path.write_bytes(content)
    (root / "dvc.lock").unlink()
    path.write_bytes(content + content[:200])
    assert fetched(root) == ("executed", second)


def test_dvc_takes_it_as_it_was(root: Path) -> None:
    unpin(root)
    _, first = fetched(root)
    with (root / "samples/bands.csv").open("a") as file:
        file.write("\n")
    assert "up to date" in project.dvc(root, "status", "fetch").stdout
    assert fetched(root)[1] != first


def test_a_database_is_asked_every_time_and_equal_rows_change_nothing(root: Path) -> None:
    path = root / "samples/rows.db"
    with sqlite3.connect(path) as database:
        database.execute("CREATE TABLE rows (id INTEGER, x REAL)")
        database.executemany("INSERT INTO rows VALUES (?, ?)", [(i, i / 2) for i in range(9)])
    unpin(root, source="sqlite:///samples/rows.db", query="SELECT * FROM rows ORDER BY id")
    state, first = fetched(root)
    assert (state, fetched(root)) == ("executed", ("executed", first))
    unpin(root, source="sqlite:///samples/rows.db", query="SELECT * FROM rows ORDER BY id DESC")
    assert fetched(root)[1] != first
