"""A sweep in MLflow: a run for the sweep, and within it one a trial. A projection of the files.

Live curves of a training go into its trial's run. With MLflow away the sweep goes on; what is
missing is recorded at its end, or by the next call of the same command.
"""

import json
import logging
import threading
import time
from collections.abc import Callable
from dataclasses import replace

from modelyard.errors import ServiceUnavailable
from modelyard.mlflow_api import Metric, MlflowApi, Run
from modelyard.runs.publish import connect
from modelyard.runs.sweep.study import Study
from modelyard.runs.sweep.trials import Trial

SWEEP, TRIAL, STATE, REASON = (
    f"modelyard.{name}" for name in ("sweep", "trial", "trial.state", "trial.reason")
)
PARENT = "mlflow.parentRunId"
_STATUS = {"done": "FINISHED", "pruned": "KILLED", "failed": "FAILED"}
_MAX_TAG = 5000

_log = logging.getLogger(__name__)


class Recorder:
    """Writes a study to MLflow, best effort; its methods may be called from several threads."""

    def __init__(self, study: Study, prefect_url: str | None) -> None:
        self._study = study
        self._prefect_url = prefect_url
        self._parent: Run | None = None
        self._lock = threading.Lock()
        self._warned = False

    def begin(self, trial: Trial) -> dict[str, str]:
        """Open the run of a trial; gives where its live curves go, or nothing with MLflow away."""
        place: dict[str, str] = {}

        def open_run(api: MlflowApi) -> None:
            child = self._child(api, trial)
            self._study.update(trial.number, lambda known: replace(known, run_id=child.run_id))
            place.update(tracking_uri=api.base_url, run_id=child.run_id)

        self._try(open_run)
        return place

    def end(self, trial: Trial) -> None:
        """Complete the run of a trial that has ended."""
        self._try(lambda api: self._complete(api, trial))

    def close(self) -> str | None:
        """Record what is missing and what the sweep came to; gives the page of its run."""
        page: list[str] = []

        def complete(api: MlflowApi) -> None:
            for trial in self._study.trials:
                if not trial.recorded and trial.state != "running":
                    self._complete(api, trial)
            page.append(self._conclude(api))

        self._try(complete)
        return page[0] if page else None

    def _try(self, act: Callable[[MlflowApi], None]) -> None:
        try:
            with connect(self._study.settings) as api:
                act(api)
        except ServiceUnavailable as error:
            if not self._warned:
                _log.warning("not in MLflow yet, which is away: %s", error.message)
            self._warned = True

    def _run(self, api: MlflowApi) -> Run:
        """The run of the sweep: that of an earlier call, else a new one."""
        with self._lock:
            if self._parent is None:
                experiment = api.ensure_experiment(self._study.model)
                identity = {SWEEP: self._identity, TRIAL: "all"}
                found = api.search_runs(experiment, identity)
                assert self._study.base is not None
                tags = {**identity, "mlflow.source.git.commit": self._study.base.commit}
                if self._prefect_url:
                    tags["modelyard.prefect_url"] = self._prefect_url
                name = f"sweep {self._study.params.name}"
                self._parent = found[0] if found else api.create_run(experiment, name, _now(), tags)
                api.log_batch(self._parent.run_id, tags=tags)
            return self._parent

    @property
    def _identity(self) -> str:
        return f"{self._study.params.name}/{self._study.key}"

    def _child(self, api: MlflowApi, trial: Trial) -> Run:
        parent = self._run(api)
        identity = {SWEEP: self._identity, TRIAL: str(trial.number)}
        if found := api.search_runs(parent.experiment_id, identity):
            return found[0]
        tags = {**identity, PARENT: parent.run_id}
        name = f"trial {trial.number}"
        child = api.create_run(parent.experiment_id, name, _now(), tags)
        params = {key: json.dumps(value) for key, value in trial.params.items()}
        api.log_batch(child.run_id, params=params)
        return child

    def _complete(self, api: MlflowApi, trial: Trial) -> None:
        child = self._child(api, trial)
        numbers = {f"train/{key}": value for key, value in (trial.metrics or {}).items()}
        if trial.value is not None:
            numbers["value"] = trial.value
        metrics = [Metric(key, float(value), child.start_ms) for key, value in numbers.items()]
        tags = {STATE: trial.state, REASON: trial.reason[:_MAX_TAG]}
        api.log_batch(child.run_id, [*metrics, *_curves(api, child, trial)], tags=tags)
        api.end_run(child.run_id, _now(), _STATUS[trial.state])
        self._study.update(
            trial.number, lambda known: replace(known, run_id=child.run_id, recorded=True)
        )

    def _conclude(self, api: MlflowApi) -> str:
        study, parent = self._study, self._run(api)
        states = [trial.state for trial in study.trials]
        numbers: dict[str, float] = {f"trials/{name}": states.count(name) for name in _STATUS}
        tags = {}
        if (best := study.best) is not None:
            numbers |= {"best/value": best.worth, "best/trial": best.number}
            tags = {"modelyard.best_trial": best.run_id}
        metrics = [Metric(key, float(value), parent.start_ms) for key, value in numbers.items()]
        api.log_batch(parent.run_id, metrics, tags=tags)
        for path in (study.folder / name for name in ("sweep.json", "trials.png", "report.html")):
            if path.exists():
                api.upload(parent.artifact_uri, path.name, path)
        api.end_run(parent.run_id, _now())
        return api.run_page(parent.experiment_id, parent.run_id)


def _curves(api: MlflowApi, child: Run, trial: Trial) -> list[Metric]:
    """The points of the history that training has not streamed itself."""
    keys = sorted({key for epoch in trial.epochs for key in epoch} - {"epoch"})
    there = {
        key: {point.step for point in api.metric_history(child.run_id, key)}
        for key in keys
        if trial.epochs
    }
    return [
        Metric(key, float(epoch[key]), child.start_ms, int(epoch["epoch"]))
        for key in keys
        for epoch in trial.epochs
        if int(epoch["epoch"]) not in there[key]
    ]


def _now() -> int:
    return int(time.time() * 1000)
