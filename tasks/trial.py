"""One trial of a sweep: a training, watched by the pruner."""

from typing import Any

from prefect import task

from modelyard.errors import ModelyardError
from modelyard.runs.progress import report
from modelyard.runs.sweep.record import Recorder
from modelyard.runs.sweep.report import told
from modelyard.runs.sweep.slot import Failure, Slot
from modelyard.runs.sweep.study import Study
from modelyard.runs.sweep.trials import Trial
from tasks.stage import TASK
from tasks.training_slot import training_slot


@task(name="trial", task_run_name="trial {asked.number}", **TASK)
def trial(study: Study, slot: Slot, recorder: Recorder, asked: Trial) -> Trial:
    """Train with the params of a trial; its failure is an outcome, and the sweep goes on.

    Raises:
        WorkspaceError, ServiceUnavailable, SourceError: what would stop every trial.
    """
    name, number = f"trial {asked.number}", asked.number
    report(name, "started")

    def watch(event: dict[str, Any]) -> bool:
        if event["event"] == "stage":
            study.note_stage(event["name"])
            return False
        report(name, "running", detail=told(study.params, event["epoch"]))
        return study.add_epoch(number, event["epoch"])

    try:
        with training_slot(name, study.settings):
            ended = slot.run(asked, recorder.begin(asked), watch)
    except ModelyardError:
        report(name, "failed")
        raise
    if isinstance(ended, Failure):
        done = study.fail(number, ended.reason)
    else:
        done = study.give_up(number) if ended is None else study.finish(number, ended)
    recorder.end(done)
    state = {"done": "done", "pruned": "skipped", "failed": "failed"}[done.state]
    report(name, state, done.seconds, told(study.params, done))  # pyright: ignore[reportArgumentType]
    return done
