"""Gate mode approve: the flow pauses in a real Prefect server, and a person answers its form."""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

import pytest
import yaml

from modelyard.follower import audit
from modelyard.mlflow_api import MlflowApi
from modelyard.prefect_api import FlowRun, PrefectApi
from modelyard.registry import tags as names
from tests import project
from tests.conftest import ROOT
from tests.integration.registry_project import Project, make_project
from tests.integration.registry_project import params as make_params
from tests.integration.registry_server import aliases, follow
from tests.integration.worker_project import if_ended, until

pytestmark = pytest.mark.server

NAME = "asked"
PIPELINE = """
import sys
from prefect import flow
from flows.promote import approved
from modelyard.artifacts import ModelVersion
from modelyard.runs.summary import Promotion

@flow(name="outer", persist_result=False)
def outer(version: int):
    return approved(Promotion("waiting"), ModelVersion("asked", version, "", ""))

for line in sys.stdin:
    print("ended:", outer(int(line)), flush=True)
"""


class Asked:
    """A project in mode approve, and a process whose flow asks about the versions it is told."""

    def __init__(self, root: Path, servers: dict[str, str], process: subprocess.Popen[str]) -> None:
        self.root, self.process = root, process
        self.project = Project(make_project(root, wrong=3), NAME)
        self.prefect = PrefectApi(servers["PREFECT_API_URL"])
        self.mlflow = MlflowApi(servers["MLFLOW_TRACKING_URI"])

    def start(self, **promote: Any) -> int:
        """Register another version and run the flow for it."""
        asked = make_params(NAME, **{"mode": "approve", "budgets": {}, **promote})
        tree = asked.model_dump(mode="json", by_alias=True)
        (self.root / "params.yaml").write_text(yaml.safe_dump(tree))
        versions = self.mlflow.search_versions(NAME, {})
        self.project.another_package(10.0 + len(versions))
        number = self.project.register(self.mlflow, f"key-{len(versions)}").version
        stdin: IO[str] | None = self.process.stdin
        assert stdin is not None
        stdin.write(f"{number}\n")
        stdin.flush()
        return number

    def ended(self) -> str:
        """What became of it, as the pipeline is told."""
        assert self.process.stdout is not None
        return next(line for line in self.process.stdout if line.startswith("ended:"))

    def run(self, version: int) -> FlowRun | None:
        body = {"flows": {"name": {"any_": ["promote"]}}, "sort": "START_TIME_DESC"}
        runs = map(FlowRun.parse, self.prefect.find("flow_runs", body))
        wanted = {"name": NAME, "version": version}
        return next((run for run in runs if run.parameters == wanted), None)

    def paused(self, version: int) -> FlowRun:
        def look() -> FlowRun | None:
            run = self.run(version)
            return run if run and run.state_type == "PAUSED" and self.form(run) else None

        return until(look)

    def form(self, run: FlowRun) -> dict[str, Any]:
        """What the UI shows: the form's schema and the text above it."""
        body = {"prefix": "paused", "limit": 9, "exclude_keys": []}
        items = self.prefect.call("POST", f"/flow_runs/{run.id}/input/filter", body)
        return {item["key"].rpartition("-")[2]: json.loads(item["value"]) for item in items}

    def answer(self, run: FlowRun, **form: Any) -> str:
        """By REST, as the UI does; whether it was taken."""
        return self.prefect.call("POST", f"/flow_runs/{run.id}/resume", form)["status"]

    def trail(self, version: int) -> list[tuple[str, ...]]:
        report = audit.read(self.root)
        assert report.holds
        entries = [entry for entry in report.entries if entry["to"] == version]
        return [tuple(e[key] for key in ("outcome", "path", "by", "reason")) for e in entries]


@pytest.fixture(scope="module")
def asked(tmp_path_factory: pytest.TempPathFactory, servers: dict[str, str]) -> Iterator[Asked]:
    root = tmp_path_factory.mktemp("approve") / "project"
    root.mkdir()
    environment = project.environment(ROOT, MODELYARD_STATE_DIR=str(root), **servers)
    log = root.with_suffix(".log").open("w")
    with subprocess.Popen(
        [sys.executable, "-c", PIPELINE],
        cwd=root,
        env=environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=log,
        text=True,
    ) as process:
        try:
            yield Asked(root, servers, process)
        finally:
            process.kill()


def test_a_person_says_yes_in_the_form(asked: Asked) -> None:
    version = asked.start()
    run = asked.paused(version)
    form = asked.form(run)
    assert set(form["schema"]["properties"]) == {"approve", "name", "note"}
    assert f"**asked version {version}** passed its gate" in form["description"]
    assert names.CHAMPION not in aliases(asked.mlflow, NAME)
    assert asked.answer(run) == "REJECT"
    assert asked.answer(run, run_input={"approve": True}) == "REJECT", "nobody's yes is none"
    decided = {"approve": True, "name": "Eve", "note": "looks fine"}
    assert asked.answer(run, run_input=decided) == "ACCEPT"
    until(lambda: names.CHAMPION in aliases(asked.mlflow, NAME))
    follow(asked.mlflow, NAME, version)
    assert "outcome='live'" in asked.ended()
    assert asked.trail(version) == [
        ("approved", "approval", "Eve", "looks fine"),
        ("wished", "approval", "Eve", ""),
    ]
    assert audit.read(asked.root).entries[0]["verdict"] == "passed: within the budgets"


def test_a_person_says_no(asked: Asked) -> None:
    version = asked.start()
    run = asked.paused(version)
    decided = {"approve": False, "name": "Eve", "note": "after the holidays"}
    assert asked.answer(run, run_input=decided) == "ACCEPT"
    said = f"asked version {version} was not approved by Eve: after the holidays"
    assert f"Promotion(outcome='refused', reason='{said}'" in asked.ended()
    ended = until(lambda: if_ended(asked.prefect.flow_run(run.id)))
    assert ended.state_type == "FAILED"
    assert said in ended.message
    assert aliases(asked.mlflow, NAME).get(names.CHALLENGER) == version
    assert aliases(asked.mlflow, NAME).get(names.CHAMPION) != version
    assert asked.trail(version) == [("denied", "approval", "Eve", "after the holidays")]


def test_nobody_answers_in_time(asked: Asked) -> None:
    version = asked.start(approval_minutes=0.03)
    said = "nobody answered within 0.03 minutes"
    assert said in asked.ended()
    assert asked.trail(version) == [("denied", "approval", "unknown", said)]
    assert aliases(asked.mlflow, NAME).get(names.CHAMPION) != version


def test_nobody_is_asked_about_what_did_not_pass(asked: Asked) -> None:
    version = asked.start(budgets={"max_size_mb": 1e-6})
    assert "MB, over 1e-06" in asked.ended()
    assert asked.trail(version) == []
    run = asked.run(version)
    assert run is not None
    assert asked.form(run) == {}
