"""Train and judge again on other parts of the rows, as often as ``evaluate.folds`` says."""

from contextlib import AbstractContextManager, nullcontext

from prefect import task

from modelyard.artifacts import Dataset, Layout, read_json
from modelyard.runs.run import Run
from modelyard.stages import Execution
from tasks.stage import TASK, run_stage
from tasks.training_slot import training_slot


@task(name="cross_validate", **TASK)
def cross_validate(dataset: Dataset, run: Run) -> None:
    """Run stage cross_validate.

    Raises:
        TrainingFailed: a worker failed; the message names its rank and carries its traceback.
    """
    assert dataset.path.exists()

    def slot() -> AbstractContextManager[None]:
        if not run.params.evaluate.folds:
            return nullcontext()
        return training_slot("cross_validate", run.settings)

    def found() -> str:
        tree = read_json(Layout(run.root).metrics("cross_validate"))
        if not tree["folds"]:
            return "no folds asked for"
        bounds = f"[{tree['low']:.3f}, {tree['high']:.3f}]"
        return f"{len(tree['folds'])} folds, {tree['metric']} {tree['mean']:.3f} {bounds}"

    run_stage("cross_validate", run, found, Execution(run.settings, slot=slot))
