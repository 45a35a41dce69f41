"""What the audit trail says of promotions, and `modelyard log`."""

import json
from pathlib import Path

import pytest

from modelyard.cli.registry import log_command
from modelyard.follower import audit
from modelyard.follower import rollback as rollback_module
from modelyard.follower.audit import Record
from modelyard.follower.rollback import rollback
from tests.unit.follower.yard import Yard


def wished(yard: Yard, version: int, path: audit.Way = "promote", by: str = "ada") -> None:
    digest = yard.tags(version)["modelyard.digest"]
    record = Record(audit.new_id(), "m", None, version, path, by, "none", "wished", "", digest)
    audit.append(yard.state, record)


def told(yard: Yard) -> list[tuple]:
    report = audit.read(yard.state)
    assert report.problems == ()
    keys = ("from", "to", "outcome", "path", "by")
    return [tuple(entry[key] for key in keys) for entry in report.entries]


def test_each_way_to_live_is_told_apart(yard: Yard, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rollback_module.time, "sleep", lambda _: yard.worker.step())
    monkeypatch.setenv("MLFLOW_TRACKING_USERNAME", "olga")
    wished(yard, 1)
    yard.promote(1)
    yard.promote(2)
    wished(yard, 3, "approval", "Eve")
    yard.promote(3)
    rollback(yard.root, "m", "odd", yard.state)
    yard.turn(2)
    yard.promote(3)
    assert told(yard) == [
        (None, 1, "wished", "promote", "ada"),
        (None, 1, "live", "promote", "ada"),
        (1, 2, "live", "alias", "unknown"),
        (None, 3, "wished", "approval", "Eve"),
        (2, 3, "live", "approval", "Eve"),
        (3, 2, "live", "rollback", "olga"),
        (3, 2, "reconciled", "rollback", "olga"),
        (2, 3, "live", "alias", "unknown"),
    ]
    assert {entry["load_ms"] for entry in audit.read(yard.state).entries} == {0.0, 1.5}


def test_who_wished_for_what_was_refused(yard: Yard) -> None:
    yard.worker.refused = frozenset({2, 3})
    yard.promote(1)
    wished(yard, 2)
    yard.promote(2)
    yard.promote(3)
    assert told(yard)[1:] == [
        (None, 2, "wished", "promote", "ada"),
        (1, 2, "refused", "promote", "ada"),
        (1, 3, "refused", "alias", "unknown"),
    ]
    assert yard.audit()[-1]["reason"] == "golden request 0 is answered 0.5 off"


def run(capsys: pytest.CaptureFixture[str], **options: bool) -> tuple[int, str]:
    given = {"verify": False, "as_json": False, **options}
    status = 0
    try:
        log_command("m", **given)
    except SystemExit as exit_:
        status = int(exit_.code or 0)
    return status, capsys.readouterr().out


def test_log_prints_what_happened_and_whether_it_was_altered(
    yard: Yard, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MODELYARD_STATE_DIR", str(yard.state))
    monkeypatch.setenv("COLUMNS", "200")
    assert "no promotion of m yet" in run(capsys)[1]
    wished(yard, 1)
    yard.promote(1)
    yard.promote(2)
    status, printed = run(capsys, verify=True)
    assert status == 0
    assert "✓ the chain holds: 3 entries" in printed
    rows = [line.split() for line in printed.splitlines()]
    digest = yard.tags(2)["modelyard.digest"][:8]
    assert next(row[2:] for row in rows if digest in row) == [
        *("1", "2", "live", "alias", "unknown", "2", "ms", digest, "none")
    ]
    tree = json.loads(run(capsys, as_json=True)[1])
    assert [entry["to"] for entry in tree["entries"]] == [1, 1, 2]
    assert tree["chain"]["holds"] is True
    assert tree["chain"]["last"]["hash"] == tree["entries"][-1]["hash"]

    path = yard.state / audit.FILE
    path.write_bytes(path.read_bytes().replace(b'"by":"ada"', b'"by":"eve"', 1))
    status, printed = run(capsys, verify=True)
    assert status == 1
    assert "✗ line 1 (entry 1) is altered" in printed
    assert "✗ the chain is broken" in printed
    assert run(capsys)[0] == 0
    status, printed = run(capsys, as_json=True, verify=True)
    assert status == 1
    assert json.loads(printed)["chain"]["problems"] == ["line 1 (entry 1) is altered"]


def test_log_of_a_kill_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MODELYARD_STATE_DIR", str(tmp_path))
    (tmp_path / audit.FILE).write_bytes(b'{"at":"2026')
    status, printed = run(capsys, verify=True)
    assert (status, "line 1 is cut short: its writer was killed" in printed) == (0, True)
