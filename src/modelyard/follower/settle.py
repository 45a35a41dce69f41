"""The part of following that needs no registry: from acknowledgements to what is confirmed.

It looks at the folder alone, so it goes on while MLflow is away, and after a kill wherever that
struck.
"""

import logging
from pathlib import Path

from modelyard.follower import audit
from modelyard.follower.canary import settle_canary
from modelyard.follower.folder import ModelFolder
from modelyard.follower.patience import Patience
from modelyard.follower.records import Answer, Pointer, Refusal, State
from modelyard.follower.trail import record_event, record_refusal

_logger = logging.getLogger(__name__)


def settle(folder: ModelFolder, state_dir: Path, patience: Patience) -> State:
    """Take the next step that the folder's files call for; to be called under its lock.

    - A canary: see ``settle_canary``.
    - A pin that the pointer does not follow (its writer was killed): point to it.
    - A pointer that names what is refused (likewise): back to what is confirmed.
    - A pointer that all live workers acknowledged: confirmed. One that a worker refused or that
    took too long: refused.

    Returns:
        The folder's state after it.
    """
    settle_canary(folder, state_dir, patience)
    state = folder.read()
    pointer, pin, refusal = state.pointer, state.pin, state.refusal
    if pin is not None and (pointer is None or pointer.release != pin.release):
        pointer = folder.point(pin.release, pinned=True)
    state = folder.read()
    if pointer is None or state.is_settled:
        return state
    if refusal is not None and refusal.release == pointer.release and pin is None:
        folder.revert()
        return folder.read()
    answer = folder.answer(pointer)
    if answer.state == "live":
        confirm(folder, state_dir, pointer, answer)
    elif answer.state == "refused":
        reject(folder, state_dir, pointer, answer.reason)
    elif patience.is_over(folder.name, pointer.sequence, answer.workers):
        reason = f"not every worker had loaded it within {patience.seconds:g} s"
        reject(folder, state_dir, pointer, reason)
    return folder.read()


def confirm(folder: ModelFolder, state_dir: Path, pointer: Pointer, answer: Answer) -> None:
    """Note what all workers serve now."""
    event = folder.confirm(pointer, answer.load_ms)
    record_event(folder, state_dir, event)
    canary = folder.read().canary
    if canary is not None and canary.release == pointer.release:
        folder.remove_canary()
    _logger.info("version %d of %s is live", pointer.release.version, folder.name)


def reject(folder: ModelFolder, state_dir: Path, pointer: Pointer, reason: str) -> None:
    """Note that a release may not serve, and point back to what is confirmed."""
    refusal = Refusal.new(pointer.release, reason)
    if pointer.pinned:
        pin = folder.read().pin
        wish = audit.Wish("rollback", pin.person if pin else audit.UNKNOWN)
        record_refusal(folder, state_dir, refusal, wish)
        folder.unpin()
    else:
        # Before the pointer, so that a follower that starts again does not try this champion again.
        folder.write_refusal(refusal)
        record_refusal(folder, state_dir, refusal)
    folder.revert()
    _logger.error("refused version %d of %s: %s", pointer.release.version, folder.name, reason)
