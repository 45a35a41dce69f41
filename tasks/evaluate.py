"""Measure the trained model on the untouched test split."""

from prefect import task

from modelyard.artifacts import Dataset, Evaluation, Layout, TrainedModel, read_json
from modelyard.runs.run import Run
from modelyard.runs.summary import interval
from tasks.stage import TASK, run_stage


@task(name="evaluate", **TASK)
def evaluate(trained: TrainedModel, dataset: Dataset, run: Run) -> Evaluation:
    """Run stage evaluate."""
    assert trained.path.exists()
    assert dataset.path.exists()
    layout = Layout(run.root)

    def found() -> str:
        return f"test accuracy {interval(read_json(layout.metrics('evaluate'))['accuracy'])}"

    run_stage("evaluate", run, found)
    return Evaluation(layout.evaluation, read_json(layout.metrics("evaluate")))
