"""Deployments to their end: started by time, by a file, by REST, and one killed on its way."""

import hashlib
import json
import signal
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import pyarrow.parquet as pq
import pytest
import yaml

from modelyard.orchestration import automations, schedules
from modelyard.orchestration.watches import Watcher
from modelyard.prefect_api import FlowRun, PrefectApi
from tests import project
from tests.integration import worker_project
from tests.integration.s3_server import KEYS, client
from tests.integration.worker_project import Yard, until

pytestmark = [pytest.mark.slow, pytest.mark.server, pytest.mark.distributed]

MODEL = "deployed"
"""What the clone registers: no other test does, whose key it would not trust."""
EPOCHS = 25
"""Of the run that is killed: enough that it is still training when it is."""
EVERY = 5
"""Seconds between two runs of the schedule, fewer than a run takes."""


@pytest.fixture(scope="module")
def yard(
    tmp_path_factory: pytest.TempPathFactory, repeated: Path, servers: dict[str, str]
) -> Iterator[Yard]:
    """A clone with finished stages in its cache, a schedule in quick time, and its worker."""
    with worker_project.receiving() as (address, messages):
        place = tmp_path_factory.mktemp("yard") / "clone"
        root = worker_project.make(place, repeated, address, MODEL)
        text = (root / "prefect.yaml").read_text()
        (root / "prefect.yaml").write_text(text.replace("interval: 21600", f"interval: {EVERY}"))
        sweep = {"name": "two", "method": "grid", "params": {"train.workers": [2, 1]}}
        (root / "sweeps" / "two.yaml").write_text(yaml.safe_dump(sweep))
        with worker_project.working(root, servers) as found:
            found.messages = messages
            yield found


@dataclass(frozen=True)
class Begun:
    """Runs that nobody started by hand."""

    scheduled: FlowRun
    cancelled: FlowRun
    """Due while ``scheduled`` went on."""
    of_file: FlowRun
    path: str
    sha256: str


@pytest.fixture(scope="module")
def begun(yard: Yard) -> Begun:
    """A schedule is on until a run was due while one went on; meanwhile a file comes."""
    by_time, by_file = "pipeline-six-hourly", "pipeline-on-data"
    schedules.switch(yard.api, by_file, True)
    schedules.switch(yard.api, by_time, True)
    until((yard.root / ".modelyard" / "worker" / "watch-incoming.json").exists)
    content = (yard.root / "samples" / "bands.csv").read_bytes()
    path = "data/incoming/new.csv"
    (yard.root / path).parent.mkdir(parents=True)
    (yard.root / path).write_bytes(content)
    (first,) = until(lambda: yard.runs_of(by_time, state={"type": {"any_": ["RUNNING"]}}))
    (second, *_) = until(lambda: yard.runs_of(by_time, state={"type": {"any_": ["CANCELLED"]}}))
    assert yard.api.flow_run(first.id).state_type == "RUNNING"
    schedules.switch(yard.api, by_time, False)
    (of_file,) = until(lambda: yard.runs_of(by_file))
    schedules.switch(yard.api, by_file, False)
    return Begun(first, second, of_file, path, hashlib.sha256(content).hexdigest())


def test_a_schedule_starts_runs_that_never_overlap(yard: Yard, begun: Begun) -> None:
    done = yard.ended(begun.scheduled.id)
    assert done.state_type == "COMPLETED", done.message
    assert "concurrency limit" in begun.cancelled.message.lower()
    for run in (done, begun.cancelled):
        assert (run.auto_scheduled, run.created_by) == (True, "SCHEDULE")
    line = next(x for x in yard.command("runs").stdout.splitlines() if x.startswith(done.name))
    assert "pipeline-six-hourly" in line
    assert branch_params(yard, done)["data"]["source"] == "samples/bands.csv"


