"""Read, clean, validate every row, split: a dataset version, or none."""

from prefect import task

from modelyard.artifacts import Dataset, Layout, RawData
from modelyard.runs.run import Run
from tasks.stage import TASK, run_stage


@task(name="ingest", **TASK)
def ingest(raw: RawData, run: Run) -> Dataset:
    """Run stage ingest.

    Raises:
        DataRejected: more rows break the contract than ``data.max_rejected``; the report names
            each.
    """
    assert raw.path.exists()
    folder = Layout(run.root).dataset

    def found() -> str:
        dataset = Dataset.read(folder)
        accepted = sum(dataset.rows.values())
        return f"{accepted:,} rows accepted, {dataset.num_rejected:,} rejected"

    run_stage("ingest", run, found)
    return Dataset.read(folder)
