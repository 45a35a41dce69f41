"""Train and judge again on other parts of the rows, as often as ``evaluate.folds`` says."""

from prefect import task

from modelyard.artifacts import Dataset, Layout, read_json
from modelyard.runs.run import Run
from tasks.stage import TASK, run_stage


@task(name="cross_validate", **TASK)
def cross_validate(dataset: Dataset, run: Run) -> None:
    """Run stage cross_validate.

    Raises:
        TrainingFailed: a worker failed; the message names its rank and carries its traceback.
    """
    assert dataset.path.exists()

    def found() -> str:
        folds = read_json(Layout(run.root).metrics("cross_validate"))["folds"]
        return f"{len(folds)} folds" if folds else "no folds asked for"

    run_stage("cross_validate", run, found)
