"""Copy the dataset version and the models to the configured DVC remote."""

from time import perf_counter

from prefect import task

from modelyard.errors import ServiceUnavailable
from modelyard.runs.progress import report
from modelyard.runs.run import Run
from tasks.retry import RETRIED, is_last_attempt
from tasks.time_limit import time_limit


@task(name="push", **RETRIED)
def push(run: Run) -> int | None:
    """Push what the remote lacks; return the number of files, or None where the remote is away.

    A remote that is away does not fail the run: everything is in the local cache, and the next run
    pushes it.
    """
    report("push", "started")
    started = perf_counter()
    try:
        with time_limit("push", run.rules):
            num_files = run.pipeline.push()
    except ServiceUnavailable as error:
        if not is_last_attempt():
            raise
        report(
            "push", "skipped", perf_counter() - started, f"{error.message} (the next run pushes)"
        )
        return None
    state = "done" if num_files else "unchanged"
    report("push", state, perf_counter() - started, f"{num_files} files" if num_files else "")
    return num_files
