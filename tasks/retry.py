"""Tasks that ask a server are tried again where what failed may pass by itself."""

from prefect.client.schemas.objects import State, TaskRun
from prefect.runtime import task_run
from prefect.tasks import Task

from modelyard.errors import ServiceUnavailable
from tasks.stage import TASK


def can_pass(task: Task, run: TaskRun, state: State) -> bool:
    """Whether a failure may pass by itself: a service or a connection was away."""
    del task, run
    return isinstance(state.data, ServiceUnavailable | ConnectionError)


DELAYS = [1, 3]
RETRIED = TASK | {
    "retries": len(DELAYS),
    "retry_delay_seconds": DELAYS,
    "retry_condition_fn": can_pass,
}
"""Options of tasks that ask a server: data, params and trainings that were refused stay so."""


def is_last_attempt() -> bool:
    """Whether a task of ``RETRIED`` is not tried again after this."""
    return (task_run.run_count or 1) > len(DELAYS)
