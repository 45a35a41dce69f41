"""How long a step may take (infra/runs.yaml)."""

from collections.abc import Iterator
from contextlib import contextmanager

from modelyard.errors import ModelyardError
from modelyard.orchestration.run_rules import RUNS_YAML, RunRules


class StepTimeout(ModelyardError, TimeoutError):  # noqa: N818 - the name says what happened
    """A step took longer than it may."""


class _Over(TimeoutError):  # noqa: N818 - as above
    """Ours: a time-out of the step's own network calls is told as they tell it."""


@contextmanager
def time_limit(step: str, rules: RunRules) -> Iterator[None]:
    """Interrupt the block when the step's time is over.

    Raises:
        StepTimeout: it is; the message names the key to change.
    """
    from prefect.utilities.timeout import timeout

    seconds = rules.timeouts.get(step)
    try:
        with timeout(seconds, timeout_exc_type=_Over):
            yield
    except _Over:
        raise StepTimeout(
            f"{step} took longer than {seconds:,.0f} s",
            f"If it may, set timeouts.{step} in {RUNS_YAML}; what is finished is not repeated.",
        ) from None
