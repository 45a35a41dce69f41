"""A run's page in Prefect: its name is the run's id, its log tells each step."""

import logging
from collections.abc import Callable
from time import monotonic

from modelyard.runs.progress import Progress
from modelyard.runs.request import Request
from modelyard.runs.run import Run

_EVERY = 5.0
"""Seconds between two lines about the same step's epochs."""

log = logging.getLogger(__name__)


def name_page(run: Run) -> None:
    """Call the Prefect run by the run's id, by which git and MLflow know it as well."""
    from prefect.context import FlowRunContext

    context = FlowRunContext.get()
    if context is None or context.flow_run is None or context.flow_run.name == run.snapshot.run_id:
        return
    try:
        context.client.update_flow_run(  # pyright: ignore[reportAttributeAccessIssue]
            context.flow_run.id, name=run.snapshot.run_id
        )
    except Exception as error:
        # The name is for people; a run does not depend on it.
        log.warning("the Prefect run keeps its name: %s", error)


def tag_page(tags: list[str]) -> None:
    """Add tags to the Prefect run."""
    from prefect.context import FlowRunContext

    if (context := FlowRunContext.get()) and context.flow_run:
        context.client.update_flow_run(  # pyright: ignore[reportAttributeAccessIssue]
            context.flow_run.id, tags=sorted({*context.flow_run.tags, *tags})
        )


def log_progress(request: Request) -> Callable[[Progress], None]:
    """A listener that writes into the Prefect run's log, beginning with what was asked for."""
    from prefect.logging import get_run_logger

    logger = get_run_logger()
    logger.info("asked for: %s", request.model_dump_json(exclude_defaults=True))

    last = 0.0

    def write(progress: Progress) -> None:
        nonlocal last
        if progress.state == "running":
            if monotonic() - last < _EVERY:
                return
            last = monotonic()
        took = f"{progress.seconds:.1f} s" if progress.seconds else ""
        text = ", ".join(filter(None, [progress.state, took, progress.detail]))
        logger.info("%s: %s", progress.step, text)

    return write
