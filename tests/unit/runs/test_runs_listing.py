"""What ran, from git alone and with Prefect; what waits for a person."""

import json
import subprocess
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import yaml

from modelyard.errors import ModelyardError
from modelyard.prefect_api import FlowRun, PrefectApi
from modelyard.runs import listing, snapshot
from modelyard.runs.listing import RunRecord, list_runs
from modelyard.runs.pending import pending
from modelyard.settings import Settings

FIRST, SECOND = "20260105-060000-aaaa", "20260105-070000-bbbb"


def git(root: Path, *words: str) -> str:
    identity = ["-c", "user.name=test", "-c", "user.email=test@localhost"]
    done = subprocess.run(
        ["git", *identity, *words], cwd=root, check=True, capture_output=True, text=True
    )
    return done.stdout.strip()


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A repository with a run that ended, and one of which only the snapshot is known."""
    git(tmp_path, "init", "-q", "-b", "main")
    (tmp_path / "code").write_text("one")
    git(tmp_path, "add", "-A")
    git(tmp_path, "commit", "-qm", "start")
    taken = snapshot.take(tmp_path, FIRST)
    outs = [{"path": "data/dataset", "md5": "0123456789abcdef.dir"}]
    (tmp_path / "dvc.lock").write_text(yaml.safe_dump({"stages": {"ingest": {"outs": outs}}}))
    (tmp_path / "metrics").mkdir()
    metrics = {"chosen": "int8", "test": {"skill": {"value": 0.71, "low": 0.6, "high": 0.8}}}
    (tmp_path / "metrics/compress.json").write_text(json.dumps(metrics))
    snapshot.keep_result(tmp_path, taken)
    (tmp_path / "dvc.lock").unlink()
    snapshot.take(tmp_path, SECOND)
    return tmp_path


def settings(root: Path) -> Settings:
    return Settings(state_dir=root / "state")


def test_git_alone_knows_ids_and_results_and_says_what_is_away(root: Path) -> None:
    found = list_runs(root, settings(root), 10)
    second, first = sorted(found.records, key=lambda record: record.run_id, reverse=True)
    assert (first.run_id, first.state, first.dataset) == (FIRST, "done", "0123456789ab")
    assert first.score == "skill 0.710"
    assert (second.run_id, second.state, second.score) == (SECOND, "", "")
    assert [text.partition(" server")[0] for text in found.away] == ["no Prefect", "no MLflow"]
    assert len(list_runs(root, settings(root), 1).records) == 1
    (only,) = list_runs(root, settings(root), 1, FIRST).records
    assert only.run_id == FIRST
    with pytest.raises(ModelyardError, match="there is no run 2026"):
        list_runs(root, settings(root), 1, "20260101-000000-cccc")


def flow_run(name: str, **changes: Any) -> FlowRun:
    tree = {
        "id": f"id-{name}",
        "name": name,
        "flow_id": "flow",
        "deployment_id": "d1",
        "state_type": "FAILED",
        "state_name": "Failed",
        "state": {"id": "s", "message": "DataRejected: 7 rows"},
        "start_time": "2026-01-05T07:00:01Z",
        "tags": ["dataset:feedbeef0123", "version:digits 3", "by hand"],
    }
    return FlowRun.parse(tree | changes)


def test_prefect_says_how_each_began_and_ended(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    refused = flow_run("lively-tapir", auto_scheduled=True, deployment_id="d2", tags=[])
    runs = [flow_run(SECOND, created_by={"type": "AUTOMATION"}), refused]

    class Fake(PrefectApi):
        def flow_runs(self, filters: dict[str, Any], limit: int, **more: Any) -> list[FlowRun]:
            names = filters.get("name", {}).get("any_")
            return [run for run in runs if names is None or run.name in names]

        def find(self, kind: str, body: dict[str, Any]) -> list[dict[str, Any]]:
            return [{"id": "d1", "name": "pipeline-on-data"}, {"id": "d2", "name": "nightly"}]

        def unfinished_steps(self, flow_run_ids: list[str]) -> dict[str, str]:
            return {f"id-{SECOND}": "ingest"}

    monkeypatch.setattr(listing.PrefectApi, "of", lambda _: Fake("http://127.0.0.1:1/api"))
    by_name = {record.run_id: record for record in list_runs(root, settings(root), 10).records}
    assert set(by_name) == {FIRST, SECOND, "lively-tapir"}
    failed = by_name[SECOND]
    assert (failed.how, failed.state, failed.step) == (
        "pipeline-on-data, event",
        "Failed",
        "ingest",
    )
    assert (failed.dataset, failed.version) == ("feedbeef0123", "digits 3")
    assert failed.reason == "DataRejected: 7 rows"
    assert failed.links == {"Prefect": f"http://127.0.0.1:1/runs/flow-run/id-{SECOND}"}
    assert by_name["lively-tapir"].how == "nightly, schedule"
    assert by_name[FIRST].how == ""
    assert listing.how_started(flow_run("x", deployment_id=None), {}) == "command line"
    assert listing.how_started(flow_run("x"), {"d1": "mine"}) == "mine, by hand"


def test_a_failed_run_waits_until_the_same_ended_well(root: Path) -> None:
    def record(run_id: str, state_type: str, deployment: str) -> RunRecord:
        when = datetime(2026, 1, 5, tzinfo=UTC)
        named = {"state": state_type.title(), "state_type": state_type, "step": "train"}
        return RunRecord(run_id, when, "nightly", **named, deployment_id=deployment)

    records = [
        record("r4", "CRASHED", "a"),
        record("r3", "COMPLETED", "b"),
        record("r2", "FAILED", "b"),
        record("r1", "FAILED", "a"),
    ]
    assert pending(settings(root), records) == [
        "run r4 (nightly) crashed in train: modelyard runs show r4"
    ]
