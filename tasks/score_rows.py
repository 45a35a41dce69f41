"""Every row judged and answered, part by part."""

from time import perf_counter

from prefect import task

from modelyard.runs.progress import report
from modelyard.runs.score.job import Job
from tasks.stage import TASK


@task(name="score_rows", **TASK)
def score_rows(job: Job) -> None:
    """Score the parts that are not finished.

    Raises:
        SourceError: the source is not as the contract says.
    """
    report("score", "started")
    started = perf_counter()
    parts = job.predict(lambda rows: report("score", "running", detail=f"{rows:,} rows"))
    state = "unchanged" if job.found else "done"
    detail = f"{parts} part{'s' if parts > 1 else ''}" if parts else ""
    report("score", state, perf_counter() - started, detail)
