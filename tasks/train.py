"""Train on several workers, with live curves in MLflow.

A killed run goes on from its checkpoints.
"""

from contextlib import AbstractContextManager
from typing import TYPE_CHECKING

from prefect import task

from modelyard.artifacts import Dataset, Layout, TrainedModel, read_json
from modelyard.runs.progress import report
from modelyard.runs.run import Run
from modelyard.stages import Execution
from tasks.stage import TASK, run_stage
from tasks.training_slot import training_slot

if TYPE_CHECKING:
    from modelyard.training.context import EpochRecord, Stream


@task(name="train", **TASK)
def train(dataset: Dataset, run: Run) -> TrainedModel:
    """Run stage train.

    Raises:
        TrainingFailed: a worker failed; the message names its rank and carries its traceback.
    """
    assert dataset.path.exists()
    layout, metric = Layout(run.root), dataset.main_metric

    def show(epoch: "EpochRecord") -> None:
        score, loss = epoch.validation_score, epoch.validation_loss
        detail = f"epoch {epoch.epoch}: validation {metric} {score:.3f}, loss {loss:.3f}"
        report("train", "running", detail=detail)

    def open_stream(key: str) -> "Stream | None":
        from modelyard.runs.publish import open_stream

        return open_stream(run.settings, run.params, run.snapshot, key)

    def slot() -> AbstractContextManager[None]:
        return training_slot("train", run.settings)

    def found() -> str:
        metrics = read_json(layout.metrics("train"))
        workers, count = run.params.train.workers, metrics["num_parameters"]
        score = metrics["validation_score"]
        return f"validation {metric} {score:.3f}, {count:,} parameters, {workers} workers"

    run_stage("train", run, found, Execution(run.settings, open_stream, show, slot))
    return TrainedModel(layout.trained)
