"""Run a stage of dvc.yaml from a task, and tell what it found."""

from collections.abc import Callable
from dataclasses import replace
from time import perf_counter

from prefect.cache_policies import NO_CACHE

from modelyard.runs.progress import report
from modelyard.runs.reproduce import StageRun
from modelyard.runs.run import Run
from modelyard.stages import Execution
from tasks.time_limit import time_limit

TASK = {"cache_policy": NO_CACHE, "persist_result": False}
"""Options of every task: DVC alone decides what is done again."""


def run_stage(
    name: str,
    run: Run,
    found: Callable[[], str],
    execution: Execution | None = None,
    force: bool = False,
) -> StageRun:
    """Bring the outputs of a stage up to date; ``found`` tells in a few words what is in them.

    ``force`` runs it though nothing that DVC knows of has changed.

    Raises:
        StepTimeout: it takes longer than infra/runs.yaml allows.
        ModelyardError: what the stage refuses.
    """
    report(name, "started")
    started = perf_counter()
    try:
        with time_limit(name, run.rules):
            used = replace(execution or Execution(run.settings), settings=run.settings)
            done = run.pipeline.run(name, used, force)
    except BaseException:
        report(name, "failed", perf_counter() - started)
        raise
    report(name, done.outcome, done.seconds, found())
    return done
