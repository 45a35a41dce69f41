"""One lane of a sweep: trial after trial in its own worktree, until there are enough."""

from prefect import task
from prefect.runtime import flow_run

from modelyard.runs.sweep.record import Recorder
from modelyard.runs.sweep.study import Study
from tasks.stage import TASK
from tasks.trial import trial


@task(name="trials", task_run_name="lane {lane}", **TASK)
def run_trials(study: Study, lane: int) -> None:
    """Ask for a trial, train it, tell what it reached; again.

    Raises:
        WorkspaceError, ServiceUnavailable, SourceError: what would stop every trial.
    """
    recorder = Recorder(study, flow_run.ui_url)
    with study.lane(lane) as slot:
        while (asked := study.ask()) is not None:
            trial(study, slot, recorder, asked)
