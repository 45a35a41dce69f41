"""How many trainings go on at once (infra/runs.yaml), over all runs of a Prefect server."""

import logging
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, suppress

from modelyard.orchestration.run_rules import RUNS_YAML, TRAINING
from modelyard.prefect_api import PrefectApi
from modelyard.runs.progress import report
from modelyard.settings import Settings

_LEASE = 60
"""Seconds; Prefect's shortest. It is renewed while its process lives."""

log = logging.getLogger(__name__)


@contextmanager
def training_slot(step: str, settings: Settings) -> Iterator[None]:
    """Hold a slot of Prefect's global limit; where there is no such limit, or no Prefect, go on.

    The slot of a training that was killed is free again when its lease ends.
    """
    slot = None
    try:
        slot = _acquire(step, settings)
    except Exception as error:
        log.warning("no training slot is held: %s", error)
    try:
        yield
    finally:
        if slot:
            # What was trained counts, whether or not Prefect hears of its end.
            with suppress(Exception):
                slot.__exit__(None, None, None)


def _acquire(step: str, settings: Settings) -> AbstractContextManager[None] | None:
    from prefect.concurrency.sync import concurrency

    with PrefectApi.of(settings) as api:
        limits = {item["name"]: item for item in api.find("v2/concurrency_limits", {})}
    if (limit := limits.get(TRAINING)) is None:
        return None
    if limit["active_slots"] >= limit["limit"]:
        report(step, "running", detail=f"waits for one of {limit['limit']} slots ({RUNS_YAML})")
    slot = concurrency(TRAINING, lease_duration=_LEASE)
    slot.__enter__()
    return slot
