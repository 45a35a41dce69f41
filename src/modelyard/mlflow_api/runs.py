"""Experiments and runs: params, metrics with their steps, tags, dataset inputs."""

from collections.abc import Sequence
from typing import Any

from modelyard.errors import ModelyardError
from modelyard.mlflow_api.transport import Transport
from modelyard.mlflow_api.types import DatasetInput, Metric, Run

_BATCH_METRICS = 1000
_BATCH_PARAMS = 100
_MAX_PARAM = 6000


class RunsApi(Transport):
    """The part of the client that speaks of runs."""

    def ensure_experiment(self, name: str) -> str:
        """The id of the experiment ``name``, created unless it exists."""
        if (found := self._experiment(name)) is not None:
            return found
        try:
            return self.call("POST", "/experiments/create", {"name": name})["experiment_id"]
        except Exception:
            # Another run may have made it in between.
            if (found := self._experiment(name)) is not None:
                return found
            raise

    def create_run(self, experiment_id: str, name: str, start_ms: int, tags: dict[str, str]) -> Run:
        """Begin a run; ``start_ms`` in ms since 1970."""
        body = {
            "experiment_id": experiment_id,
            "run_name": name,
            "start_time": start_ms,
            "tags": _items(tags),
        }
        return Run.parse(self.call("POST", "/runs/create", body)["run"])

    def get_run(self, run_id: str) -> Run | None:
        """A run, or None."""
        tree = self.find("/runs/get", run_id=run_id)
        return Run.parse(tree["run"]) if tree else None

    def search_runs(self, experiment_id: str, tags: dict[str, str], limit: int = 50) -> list[Run]:
        """The runs of an experiment that carry all of ``tags``, oldest first."""
        conditions = [f"tags.`{key}` = '{value}'" for key, value in tags.items()]
        body = {
            "experiment_ids": [experiment_id],
            "filter": " and ".join(conditions),
            "max_results": limit,
            "order_by": ["attributes.start_time ASC"],
        }
        return [Run.parse(tree) for tree in self.call("POST", "/runs/search", body).get("runs", [])]

    def latest_runs(self, experiment: str, limit: int = 200) -> list[Run]:
        """The runs of the experiment of that name, newest first; none where it does not exist."""
        found = self._experiment(experiment)
        if found is None:
            return []
        order = ["attributes.start_time DESC"]
        body = {"experiment_ids": [found], "max_results": limit, "order_by": order}
        return [Run.parse(tree) for tree in self.call("POST", "/runs/search", body).get("runs", [])]

    def end_run(self, run_id: str, end_ms: int, status: str = "FINISHED") -> None:
        """Set the end (ms since 1970) and status of a run."""
        body = {"run_id": run_id, "status": status, "end_time": end_ms}
        self.call("POST", "/runs/update", body)

    def rename_run(self, run_id: str, name: str) -> None:
        """Give a run another name."""
        self.call("POST", "/runs/update", {"run_id": run_id, "run_name": name})

    def log_batch(
        self,
        run_id: str,
        metrics: Sequence[Metric] = (),
        params: dict[str, str] | None = None,
        tags: dict[str, str] | None = None,
    ) -> None:
        """Log metrics, params and tags, in as many requests as the server's limits ask for.

        An equal param or metric point may be sent again; MLflow refuses a param whose value
        changed.
        """
        waiting_params = _items({key: value[:_MAX_PARAM] for key, value in (params or {}).items()})
        waiting_metrics = [_metric(metric) for metric in metrics]
        waiting_tags = _items(tags or {})
        while waiting_params or waiting_metrics or waiting_tags:
            num_metrics = _BATCH_METRICS - _BATCH_PARAMS - _BATCH_PARAMS
            body = {
                "run_id": run_id,
                "metrics": waiting_metrics[:num_metrics],
                "params": waiting_params[:_BATCH_PARAMS],
                "tags": waiting_tags[:_BATCH_PARAMS],
            }
            self.call("POST", "/runs/log-batch", body)
            waiting_metrics = waiting_metrics[num_metrics:]
            waiting_params = waiting_params[_BATCH_PARAMS:]
            waiting_tags = waiting_tags[_BATCH_PARAMS:]

    def set_run_tag(self, run_id: str, key: str, value: str) -> None:
        """Set a tag of a run."""
        self.call("POST", "/runs/set-tag", {"run_id": run_id, "key": key, "value": value})

    def metric_history(self, run_id: str, key: str) -> list[Metric]:
        """Every point of a metric, in the server's order."""
        points: list[dict[str, Any]] = []
        token = None
        while True:
            tree = self.call(
                "GET", "/metrics/get-history", run_id=run_id, metric_key=key, page_token=token
            )
            points += tree.get("metrics", [])
            token = tree.get("next_page_token")
            if not token:
                break
        return [
            Metric(
                item["key"], float(item["value"]), int(item["timestamp"]), int(item.get("step", 0))
            )
            for item in points
        ]

    def log_dataset(self, run_id: str, dataset: DatasetInput) -> None:
        """Say that a run used a dataset; saying it again changes nothing."""
        described = {
            "name": dataset.name,
            "digest": dataset.digest,
            "source_type": dataset.source_type,
            "source": dataset.source,
            "schema": dataset.schema,
            "profile": dataset.profile,
        }
        item = {
            "tags": [{"key": "mlflow.data.context", "value": dataset.context}],
            "dataset": {key: value for key, value in described.items() if value is not None},
        }
        body = {"run_id": run_id, "datasets": [item]}
        try:
            self.call("POST", "/runs/log-inputs", body)
        except ModelyardError as error:
            # Two runs that name a new dataset at once: MLflow takes it from the second time on.
            if "datasets.digest" not in error.message and "duplicate key" not in error.message:
                raise
            self.call("POST", "/runs/log-inputs", body)

    def log_output(self, run_id: str, model_id: str, step: int = 0) -> None:
        """Say that a run made a logged model; MLflow refuses to be told twice."""
        body = {"run_id": run_id, "models": [{"model_id": model_id, "step": step}]}
        self.call("POST", "/runs/outputs", body)

    def _experiment(self, name: str) -> str | None:
        tree = self.find("/experiments/get-by-name", experiment_name=name)
        return tree["experiment"]["experiment_id"] if tree else None


def _items(pairs: dict[str, str]) -> list[dict[str, str]]:
    return [{"key": key, "value": value} for key, value in pairs.items()]


def _metric(metric: Metric) -> dict[str, Any]:
    tree = {
        "key": metric.key,
        "value": metric.value,
        "timestamp": metric.timestamp,
        "step": metric.step,
        "model_id": metric.model_id,
        "dataset_name": metric.dataset_name,
        "dataset_digest": metric.dataset_digest,
    }
    return {key: value for key, value in tree.items() if value is not None}
