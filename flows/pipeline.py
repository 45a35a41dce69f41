"""Raw data to a live model: the main story."""

from pathlib import Path

from prefect import flow

from flows.promote import approved
from modelyard.runs.run import begin
from modelyard.runs.summary import Result
from tasks.baselines import baselines
from tasks.compress import compress
from tasks.cross_validate import cross_validate
from tasks.evaluate import evaluate
from tasks.fetch import fetch
from tasks.ingest import ingest
from tasks.page import name_page
from tasks.promote import promote
from tasks.push import push
from tasks.register import register
from tasks.report import report
from tasks.train import train


@flow(name="pipeline", persist_result=False, validate_parameters=False)
def pipeline() -> Result:
    """Turn the raw dataset into a registered challenger.

    It becomes the champion too where the gate and the mode allow; in mode approve the run ends
    when a person has answered in Prefect's UI, or the time for that is over.

    The steps from fetch to compress are stages of dvc.yaml; each is skipped when nothing that it
    depends on has changed. The other three change the world and are idempotent by the package's
    digest.

    Raises:
        DataRejected: more rows break the contract than ``data.max_rejected``; the report names
            each.
        TrainingFailed: a worker failed; the message names its rank.
    """
    run = begin(Path())
    try:
        name_page(run)
        raw = fetch(run)
        dataset = ingest(raw, run)
        trained = train(dataset, run)
        cross_validate(dataset, run)
        baselines(dataset, run)
        evaluation = evaluate(trained, dataset, run)
        package = compress(trained, evaluation, run)
        push(run)
        version = register(package, run)
        promotion = approved(promote(version, run), version)
        result = Result(run.snapshot.run_id, version, promotion)
        report(result, run)
        return result
    finally:
        run.close()
