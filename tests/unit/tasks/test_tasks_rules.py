"""What is tried again, and what ends a step that takes too long."""

import time
from typing import Any, cast

import pytest
from prefect.client.schemas.objects import TaskRun
from prefect.states import Failed
from prefect.tasks import Task

from modelyard.errors import (
    DataRejected,
    ParamsError,
    ServiceUnavailable,
    SourceError,
    TrainingFailed,
)
from modelyard.orchestration.run_rules import RunRules
from tasks.fetch import fetch
from tasks.ingest import ingest
from tasks.push import push
from tasks.register import register
from tasks.retry import can_pass
from tasks.time_limit import StepTimeout, time_limit
from tasks.train import train

NOBODY = cast(tuple[Task, TaskRun], (None, None))


@pytest.mark.parametrize("error", [ServiceUnavailable("away"), ConnectionResetError("dropped")])
def test_what_can_pass_is_tried_again(error: Exception) -> None:
    assert can_pass(*NOBODY, Failed(data=error))


@pytest.mark.parametrize(
    "error",
    [
        DataRejected("7 rows"),
        ParamsError("epochs"),
        TrainingFailed("rank 1"),
        SourceError("sha256"),
        StepTimeout("train"),
        ValueError("a defect"),
    ],
)
def test_what_stays_is_not(error: Exception) -> None:
    assert not can_pass(*NOBODY, Failed(data=error))


def test_only_tasks_that_ask_a_server_have_retries() -> None:
    asked: list[Any] = [fetch, push, register]
    for task in asked:
        assert (task.retries, task.retry_condition_fn) == (2, can_pass), task.name
    for task in (ingest, train):
        assert task.retries == 0, task.name


def test_a_step_that_takes_too_long_is_interrupted() -> None:
    started = time.monotonic()
    with (
        pytest.raises(StepTimeout, match=r"train took longer than 0 s") as caught,
        time_limit("train", RunRules(timeouts={"train": 0.05})),
    ):
        time.sleep(20)
    assert time.monotonic() - started < 10
    assert "timeouts.train in infra/runs.yaml" in caught.value.remedy


def test_a_timeout_of_a_steps_own_is_told_as_it_is() -> None:
    with pytest.raises(TimeoutError, match="the socket"), time_limit("push", RunRules()):
        raise TimeoutError("the socket")
