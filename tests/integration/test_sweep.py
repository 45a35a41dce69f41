"""A sweep for real: killed and gone on with, a failing and a pruned trial, a challenger."""

import json
import os
import signal
import time
from pathlib import Path
from typing import Any

import psutil
import pytest
import yaml

from modelyard.mlflow_api import MlflowApi, Run
from modelyard.runs.sweep.trials import Trial, read
from tests import project

pytestmark = [pytest.mark.slow, pytest.mark.server, pytest.mark.distributed]

FILE = {
    "name": "tried",
    "method": "grid",
    "pruner": {"name": "median", "warmup": 1, "startup": 1},
    # A good one, one that diverges, a hopeless one.
    "params": {"train.optimizer.lr": [0.02, 1e30, 1e-7]},
}


@pytest.fixture
def swept(small: Path) -> Path:
    (small / "sweeps" / "tried.yaml").write_text(yaml.safe_dump(FILE))
    params = yaml.safe_load((small / "params.yaml").read_text())
    params["compress"]["candidates"] = ["fp32"]
    params["registry"]["name"] = "swept"
    (small / "params.yaml").write_text(yaml.safe_dump(params))
    return small


def folder(root: Path) -> Path:
    (found,) = (root / ".modelyard/sweeps/tried").iterdir()
    return found


def test_a_killed_sweep_goes_on_to_a_challenger(swept: Path, servers: dict[str, str]) -> None:
    before = (swept / "params.yaml").read_text()
    first = kill_after_one(swept, servers)
    printed = project.modelyard(swept, "sweep", "sweeps/tried.yaml", "--no-up", **servers).stdout
    done = read(folder(swept) / "trials")
    assert done[0] == first, "what was finished is not repeated"
    assert [trial.state for trial in done] == ["done", "failed", "pruned"], printed
    assert "diverged" in done[1].reason
    assert done[2].reason == "after epoch 2: worse than the median of the trials before"
    assert len(done[2].epochs) < 3
    assert (folder(swept) / "trials.png").read_bytes().startswith(b"\x89PNG")
    assert "swept version 1 passed its gate" in printed
    assert (swept / "params.yaml").read_text() == before
    assert not list((swept / ".modelyard/worktrees").iterdir())
    assert not (swept / "dvc.lock").exists(), "nothing runs in the user's folder"
    with MlflowApi(servers["MLFLOW_TRACKING_URI"]) as api:
        check_registered(api, done[0])
        check_nested(api, done)


def kill_after_one(root: Path, servers: dict[str, str]) -> Trial:
    """Kill the sweep with -9 when its second trial is under way; no process of it is left."""
    with project.started(root, "sweep", "sweeps/tried.yaml", "--no-up", **servers) as process:
        deadline = time.monotonic() + 90
        while not list((root / ".modelyard/sweeps").glob("tried/*/trials/00001.json")):
            assert process.poll() is None, process.communicate()[0]
            assert time.monotonic() < deadline
            time.sleep(0.02)
        family = psutil.Process(process.pid).children(recursive=True)
        assert any(child.name().startswith("rank") for child in family) or len(family) > 1
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
    _, alive = psutil.wait_procs(family, timeout=15)
    assert not alive, "a killed sweep leaves no trial behind"
    first, second = read(folder(root) / "trials")
    assert (first.state, second.state) == ("done", "running")
    return first


def check_registered(api: MlflowApi, best: Trial) -> None:
    version = api.get_version("swept", 1)
    assert version is not None
    assert version.aliases == ("challenger",), "a sweep promotes nothing"
    assert version.tags["modelyard.sweep"] == "tried"
    assert version.tags["modelyard.trial"] == str(best.number)
    run = api.get_run(version.run_id)
    assert run is not None
    assert float(run.params["train.optimizer.lr"]) == best.params["train.optimizer.lr"]
    assert run.metrics["train/validation_score"] == pytest.approx(best.worth)


def check_nested(api: MlflowApi, done: list[Trial]) -> None:
    experiment = api.ensure_experiment("swept")
    (parent,) = api.search_runs(experiment, {"modelyard.trial": "all"})
    children = api.search_runs(experiment, {"mlflow.parentRunId": parent.run_id})
    by_number: dict[int, Run] = {int(run.tags["modelyard.trial"]): run for run in children}
    assert sorted(by_number) == [0, 1, 2]
    status = {"done": "FINISHED", "pruned": "KILLED", "failed": "FAILED"}
    for trial in done:
        run = by_number[trial.number]
        assert run.status == status[trial.state]
        assert json.loads(run.params["train.optimizer.lr"]) == trial.params["train.optimizer.lr"]
        points = api.metric_history(run.run_id, "validation_loss") if trial.epochs else []
        steps = sorted(point.step for point in points)
        # A pruned one may have streamed an epoch more before it was ended.
        assert steps[: len(trial.epochs)] == [item["epoch"] for item in trial.epochs]
        recorded: dict[str, Any] = run.metrics
        assert recorded.get("value") == trial.value
    assert parent.metrics["trials/done"] == 1
    names = {file.path for file in api.list_artifacts(parent.artifact_uri)}
    assert {"report.html", "trials.png", "sweep.json"} <= names