def test_a_new_file_becomes_the_source_of_a_run(yard: Yard, begun: Begun) -> None:
    given = [
        f"data.source={json.dumps(begun.path)}",
        f"data.sha256={json.dumps(begun.sha256)}",
    ]
    assert begun.of_file.parameters == {"overrides": given}
    assert begun.of_file.created_by == "AUTOMATION"
    done = yard.ended(begun.of_file.id)
    assert done.state_type == "COMPLETED", done.message
    data = branch_params(yard, done)["data"]
    assert (data["source"], data["sha256"]) == (begun.path, begun.sha256)
    assert len(yard.runs_of("pipeline-on-data")) == 1


def branch_params(yard: Yard, run: FlowRun) -> dict[str, Any]:
    return yaml.safe_load(
        project.call(yard.root, "git", "show", f"runs/{run.name}:params.yaml").stdout
    )


def test_an_object_of_a_bucket_is_told_once(
    tmp_path: Path, s3: str, servers: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in {**KEYS, "AWS_ENDPOINT_URL": s3, "AWS_DEFAULT_REGION": "us-east-1"}.items():
        monkeypatch.setenv(name, value)
    bucket, store = "lake-of-watch", client(s3)
    store.create_bucket(Bucket=bucket)
    place, watch = f"s3://{bucket}/raw", "modelyard.watch.lake"
    (tmp_path / "infra").mkdir()
    (tmp_path / "infra" / "runs.yaml").write_text(f"watches: {{lake: {{place: '{place}'}}}}")
    trigger = {"expect": [automations.NEW_DATA], "match": {"prefect.resource.id": watch}}
    rule = automations.for_deployment(trigger | {"name": "lake", "enabled": True}, "", "")
    with PrefectApi(servers["PREFECT_API_URL"]) as api:
        api.call("POST", "/automations/", rule | {"actions": [{"type": "do-nothing"}]})

        def look(**objects: bytes) -> list[str]:
            """What a worker that starts now tells, after these were written."""
            for key, content in objects.items():
                store.put_object(Bucket=bucket, Key=key, Body=content)
            return Watcher(tmp_path, tmp_path).look(api)

        assert look(**{"raw/old.csv": b"known"}) == []
        beside = {"raw/_SUCCESS": b"", "raw/day/": b"", "raw-2/new.csv": b"other"}
        assert look(**{"raw/day/new.csv": b"1,2"}, **beside) == [f"{place}/day/new.csv"]
        assert look(**{"raw/day/new.csv": b"1,2"}) == [], "the same again"
        assert look(**{"raw/day/new.csv": b"3,4,5"}) == [f"{place}/day/new.csv"]
        body = {"filter": {"event": {"name": [automations.NEW_DATA]}, "resource": {"id": [watch]}}}
        told = until(lambda: _two(api.call("POST", "/events/filter", body)["events"]))
    common = {"watch": "lake", "place": place, "path": f"{place}/day/new.csv", "sha256": None}
    payloads = sorted((event["payload"] for event in told), key=lambda tree: tree["size"])
    assert payloads == [common | {"size": 3}, common | {"size": 5}]


def _two(found: list[Any]) -> list[Any] | None:
    return found if len(found) == 2 else None


def test_a_killed_run_is_crashed_and_goes_on_by_one_command(yard: Yard) -> None:
    others = _trainings(yard.root)
    form = {"epochs": EPOCHS, "seed": 5, "learning_rate": 0.005}
    flow_run_id = yard.start("pipeline", **form, overrides=["compress.candidates=[fp32]"])
    process = until(lambda: _engine(yard, flow_run_id), 60)
    until(lambda: _epochs(_trainings(yard.root) - others) >= 2, 90)
    before = _epochs(_trainings(yard.root) - others)
    process.send_signal(signal.SIGKILL)
    crashed = yard.ended(flow_run_id)
    assert crashed.state_type == "CRASHED"
    shown = yard.command("runs", "show", crashed.name).stdout
    assert "SIGKILL" in shown
    assert "train" in shown
    told = until(lambda: [item for item in yard.messages if crashed.name in item["message"]])
    assert told[0]["title"] == "modelyard: pipeline crashed in train"

    continued = yard.command("runs", "continue", crashed.name).stdout
    assert "goes on in the worker" in continued
    until(lambda: yard.api.flow_run(flow_run_id).state_type == "RUNNING", 60)
    done = yard.ended(flow_run_id)
    assert done.state_type == "COMPLETED", done.message
    assert done.name == crashed.name
    log = (yard.root / ".modelyard" / "worker" / "log").read_text()
    _, _, second = log.rpartition("asked for: {")
    first_epoch = int(second.partition("epoch ")[2].partition(":")[0])
    assert first_epoch > before, "it went on from a checkpoint"
    _check_page(yard, done)


def _engine(yard: Yard, flow_run_id: str) -> psutil.Process | None:
    """The process of a flow run, which works in the worktree of its name."""
    worktree = yard.root / ".modelyard" / "worktrees" / yard.api.flow_run(flow_run_id).name
    for process in psutil.process_iter(["cmdline", "cwd"]):
        words, cwd = process.info["cmdline"] or [], process.info["cwd"]
        if "prefect.engine" in words and cwd == str(worktree):
            return process
    return None


def _trainings(root: Path) -> set[Path]:
    """The folders of checkpoints, one of each training."""
    return set((root / ".modelyard" / "checkpoints").glob("*"))


def _epochs(trainings: set[Path]) -> int:
    """The last epoch of which one of these has a whole checkpoint."""
    found = [path for folder in trainings for path in folder.glob("epoch-*/manifest.json")]
    return max((int(path.parent.name.partition("-")[2]) for path in found), default=0)


def _check_page(yard: Yard, run: FlowRun) -> None:
    """Steps, artifact, branch and tags say the same, and link to each other."""
    body = {"artifacts": {"flow_run_id": {"any_": [run.id]}, "key": {"any_": ["summary"]}}}
    (artifact,) = yard.api.call("POST", "/artifacts/filter", body)
    assert f"| run | {run.name} |" in artifact["data"]
    mlflow = yard.environment["MLFLOW_TRACKING_URI"]
    assert f"{mlflow}/#/models/{MODEL}/versions/" in artifact["data"]
    tasks = yard.api.call("POST", "/task_runs/filter", {"flow_runs": {"id": {"any_": [run.id]}}})
    steps = {tree["name"].rpartition("-")[0] for tree in tasks}
    assert {"fetch", "ingest", "train", "evaluate", "compress", "register"} <= steps
    tags = dict(tag.partition(":")[::2] for tag in run.tags)
    train = branch_params(yard, run)["train"]
    assert (train["epochs"], train["seed"]) == (EPOCHS, 5)
    assert train["optimizer"]["lr"] == 0.005
    listed = yard.command("runs").stdout
    line = next(line for line in listed.splitlines() if line.startswith(run.name))
    for word in ("pipeline, by hand", "Completed", tags["dataset"], tags["version"]):
        assert word in line
    shown = yard.command("runs", "show", run.name).stdout
    assert yard.api.page(run.id) in shown
    assert "/#/experiments/" in shown
    assert not list((yard.root / ".modelyard" / "worktrees").iterdir())
    refused = yard.command("runs", "continue", run.name, check=False)
    assert "ended well" in refused.stderr


def test_score_and_sweep_by_rest(yard: Yard, begun: Begun) -> None:
    done = yard.ended(begun.scheduled.id)
    tags = dict(tag.partition(":")[::2] for tag in done.tags)
    version = int(tags["version"].rpartition(" ")[2])
    score = yard.start("score", source="samples/bands.csv", version=version)
    sweep = yard.start("sweep", file="sweeps/two.yaml")
    scored, swept = yard.ended(score), yard.ended(sweep)
    assert scored.state_type == "COMPLETED", scored.message
    assert pq.read_table(yard.root / "data/scores/predictions").num_rows == 450
    assert swept.state_type == "COMPLETED", swept.message
    trials = (yard.root / ".modelyard" / "sweeps" / "two").glob("*/trials/*.json")
    assert [json.loads(trial.read_text())["state"] for trial in trials] == ["done", "done"]
