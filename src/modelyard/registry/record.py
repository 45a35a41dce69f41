"""A run's results in MLflow: a projection of the stages' outputs that can be replayed at any time.

It is keyed by the results, so that recording twice, or again after a crash half way, gives one run;
with MLflow away nothing is lost, for the files stay and the next call projects them. Points are
logged with the run's start as their time: MLflow stores equal points once.
"""

import json
import logging
import time
from pathlib import Path
from typing import Any

from modelyard.artifacts import Layout, read_json
from modelyard.errors import ModelyardError, ServiceUnavailable
from modelyard.mlflow_api import DatasetInput, Metric, MlflowApi, Run
from modelyard.params import Params
from modelyard.registry import tags as names
from modelyard.registry.flatten import flat_metrics, flat_params
from modelyard.registry.runs import RunInfo

STAGES_WITH_METRICS = ("ingest", "train", "evaluate", "compress")
"""Their metrics become MLflow's; those of evaluate have the baselines' and folds' in them."""
STAGES_WITH_FILES = (*STAGES_WITH_METRICS, "cross_validate", "baselines")
_MAX_NOTE = 8000

_log = logging.getLogger(__name__)


def record(layout: Layout, params: Params, run: RunInfo, api: MlflowApi) -> str:
    """Project the results of the stages into one MLflow run; do nothing where that is done.

    A run into which training streamed its curves (tag ``modelyard.train_key``) is completed rather
    than doubled.

    Args:
        layout: Where the results lie.
        params: The resolved parameters of the run.
        run: Its identity; ``run.key`` finds what an earlier call left.
        api: The MLflow server.

    Returns:
        The id of the MLflow run.

    Raises:
        ServiceUnavailable: MLflow is away; call again when it is back.
    """
    experiment = api.ensure_experiment(params.registry.name)
    found = _find(api, experiment, run)
    if found is not None and found.tags.get(names.RECORDED) == run.key:
        return found.run_id
    target = found or _create(api, experiment, run)
    known = flat_params(params.model_dump(mode="json", by_alias=True))
    api.log_batch(
        target.run_id,
        metrics=[*_stage_metrics(layout, target), *_history(layout, target, api)],
        params={key: value for key, value in known.items() if key not in target.params},
        tags=_tags(layout, run),
    )
    api.log_dataset(target.run_id, dataset_input(layout, params, run))
    _upload_reports(layout, target, api)
    api.end_run(target.run_id, _now_ms())
    # Last: its presence says that nothing is missing.
    api.set_run_tag(target.run_id, names.RECORDED, run.key)
    _log.info("recorded run %s in MLflow run %s", run.run_id, target.run_id)
    return target.run_id


def open_stream(params: Params, run_id: str, train_key: str, api: MlflowApi) -> str:
    """The MLflow run that training streams its curves into; ``record`` completes it later.

    A training that resumes after a kill goes on in the run that it had.
    """
    experiment = api.ensure_experiment(params.registry.name)
    if free := _streamed(api, experiment, train_key):
        return free[0].run_id
    return api.create_run(experiment, run_id, _now_ms(), {names.TRAIN_KEY: train_key}).run_id


def dataset_input(layout: Layout, params: Params, run: RunInfo) -> DatasetInput:
    """The dataset version as MLflow's dataset input; its digest is DVC's (36 characters fit)."""
    tree = read_json(layout.dataset / "dataset.json")
    origin = {
        "source": params.data.source,
        "license": params.data.license,
        "raw_md5": run.raw_md5,
        "dataset_digest": tree["digest"],
    }
    return DatasetInput(
        name=params.registry.name,
        digest=run.dataset_md5[:36],
        source_type="code",
        source=json.dumps({"tags": {key: str(value) for key, value in origin.items()}}),
        context="training",
        profile=json.dumps({"rows": tree["rows"], "rejected": tree["num_rejected"]}),
    )


