"""Many trainings, one challenger."""

from pathlib import Path

from prefect import flow

from modelyard.runs.sweep.best import Registered
from modelyard.runs.sweep.study import Study
from modelyard.settings import Settings
from tasks.register_best import register_best
from tasks.report_sweep import report_sweep
from tasks.trials import run_trials


@flow(name="sweep", persist_result=False)
def sweep(file: str = "sweeps/digits.yaml") -> Registered:
    """Train what the file of the sweep names, and register the best as a challenger.

    Each trial runs from fetch to train in a worktree of its own, judged on the validation split;
    what no trial changes comes from the cache. The best one alone is then run to its end: judged
    on the test split, compressed, registered, and passed through its gate. Nothing is promoted.

    Args:
        file: Path of the sweep's file in the project, such as sweeps/digits.yaml.

    Raises:
        ParamsError: the file names a key or value that is not possible; nothing was started.
        SweepFailed: no trial finished.
    """
    study = Study(Path(), Path(file), Settings())
    with study.under_way():
        lanes = [run_trials.submit(study, lane) for lane in range(study.params.parallel)]
        for lane in lanes:
            lane.result()
        best = report_sweep(study)
        return register_best(study, best)
