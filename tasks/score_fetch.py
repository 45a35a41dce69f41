"""The rows to be scored, as they are now."""

from time import perf_counter

from prefect import task

from modelyard.runs.progress import report
from modelyard.runs.score.job import Job
from tasks.stage import TASK


@task(name="fetch_rows", **TASK)
def fetch_rows(job: Job) -> None:
    """Copy the source, so that nothing changes under the job; find what an earlier call left.

    Raises:
        SourceError: the source cannot be had.
    """
    report("rows", "started")
    started = perf_counter()
    digest = job.fetch()
    report("rows", "done", perf_counter() - started, f"{job.source}, sha256 {digest[:12]}")
