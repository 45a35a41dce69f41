"""Bring the source into data/raw: the pinned one, or what it is now."""

from prefect import task

from modelyard.artifacts import Layout, RawData
from modelyard.data.raw import raw_sha256
from modelyard.errors import ModelyardError
from modelyard.runs.pin import check_pin, look, remember
from modelyard.runs.progress import report
from modelyard.runs.run import Run
from modelyard.training import warm_up
from tasks.retry import RETRIED
from tasks.stage import run_stage


@task(name="fetch", **RETRIED)
def fetch(run: Run) -> RawData:
    """Run stage fetch; again, where a source without a pin is not what it was.

    Raises:
        SourceError: the source is missing, empty, or not what ``data.sha256`` names.
        ServiceUnavailable: its server is away.
    """
    data = run.params.data
    try:
        check_pin(run.root, data)
        seen = look(run.root, data)
    except ModelyardError:
        report("fetch", "failed")
        raise
    # What DVC kept of an earlier run is no answer to what the source is now.
    changed = data.sha256 is None and not run.pipeline.is_unchanged("fetch")
    done = run_stage("fetch", run, lambda: _found(run), force=seen.outdated or changed)
    remember(run.root, data, seen)
    if done.outcome == "executed":
        # New data is trained on: let the workers' torch load while it is ingested.
        warm_up()
    raw = Layout(run.root).raw
    return RawData(raw, data.sha256 or raw_sha256(raw))


def _found(run: Run) -> str:
    data = run.params.data
    pinned = "" if data.sha256 else ", not pinned"
    return f"{data.source.rpartition('/')[2]}, {data.license}{pinned}"
