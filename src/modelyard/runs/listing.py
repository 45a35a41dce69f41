"""The runs there were: from git's refs, and from Prefect and MLflow where they answer.

Git knows every run's id and what the successful ones ended with, Prefect how each was started and
ended, MLflow which version it made. What is away is said, and leaves its columns empty.
"""

import json
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path

from modelyard.artifacts import MAIN_METRIC
from modelyard.errors import ModelyardError, ServiceUnavailable
from modelyard.prefect_api import FlowRun, PrefectApi
from modelyard.registry import tags
from modelyard.runs import snapshot
from modelyard.runs.git import git
from modelyard.runs.publish import connect
from modelyard.settings import Settings
from modelyard.yaml_text import load_yaml

BAD = ("FAILED", "CRASHED")
FLOWS = ("pipeline", "sweep", "score")
_METRICS = ("compress", "evaluate")
_ACTIVE = ("RUNNING", "PENDING", *BAD)


@dataclass(frozen=True)
class RunRecord:
    """One run; a text is empty where nothing is known.

    ``state_type`` is Prefect's (COMPLETED, FAILED, ...); ``score`` the main metric on the test
    split of what was shipped.
    """

    run_id: str
    when: datetime
    how: str = ""
    state: str = ""
    state_type: str = ""
    step: str = ""
    reason: str = ""
    dataset: str = ""
    version: str = ""
    score: str = ""
    flow_run_id: str = ""
    deployment_id: str = ""
    links: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Runs:
    """Runs, the latest first, and a line for each server that is away."""

    records: tuple[RunRecord, ...]
    away: tuple[str, ...]


def list_runs(root: Path, settings: Settings, limit: int, only: str | None = None) -> Runs:
    """The latest runs, or the one called ``only``.

    Raises:
        WorkspaceError: ``root`` is no git repository.
        ModelyardError: there is no run called ``only``.
    """
    found = _from_git(root, limit, only)
    away = []
    try:
        found = _from_prefect(settings, found, limit, only)
    except ServiceUnavailable as error:
        away.append(error.message)
    try:
        found = _from_mlflow(settings, found)
    except ServiceUnavailable as error:
        away.append(error.message)
    records = sorted(found.values(), key=lambda record: record.when, reverse=True)[:limit]
    if only is not None and not records:
        raise ModelyardError(f"there is no run {only}", "`modelyard runs` lists them.")
    return Runs(tuple(records), tuple(away))


def _from_git(root: Path, limit: int, only: str | None) -> dict[str, RunRecord]:
    """Every snapshot, with what its result's commit says."""
    pattern = f"{snapshot.REFS}/{only or ''}".rstrip("/")
    words = ["--format=%(refname:lstrip=3) %(creatordate:unix)", "--sort=-refname"]
    lines = git(root, "for-each-ref", *words, f"--count={limit}", pattern).splitlines()
    records = {}
    for line in lines:
        run_id, seconds = line.split()
        when = datetime.fromtimestamp(int(seconds), UTC)
        records[run_id] = _with_result(root, RunRecord(run_id, when))
    return records


def _with_result(root: Path, record: RunRecord) -> RunRecord:
    """What the tree of a finished run holds: dvc.lock and metrics."""
    ref = f"{snapshot.RESULTS}/{record.run_id}"
    lock = _show(root, ref, "dvc.lock")
    if lock is None:
        return record
    stages = (load_yaml(lock) or {}).get("stages", {})
    outs = stages.get("ingest", {}).get("outs", [])
    dataset = next((out["md5"] for out in outs if out["path"] == "data/dataset"), "")
    scores = (_score(_show(root, ref, f"metrics/{name}.json")) for name in _METRICS)
    score = next(filter(None, scores), "")
    return replace(record, state="done", dataset=dataset.removesuffix(".dir")[:12], score=score)


def _show(root: Path, ref: str, path: str) -> str | None:
    try:
        return git(root, "show", f"{ref}:{path}")
    except ModelyardError:
        return None


def _score(text: str | None) -> str:
    """The main metric of a metrics file, whichever of them it has."""
    try:
        tree = json.loads(text or "{}")
    except ValueError:
        return ""
    for part in (tree.get("test"), tree):
        for name in MAIN_METRIC.values():
            metric = part.get(name) if isinstance(part, dict) else None
            if isinstance(metric, dict) and "value" in metric:
                return f"{name} {metric['value']:.3f}"
    return ""


def _from_prefect(
    settings: Settings, found: dict[str, RunRecord], limit: int, only: str | None
) -> dict[str, RunRecord]:
    """How each began and stands; with runs that were refused before they had a snapshot."""
    names = [only] if only else list(found)
    begun = {"name": {"any_": names}}
    with PrefectApi.of(settings) as api:
        flow_runs = api.flow_runs(begun, limit) if names else []
        if only is None:
            others = {"state": {"type": {"not_any_": ["SCHEDULED"]}}}
            flow_runs += api.flow_runs(others, limit, flows={"name": {"any_": list(FLOWS)}})
        unique = {run.id: run for run in flow_runs}
        deployments = {tree["id"]: tree["name"] for tree in api.find("deployments", {})}
        steps = api.unfinished_steps(
            [run.id for run in unique.values() if run.state_type in _ACTIVE]
        )
        records = dict(found)
        for run in unique.values():
            when = run.started or run.ended
            record = records.get(run.name) or RunRecord(run.name, when or datetime.now(UTC))
            records[run.name] = replace(
                record,
                when=when or record.when,
                how=how_started(run, deployments),
                state=run.state_name,
                state_type=run.state_type,
                step=steps.get(run.id, ""),
                reason=run.message if run.state_type in BAD else "",
                flow_run_id=run.id,
                deployment_id=run.deployment_id or "",
                links={"Prefect": api.page(run.id)},
                **_from_tags(run),
            )
    return records


def how_started(run: FlowRun, deployments: dict[str, str]) -> str:
    """In words: by which deployment, and by whom."""
    if run.deployment_id is None:
        return "command line"
    name = deployments.get(run.deployment_id, "a deployment that is gone")
    if run.auto_scheduled:
        return f"{name}, schedule"
    return f"{name}, {'event' if run.created_by == 'AUTOMATION' else 'by hand'}"


def _from_tags(run: FlowRun) -> dict[str, str]:
    """What the run's report left on its page: the versions that it ended with, also unchanged."""
    known = (tag.partition(":") for tag in run.tags)
    return {key: text for key, _, text in known if key in ("dataset", "version", "score")}


def _from_mlflow(settings: Settings, found: dict[str, RunRecord]) -> dict[str, RunRecord]:
    """Which version each made, and where to look at it."""
    records = dict(found)
    with connect(settings) as api:
        for model in api.search_registered_models():
            versions = {item.run_id: item for item in api.search_versions(model.name)}
            for run in api.latest_runs(model.name):
                record, version = records.get(run.tags.get(tags.RUN, "")), versions.get(run.run_id)
                if record is None:
                    continue
                links = record.links | {"MLflow run": api.run_page(run.experiment_id, run.run_id)}
                dataset = record.dataset or run.tags.get(tags.DATASET, "").removesuffix(".dir")[:12]
                record = replace(record, links=links, dataset=dataset)
                if version:
                    page = api.version_page(model.name, version.version)
                    name, links = f"{model.name} {version.version}", links | {"version": page}
                    record = replace(record, version=name, links=links)
                records[record.run_id] = record
    return records
