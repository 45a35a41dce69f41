"""Deployments, schedules, triggers and killed runs, with a real worker and Prefect server."""

import json
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from modelyard.errors import ModelyardError
from modelyard.orchestration import automations, deployments, schedules
from modelyard.prefect_api import FlowRun
from tests import project
from tests.integration import worker_project
from tests.integration.worker_project import Yard, if_ended, until

pytestmark = [pytest.mark.slow, pytest.mark.server, pytest.mark.distributed]


@pytest.fixture(scope="module")
def yard(
    tmp_path_factory: pytest.TempPathFactory, repeated: Path, servers: dict[str, str]
) -> Iterator[Yard]:
    """A clone with finished stages in its cache, and the worker that serves it."""
    with worker_project.receiving() as (address, messages):
        place = tmp_path_factory.mktemp("yard") / "clone"
        root = worker_project.make(place, repeated, address, "worked")
        with worker_project.working(root, servers) as found:
            found.messages = messages
            yield found


@pytest.fixture(scope="module")
def silent(yard: Yard) -> tuple[str, datetime]:
    """A run of the command line whose process was killed: its id, and when.

    A second automation, with a tenth of the patience and for this run alone, sees it while the
    other tests go on.
    """
    rule = automations.heartbeat_watch(silence=10) | {"name": "impatient"}
    rule["trigger"]["match"]["prefect.resource.name"] = "silent"
    yard.api.call("POST", "/automations/", rule)
    code = (
        "import time; from prefect import flow, runtime\n"
        "@flow(name='silent', flow_run_name='silent')\ndef silent():\n"
        "    print(runtime.flow_run.id, flush=True); time.sleep(600)\n"
        "silent()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code],
        env=project.environment(yard.root, **yard.environment),
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as process:
        assert process.stdout is not None
        flow_run_id = process.stdout.readline().strip()
        # Its first heartbeat is on its way in another thread.
        heard = {"filter": {"event": {"name": [automations.HEARTBEAT]}}}
        until(lambda: flow_run_id in str(yard.api.call("POST", "/events/filter", heard)))
        process.kill()
    return flow_run_id, datetime.now(UTC)


def test_everything_is_registered_and_off(yard: Yard, silent: tuple[str, datetime]) -> None:
    found = {item.name: item for item in schedules.starters(yard.api)}
    assert {"pipeline", "pipeline-nightly", "pipeline-on-data", "pipeline-on-event"} <= set(found)
    assert not any(item.on for item in found.values())
    assert found["pipeline-nightly"].when == "cron 30 2 * * * Europe/Berlin"
    names = {item["name"] for item in yard.api.find("automations", {}) if item["enabled"]}
    assert {"modelyard: runs without a heartbeat", "modelyard: runs that never began"} <= names
    limits = {item["name"]: item["limit"] for item in yard.api.find("v2/concurrency_limits", {})}
    assert limits["training"] == 2


def test_a_bad_form_is_refused_with_the_field(yard: Yard) -> None:
    before = yard.runs_of("pipeline")
    with pytest.raises(ModelyardError, match=r"overrides\[0\].*'train\.epochs' does not match"):
        yard.start("pipeline", overrides=["train.epochs"])
    with pytest.raises(ModelyardError, match="'epoch' was unexpected"):
        yard.start("pipeline", epoch=3)
    with pytest.raises(ModelyardError, match="params_file"):
        yard.start("pipeline", params_file="/etc/passwd")
    with pytest.raises(ModelyardError, match=r"'epochs'.*0 is less than the minimum of 1"):
        yard.start("pipeline", epochs=0)
    with pytest.raises(ModelyardError, match=r"'workers'.*65 is greater than the maximum of 64"):
        yard.start("pipeline", workers=65)
    with pytest.raises(
        ModelyardError, match=r"'promote'.*not one of \['auto', 'manual', 'approve'\]"
    ):
        yard.start("pipeline", promote="never")
    assert yard.runs_of("pipeline") == before, "nothing was started"


def test_an_event_starts_a_run_with_typed_params_and_its_failure_is_told(yard: Yard) -> None:
    """The params are impossible, so that nothing but the refusal has to be waited for."""
    assert schedules.switch(yard.api, "pipeline-on-event", True).on
    yard.emit("modelyard.train", "anybody", {"overrides": ["train.epochs=0"], "revision": "main"})
    yard.emit("modelyard.train", "anybody", {"overrides": ["train.epochs=0"]})
    runs = until(lambda: _two(yard.runs_of("pipeline-on-event")))
    schedules.switch(yard.api, "pipeline-on-event", False)
    given = sorted((run.parameters["revision"], *run.parameters["overrides"]) for run in runs)
    assert given == [("main", "train.epochs=0"), ("snapshot", "train.epochs=0")]
    assert {run.created_by for run in runs} == {"AUTOMATION"}
    refused = yard.ended(next(run.id for run in runs if run.parameters["revision"] == "snapshot"))
    assert refused.state_type == "FAILED"
    assert refused.message.startswith("train.epochs: 0 is out of range; nearest: at least 1")
    ref = f"refs/modelyard/runs/{refused.name}"
    assert project.call(yard.root, "git", "for-each-ref", ref).stdout == "", "nothing was started"
    told = until(lambda: [item for item in yard.messages if refused.name in item["message"]])
    assert told[0]["title"] == "modelyard: pipeline-on-event failed"
    assert "train.epochs: 0 is out of range" in told[0]["message"]
    assert yard.api.page(refused.id) in told[0]["message"]
    for run in runs:
        yard.api.call("DELETE", f"/flow_runs/{run.id}")


def _two(runs: list[FlowRun]) -> list[FlowRun] | None:
    return runs if len(runs) == 2 else None


def test_a_schedule_makes_runs_while_it_is_on(yard: Yard) -> None:
    """The scheduler fails silently with a database library that is too new."""
    name = "pipeline-six-hourly"
    assert "every 21,600 s" in yard.command("schedule", "on", name).stdout
    due = until(lambda: yard.runs_of(name, state={"type": {"any_": ["SCHEDULED"]}}))
    assert all(run.auto_scheduled for run in due)
    cron = schedules.switch(yard.api, "pipeline-nightly", True)
    assert cron.on
    until(lambda: starter(yard, "pipeline-nightly").next_run)
    yard.command("schedule", "off", name)
    assert not schedules.switch(yard.api, "pipeline-nightly", False).on
    until(lambda: not yard.runs_of(name, state={"type": {"any_": ["SCHEDULED"]}}))
    wrong = yard.command("schedule", "on", "pipeline-nightli", check=False)
    assert "Did you mean pipeline-nightly?" in wrong.stderr


def starter(yard: Yard, name: str) -> schedules.Starter:
    return next(item for item in schedules.starters(yard.api) if item.name == name)


def test_what_is_switched_on_stays_on_when_the_file_changes(yard: Yard) -> None:
    schedules.switch(yard.api, "pipeline-monthly", True)
    before = {name: yard.deployment(name)["version"] for name in ("pipeline", "pipeline-monthly")}
    path = yard.root / "prefect.yaml"
    text = path.read_text()
    path.write_text(text.replace("BYHOUR=6", "BYHOUR=7") + "  - {name: broken}\n")
    fault = yard.root / ".modelyard" / "worker" / "fault"
    until(fault.exists)
    assert "deployment 'broken'" in yard.command("status").stdout
    assert yard.deployment("pipeline-monthly")["version"] != before["pipeline-monthly"]
    path.write_text(text.replace("BYHOUR=6", "BYHOUR=7"))
    until(lambda: not fault.exists())
    found = starter(yard, "pipeline-monthly")
    assert found.on
    assert "BYHOUR=7" in found.when
    assert yard.deployment("pipeline")["version"] == before["pipeline"], "unchanged, untouched"
    schedules.switch(yard.api, "pipeline-monthly", False)


def test_the_documents_commands_work(yard: Yard) -> None:
    text = (yard.root / "docs" / "schedules.md").read_text()
    local, rest = re.findall(r"```sh\n(.*?)```", text, re.DOTALL)
    for line in local.splitlines():
        yard.command(*shlex.split(line, comments=True)[1:])
    made = json.loads(project.call(yard.root, "bash", "-c", rest, **yard.environment).stdout)
    asked = {"epochs": 2, "overrides": ["train.batch_size=32"], "revision": "main"}
    assert made["parameters"] == asked
    yard.api.call("DELETE", f"/flow_runs/{made['id']}")


def test_prefect_deploy_makes_the_same(yard: Yard) -> None:
    kept = ("entrypoint", "concurrency_options", "work_pool_name", "job_variables")
    names = ("pipeline", "pipeline-nightly", "pipeline-on-event")
    before = {name: yard.deployment(name) for name in names}
    shaped = [automations.owned(yard.api, tree["id"]) for tree in before.values()]
    command = [sys.executable, "-m", "prefect", "--no-prompt", "deploy", "--all"]
    project.call(yard.root, *command, **yard.environment)
    for name in names:
        after = yard.deployment(name)
        assert {key: after[key] for key in kept} == {key: before[name][key] for key in kept}
        form = before[name]["parameter_openapi_schema"]["properties"]
        again = after["parameter_openapi_schema"]["properties"]
        assert form == {key: deployments.plain(field) for key, field in again.items()}
        assert [item["schedule"] for item in after["schedules"]] == [
            item["schedule"] for item in before[name]["schedules"]
        ]
        assert not any(item["active"] for item in after["schedules"])
    rules = [automations.owned(yard.api, yard.deployment(name)["id"]) for name in names]
    for old, new in zip(shaped, rules, strict=True):
        assert [_shape(item) for item in new] == [_shape(item) for item in old]


def _shape(automation: dict[str, Any]) -> dict[str, Any]:
    trigger = {key: automation["trigger"][key] for key in ("expect", "match", "posture")}
    return trigger | {"parameters": automation["actions"][0]["parameters"]}


def test_a_run_without_a_heartbeat_is_crashed(yard: Yard, silent: tuple[str, datetime]) -> None:
    flow_run_id, killed = silent
    crashed = until(lambda: if_ended(yard.api.flow_run(flow_run_id)), 60)
    assert crashed.state_type == "CRASHED"
    assert "No sign of life for 10 s" in crashed.message
    assert crashed.ended is not None
    assert (crashed.ended - killed).total_seconds() < 120
