"""The best trial of a sweep, run to its end and registered."""

from time import perf_counter

from prefect import task

from modelyard.runs.progress import report
from modelyard.runs.sweep.best import Registered, run_best
from modelyard.runs.sweep.study import Study
from modelyard.runs.sweep.trials import Trial
from tasks.stage import TASK


@task(name="register_best", **TASK)
def register_best(study: Study, best: Trial) -> Registered:
    """Run the pipeline with the params of the best trial; its version passes the gate or not.

    Raises:
        SweepFailed: that run failed.
    """
    report("best", "started")
    started = perf_counter()
    found = run_best(study, best)
    detail = f"run {found.run_id}, digest {found.digest[:12]}"
    if found.version is not None:
        aliases = ", ".join(found.aliases) or "not passed by its gate"
        detail = f"{study.model} version {found.version} ({aliases}), {detail}"
    report("best", "done", perf_counter() - started, detail)
    return found