def _find(api: MlflowApi, experiment: str, run: RunInfo) -> Run | None:
    """The oldest run of these results, else the newest that training streamed and nobody took."""
    if mine := api.search_runs(experiment, {names.KEY: run.key}):
        return mine[0]
    for free in _streamed(api, experiment, run.train_key):
        if _claim(api, free, run.key):
            return free
    return None


def _streamed(api: MlflowApi, experiment: str, train_key: str) -> list[Run]:
    """Runs that this training streamed into and whose results nobody has recorded, newest first."""
    streamed = api.search_runs(experiment, {names.TRAIN_KEY: train_key})
    return [run for run in reversed(streamed) if names.KEY not in run.tags]


def _claim(api: MlflowApi, free: Run, key: str) -> bool:
    """Take a run for these results; false where another process was quicker.

    Two recorders may want the same one: they share a training and differ in what came after it.
    MLflow sets a param once and refuses another value, which decides between them.
    """
    try:
        api.log_batch(free.run_id, params={names.KEY: key})
    except ServiceUnavailable:
        raise
    except ModelyardError:
        return False
    api.set_run_tag(free.run_id, names.KEY, key)
    return True


def _create(api: MlflowApi, experiment: str, run: RunInfo) -> Run:
    tags = {names.KEY: run.key, names.TRAIN_KEY: run.train_key}
    return api.create_run(experiment, run.run_id, _now_ms(), tags)


def _stage_metrics(layout: Layout, run: Run) -> list[Metric]:
    metrics = []
    for stage in STAGES_WITH_METRICS:
        path = layout.metrics(stage)
        if path.exists():
            flat = flat_metrics(read_json(path), stage)
            metrics += [Metric(key, value, run.start_ms) for key, value in flat.items()]
    return metrics


def _history(layout: Layout, run: Run, api: MlflowApi) -> list[Metric]:
    """The epochs' curves, less the steps that were streamed while training ran."""
    path = layout.trained / "history.json"
    epochs: list[dict[str, Any]] = read_json(path) if path.exists() else []
    curves = sorted({key for epoch in epochs for key in epoch} - {"epoch"})
    metrics = []
    for key in curves:
        there = set()
        if key in run.metrics:
            there = {point.step for point in api.metric_history(run.run_id, key)}
        metrics += [
            Metric(key, float(epoch[key]), run.start_ms, int(epoch["epoch"]))
            for epoch in epochs
            if isinstance(epoch.get(key), int | float) and int(epoch["epoch"]) not in there
        ]
    return metrics


def _tags(layout: Layout, run: RunInfo) -> dict[str, str]:
    tags = {
        names.RUN: run.run_id,
        names.TRAIN_KEY: run.train_key,
        names.SNAPSHOT: run.snapshot_commit,
        names.DATASET: run.dataset_md5,
        "mlflow.runName": run.run_id,
        "mlflow.source.git.commit": run.snapshot_commit,
    }
    if run.prefect_url:
        tags[names.PREFECT_URL] = run.prefect_url
    card = layout.package / "MODEL_CARD.md"
    if card.exists():
        tags["mlflow.note.content"] = _note(card, run)
    return tags


def _note(card: Path, run: RunInfo) -> str:
    """The model card with a link to the Prefect run, within MLflow's limit for a tag."""
    text = card.read_text(encoding="utf-8")
    link = f"[The Prefect run]({run.prefect_url})\n\n" if run.prefect_url else ""
    return f"{link}{text}"[:_MAX_NOTE]


def _upload_reports(layout: Layout, run: Run, api: MlflowApi) -> None:
    if layout.evaluation.is_dir():
        api.upload_folder(run.artifact_uri, layout.evaluation, "evaluation")
    if layout.data_report.exists():
        api.upload(run.artifact_uri, "data.html", layout.data_report)
    for stage in STAGES_WITH_FILES:
        if (path := layout.metrics(stage)).exists():
            api.upload(run.artifact_uri, f"metrics/{stage}.json", path)


def _now_ms() -> int:
    return int(time.time() * 1000)
