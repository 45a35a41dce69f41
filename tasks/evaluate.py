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
        found, metric = read_json(layout.metrics("evaluate")), dataset.main_metric
        better = [item["title"] for item in found["baselines"] if item["better"] == "baseline"]
        beaten = f", beaten by {' and '.join(better)}" if better else ""
        return f"test {metric} {interval(found[metric])}{beaten}"

    run_stage("evaluate", run, found)
    return Evaluation(layout.evaluation, read_json(layout.metrics("evaluate")))
