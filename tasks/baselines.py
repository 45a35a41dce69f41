"""Fit scikit-learn's models on the same split, to compare with."""

from prefect import task

from modelyard.artifacts import Dataset, Layout, read_json
from modelyard.runs.run import Run
from tasks.stage import TASK, run_stage


@task(name="baselines", **TASK)
def baselines(dataset: Dataset, run: Run) -> None:
    """Run stage baselines."""
    assert dataset.path.exists()

    def found() -> str:
        known = read_json(Layout(run.root).metrics("baselines"))["baselines"]
        metric = dataset.main_metric
        scores = [f"{item['name']} {item['metrics'][metric]['value']:.3f}" for item in known]
        return f"test {metric}: {', '.join(scores)}" if known else "no baselines asked for"

    run_stage("baselines", run, found)
