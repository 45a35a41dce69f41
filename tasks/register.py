"""Register the package as a signed model version in MLflow.

Where MLflow is away, note that this is still to be done.
"""

from time import perf_counter

from prefect import task
from prefect.runtime import flow_run

from modelyard.artifacts import ModelPackage, ModelVersion
from modelyard.errors import ServiceUnavailable
from modelyard.runs.progress import report
from modelyard.runs.publish import publish
from modelyard.runs.run import Run
from tasks.retry import RETRIED, is_last_attempt
from tasks.time_limit import time_limit


@task(name="register", **RETRIED)
def register(package: ModelPackage, run: Run) -> ModelVersion | None:
    """Record the run in MLflow and register its package; idempotent by the package's digest.

    With MLflow away the run still ends: None is returned, and `modelyard register` does it later.
    """
    report("register", "started")
    started = perf_counter()
    try:
        with time_limit("register", run.rules):
            version, created = publish(run.root, run.settings, run.params, run.snapshot, _page())
    except ServiceUnavailable as error:
        if run.settings.address("mlflow") and not is_last_attempt():
            raise
        reason = f"{error.message}; `modelyard register` when it is back"
        report("register", "skipped", perf_counter() - started, reason)
        return None
    assert version.digest == package.digest
    found = f"{version.name} version {version.version}, digest {version.digest[:12]}"
    report("register", "done" if created else "unchanged", perf_counter() - started, found)
    return version


def _page() -> str | None:
    """The page of this flow run in Prefect's UI."""
    return flow_run.ui_url
