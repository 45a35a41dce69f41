"""A canary's life in the folder: loaded, begun, judged, promoted or taken back.

It needs no registry, and survives a kill between any two writes: ``canary.json`` says how far it
is, the workers' files what was counted.
"""

import logging
import time
from pathlib import Path

from modelyard.follower import audit
from modelyard.follower.canary_judge import judge
from modelyard.follower.folder import ModelFolder
from modelyard.follower.patience import Patience
from modelyard.follower.records import CanaryPointer, Pin, Refusal
from modelyard.follower.trail import record_canary, record_refusal

_logger = logging.getLogger(__name__)


def settle_canary(folder: ModelFolder, state_dir: Path, patience: Patience) -> None:
    """Take a canary's next step; to be called under the folder's lock.

    - One that a rollback or its refusal ended (their writer was killed): remove it.
    - One that was promoted: remove it once it is live everywhere, so that its callers stay with it.
    - One that is not begun: begins when all live workers have loaded it; is refused where one
      refuses it or takes too long.
    - One that is judged good goes live, one that is judged bad is refused.
    """
    state = folder.read()
    canary, pin, refusal = state.canary, state.pin, state.refusal
    if canary is None:
        return
    if pin is not None:
        end_by_pin(folder, state_dir, canary, pin)
    elif refusal is not None and refusal.release == canary.release:
        record_refusal(folder, state_dir, refusal)
        folder.remove_canary()
    elif state.confirmed is None or state.confirmed.release == canary.release:
        folder.remove_canary()
    elif state.pointer is None or state.pointer.release != canary.release:
        _go_on(folder, state_dir, canary, patience)


def withdraw(folder: ModelFolder, state_dir: Path, canary: CanaryPointer, reason: str) -> None:
    """End a canary that nobody wants any more; what is live serves on."""
    record_canary(folder, state_dir, canary, "withdrawn", f"canary: {reason}")
    folder.remove_canary()
    _logger.info("canary %d of %s: %s", canary.release.version, folder.name, reason)


def end_by_pin(folder: ModelFolder, state_dir: Path, canary: CanaryPointer, pin: Pin) -> None:
    """End a canary that was rolled back."""
    wish = audit.Wish("rollback", pin.person)
    reason = f"canary: rolled back: {pin.reason}"
    record_canary(folder, state_dir, canary, "withdrawn", reason, wish)
    folder.remove_canary()


def _go_on(folder: ModelFolder, state_dir: Path, canary: CanaryPointer, patience: Patience) -> None:
    answer = folder.canary_answer(canary)
    if answer.state == "refused":
        _take_back(folder, state_dir, canary, answer.reason)
    elif canary.since is None:
        subject = f"{folder.name} (canary)"
        if answer.state == "live":
            _begin(folder, state_dir, canary)
        elif patience.is_over(subject, canary.sequence, answer.workers):
            reason = f"not every worker had loaded it within {patience.seconds:g} s"
            _take_back(folder, state_dir, canary, reason)
    else:
        _judge(folder, state_dir, canary, canary.since)


def _begin(folder: ModelFolder, state_dir: Path, canary: CanaryPointer) -> None:
    terms = canary.terms
    reason = f"{terms.percent:g} % of the callers, {terms.minutes:g} min"
    record_canary(folder, state_dir, canary, "canary", reason)
    folder.begin_canary(canary, time.time())
    _logger.info("canary %d of %s: %s", canary.release.version, folder.name, reason)


def _judge(folder: ModelFolder, state_dir: Path, canary: CanaryPointer, since: float) -> None:
    live, own = folder.canary_counts(canary)
    judgement = judge(live, own, canary.terms, time.time() - since)
    if judgement.outcome == "promote":
        reason = f"canary: {judgement.reason}"
        folder.point(canary.release, pinned=False, reason=reason)
        _logger.info("version %d of %s: %s", canary.release.version, folder.name, reason)
    elif judgement.outcome == "take back":
        _take_back(folder, state_dir, canary, f"canary: {judgement.reason}")


def _take_back(folder: ModelFolder, state_dir: Path, canary: CanaryPointer, reason: str) -> None:
    refusal = Refusal.new(canary.release, reason)
    # Before the canary goes, so that a follower that starts again does not try it again.
    folder.write_refusal(refusal)
    record_refusal(folder, state_dir, refusal)
    folder.remove_canary()
    _logger.error("refused version %d of %s: %s", canary.release.version, folder.name, reason)
