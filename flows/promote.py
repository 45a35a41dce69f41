"""A registered version to the live one, by hand or by schedule; in mode approve a person is asked.

Then the run pauses, and its page in Prefect's UI shows a form under "Resume".
"""

import logging
from pathlib import Path
from time import perf_counter

from prefect import flow
from prefect.exceptions import FlowPauseTimeout
from prefect.flow_runs import pause_flow_run
from prefect.input import RunInput
from prefect.runtime import flow_run
from pydantic import Field

from modelyard.artifacts import ModelVersion
from modelyard.errors import GateRefused, ServiceUnavailable
from modelyard.follower.audit import UNKNOWN
from modelyard.params import load
from modelyard.prefect_api import PrefectApi
from modelyard.runs.progress import report
from modelyard.runs.promotion import Decision, decide, judge_number, wish, wished
from modelyard.runs.summary import Promotion
from modelyard.settings import Settings

_POLL_SECONDS = 1

log = logging.getLogger("modelyard.promote")


class Approval(RunInput):
    """The form."""

    approve: bool = Field(default=False, description="Yes: it becomes champion and serves.")
    name: str = Field(min_length=1, max_length=100, description="Yours, for the audit trail.")
    note: str = Field(default="", max_length=1000, description="Why, for the audit trail.")


@flow(name="promote", persist_result=False)
def promote(name: str, version: int) -> list[str]:
    """Make a version that passed its gate champion, wait until it is live, and return its aliases.

    With ``promote.mode: approve`` the run pauses first, until a person says yes or no.

    Raises:
        GateRefused: it did not pass its gate, a person said no or nobody answered in time, or what
            serves refused it; the champion serves on.
    """
    root, settings, params = Path(), Settings(), load()
    if params.promote.mode != "approve":
        return list(wish(root, settings, params, name, version))
    verdict = judge_number(root, settings, params, name, version)
    if not verdict.passed:
        raise GateRefused(f"{name} version {version}: {verdict.reason}")
    decision = _ask(name, version, verdict.reason, params.promote.approval_minutes)
    return list(decide(root, settings, params, name, version, decision))


def approved(promotion: Promotion, version: ModelVersion | None) -> Promotion:
    """What became of a promotion that waits for a person: ``promote`` as a flow in another's run.

    A refusal is an outcome, not an error.
    """
    if version is None or promotion.outcome != "waiting":
        return promotion
    started = perf_counter()
    try:
        aliases = promote(version.name, version.version)
    except GateRefused as refusal:
        promotion = Promotion("refused", refusal.message, ("challenger",))
    except ServiceUnavailable as error:
        reason = f"{error.message} ({error.remedy})"
        promotion = Promotion("skipped", reason, ("challenger",))
    else:
        promotion = wished(Settings(), version, tuple(aliases), perf_counter() - started)
    state = "done" if promotion.outcome in ("live", "canary") else "skipped"
    detail = promotion.reason or f"{version.name} version {version.version} is live"
    report("approval", state, perf_counter() - started, detail)
    return promotion


def _ask(name: str, version: int, reason: str, minutes: float) -> Decision:
    """Pause this run until a person has filled in the form, or the time is over."""
    text = (
        f"**{name} version {version}** passed its gate ({reason}). Shall it serve?\n\n"
        f"Without an answer within {minutes:g} minutes it stays challenger."
    )
    page = PrefectApi.of(Settings()).page(flow_run.id)
    log.warning("%s version %d waits for a person: Resume at %s", name, version, page)
    form = Approval.with_initial_data(description=text, approve=False)
    try:
        said = pause_flow_run(form, timeout=round(minutes * 60), poll_interval=_POLL_SECONDS)
    except FlowPauseTimeout:
        return Decision(False, UNKNOWN, f"nobody answered within {minutes:g} minutes")
    return Decision(said.approve, said.name.strip() or UNKNOWN, said.note)
