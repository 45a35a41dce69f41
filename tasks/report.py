"""Leave the run's table as an artifact of the Prefect run, with links to what it made in MLflow."""

import logging

from prefect import task
from prefect.artifacts import create_markdown_artifact

from modelyard.errors import ServiceUnavailable
from modelyard.runs import lockfile, summary
from modelyard.runs.publish import connect
from modelyard.runs.run import Run
from tasks.page import tag_page
from tasks.stage import TASK

log = logging.getLogger(__name__)


@task(name="report", **TASK)
def report(result: summary.Result, run: Run) -> None:
    """Write the artifact ``summary``; without MLflow it has no links."""
    table = summary.rows(run.root, run.settings.measurements, result)
    text = "\n\n".join([summary.markdown(table), *_links(result, run)])
    try:
        create_markdown_artifact(text, key="summary", description="What this run made")
        tag_page(_tags(run, result))
    except Exception as error:
        # Prefect went away: its page lacks the table, and nothing else is lost.
        log.warning("no summary in Prefect: %s", error)


def _tags(run: Run, result: summary.Result) -> list[str]:
    """What `modelyard runs` shows of a run that changed nothing, and the UI filters by."""
    tags = [f"dataset:{lockfile.read(run.root).dataset_md5.removesuffix('.dir')[:12]}"]
    if version := result.version:
        tags.append(f"version:{version.name} {version.version}")
    return tags


def _links(result: summary.Result, run: Run) -> list[str]:
    version = result.version
    if version is None:
        return []
    try:
        with connect(run.settings) as api:
            found = api.get_run(version.run_id)
            pages = {f"version {version.version}": api.version_page(version.name, version.version)}
            if found:
                pages["run"] = api.run_page(found.experiment_id, version.run_id)
    except ServiceUnavailable:
        return []
    return [f"MLflow: [{name}]({page})" for name, page in pages.items()]
