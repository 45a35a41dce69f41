"""Judge the version against the champion.

Where it passes and the mode is auto, make it champion and live.
"""

from prefect import task

from modelyard.artifacts import ModelVersion
from modelyard.errors import ServiceUnavailable
from modelyard.runs.progress import report
from modelyard.runs.promotion import advance
from modelyard.runs.run import Run
from modelyard.runs.summary import Promotion
from tasks.stage import TASK


@task(name="promote", **TASK)
def promote(version: ModelVersion | None, run: Run) -> Promotion:
    """Gate, wish, wait until live.

    A refusal is an outcome with its reason, and the champion serves on.
    """
    if version is None:
        report("promote", "skipped", detail="nothing is registered yet")
        return Promotion("skipped")
    report("promote", "started")
    try:
        promotion = advance(run.root, run.settings, run.params, version)
    except ServiceUnavailable as error:
        promotion = Promotion("skipped", f"{error.message} ({error.remedy})")
    state = {"live": "done", "canary": "done", "unchanged": "unchanged"}.get(
        promotion.outcome, "skipped"
    )
    detail = promotion.reason or f"{version.name} version {version.version} is live"
    report("promote", state, promotion.seconds, detail)  # pyright: ignore[reportArgumentType]
    return promotion
