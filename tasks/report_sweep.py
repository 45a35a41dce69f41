"""What the trials of a sweep came to: a picture, a page, a table, a run in MLflow."""

import logging

from prefect import task
from prefect.artifacts import create_markdown_artifact
from prefect.runtime import flow_run

from modelyard.runs.progress import report
from modelyard.runs.sweep.best import choose
from modelyard.runs.sweep.record import Recorder
from modelyard.runs.sweep.report import markdown, told, write_report
from modelyard.runs.sweep.study import Study
from modelyard.runs.sweep.trials import Trial
from tasks.stage import TASK

log = logging.getLogger(__name__)


@task(name="report_sweep", **TASK)
def report_sweep(study: Study) -> Trial:
    """Write the report, complete the run in MLflow, and choose the best trial.

    Raises:
        SweepFailed: no trial finished.
    """
    report("report", "started")
    write_report(study)
    page = Recorder(study, flow_run.ui_url).close()
    text = "\n\n".join([markdown(study), *([f"MLflow: [the sweep]({page})"] if page else [])])
    try:
        create_markdown_artifact(text, key="sweep", description="The trials of this sweep")
    except Exception as error:
        # Prefect went away: its page lacks the table, and nothing else is lost.
        log.warning("no table in Prefect: %s", error)
    best = choose(study)
    report("report", "done", detail=f"best is trial {best.number}: {told(study.params, best)}")
    return best
