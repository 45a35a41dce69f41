"""Copy the dataset version and the models to the configured DVC remote."""

from time import perf_counter

from prefect import task

from modelyard.errors import ModelyardError
from modelyard.runs.progress import report
from modelyard.runs.run import Run
from tasks.stage import TASK


@task(name="push", **TASK)
def push(run: Run) -> int | None:
    """Push what the remote lacks; return the number of files, or None where the remote is away.

    A remote that is away does not fail the run: everything is in the local cache, and the next run
    pushes it.
    """
    report("push", "started")
    started = perf_counter()
    try:
        num_files = run.pipeline.push()
    except ModelyardError as error:
        report(
            "push", "skipped", perf_counter() - started, f"{error.message} (the next run pushes)"
        )
        return None
    state = "done" if num_files else "unchanged"
    report("push", state, perf_counter() - started, f"{num_files} files" if num_files else "")
    return num_files
