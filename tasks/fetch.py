"""Bring the source into data/raw, pinned by its sha256."""

from prefect import task

from modelyard.artifacts import Layout, RawData
from modelyard.errors import SourceError
from modelyard.runs.pin import check_pin
from modelyard.runs.progress import report
from modelyard.runs.run import Run
from modelyard.training import warm_up
from tasks.stage import TASK, run_stage


@task(name="fetch", **TASK)
def fetch(run: Run) -> RawData:
    """Run stage fetch.

    Raises:
        SourceError: the source is missing, empty, or not the file that ``data.sha256`` names.
    """
    data = run.params.data
    try:
        check_pin(run.root, data)
    except SourceError:
        report("fetch", "failed")
        raise
    done = run_stage("fetch", run, lambda: f"{data.source.rpartition('/')[2]}, {data.license}")
    if done.outcome == "executed":
        # New data is trained on: let the workers' torch load while it is ingested.
        warm_up()
    path = next(path for path in Layout(run.root).raw.iterdir() if path.is_file())
    return RawData(path, data.sha256)
