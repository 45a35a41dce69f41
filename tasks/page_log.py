"""A run's log in Prefect, where no terminal shows its steps."""

from collections.abc import Callable
from time import monotonic

from modelyard.runs.progress import Progress
from modelyard.runs.request import Request

_EVERY = 5.0
"""Seconds between two lines about a step's epochs."""


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
