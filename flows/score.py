"""Many rows, answered by the model that serves."""

from pathlib import Path
from typing import Annotated

from prefect import flow
from pydantic import Field

from modelyard.runs.score.job import Job, Scored
from modelyard.settings import Settings
from tasks.score_fetch import fetch_rows
from tasks.score_model import find_model
from tasks.score_publish import publish_scores
from tasks.score_rows import score_rows

Source = Annotated[str, Field(min_length=1)]
Version = Annotated[int, Field(ge=1)]


@flow(name="score", persist_result=False)
def score(
    source: Source,
    name: str | None = None,
    version: Version | None = None,
    output: str = "data/scores",
) -> Scored:
    """Judge rows by the contract that the model was trained under, and predict those that keep it.

    Killed, the same call goes on with the first part that is not finished; done already, it
    changes nothing. MLflow is asked only for a version that is not live here.

    Args:
        source: A file, folder or glob, an s3:// prefix or an SQL address.
        name: The registered model; empty for registry.name of params.yaml.
        version: Its version; empty for the live one.
        output: The folder that appears or is replaced at the end.

    Raises:
        PackageError: nothing is live, or the package is not to be trusted.
        SourceError: the source cannot be read as the contract says.
        DataRejected: more rows break the contract than it allows; no result is there.
    """
    model = find_model(Path(), name, version)
    job = Job(Path(), Settings(), model, source, Path(output))
    with job.held():
        fetch_rows(job)
        score_rows(job)
        return publish_scores(job)
