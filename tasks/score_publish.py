"""The scores in their place."""

from time import perf_counter

from prefect import task

from modelyard.runs.progress import report
from modelyard.runs.score.job import Job, Scored
from tasks.stage import TASK


@task(name="publish_scores", **TASK)
def publish_scores(job: Job) -> Scored:
    """Write manifest and quarantine, and let the result appear.

    Raises:
        DataRejected: more rows break the contract than it allows.
    """
    report("publish", "started")
    started = perf_counter()
    scored = job.publish()
    rows = ", ".join(f"{scored.rows[name]:,} {name}" for name in ("read", "scored", "rejected"))
    state = "done" if scored.is_new else "unchanged"
    report("publish", state, perf_counter() - started, f"{scored.output}: {rows}")
    return scored
