"""The part of following that needs no registry: from acknowledgements to what is confirmed.

It looks at the folder alone, so it goes on while MLflow is away, and after a kill wherever that
struck.
"""

import logging
import time
from dataclasses import dataclass, field
from pathlib import Path

from modelyard.follower import audit
from modelyard.follower.folder import ModelFolder
from modelyard.follower.records import Answer, Event, Pin, Pointer, Refusal, State

_logger = logging.getLogger(__name__)

ACK_SECONDS = 10.0


@dataclass
class Patience:
    """How long the workers have been asked to load a version; anew when one comes or goes."""

    seconds: float = ACK_SECONDS
    _since: dict[str, tuple[int, frozenset[str], float]] = field(default_factory=dict)

    def is_over(self, name: str, sequence: int, workers: frozenset[str]) -> bool:
        """Whether these workers have had the time; without workers there is no hurry."""
        asked = self._since.get(name)
        if asked is None or asked[:2] != (sequence, workers):
            self._since[name] = (sequence, workers, time.monotonic())
            return False
        return bool(workers) and time.monotonic() - asked[2] > self.seconds


def settle(folder: ModelFolder, state_dir: Path, patience: Patience) -> State:
    """Take the next step that the folder's files call for; to be called under its lock.

    - A pin that the pointer does not follow (its writer was killed): point to it.
    - A pointer that names what is refused (likewise): back to what is confirmed.
    - A pointer that all live workers acknowledged: confirmed. One that a worker refused or that
    took too long: refused.

    Returns:
        The folder's state after it.
    """
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


def record_event(folder: ModelFolder, state_dir: Path, event: Event) -> None:
    """Write an entry of the history to the audit trail."""
    release = event.release
    if event.by == "rollback":
        wish = audit.Wish("rollback", event.person)
    else:
        wish = audit.find_wish(state_dir, folder.name, release.version)
    record = audit.Record(
        id=event.id,
        name=folder.name,
        source=event.came_from,
        target=release.version,
        path=wish.path,
        by=wish.by,
        verdict=folder.verdict(release),
        outcome="live",
        reason=event.reason,
        digest=release.digest,
        load_ms=event.load_ms,
    )
    audit.append(state_dir, record)


def record_reconciled(folder: ModelFolder, state_dir: Path, pin: Pin, champion: int | None) -> None:
    """Write to the audit trail that the registry follows a rollback now."""
    record = audit.Record(
        id=f"{pin.release.digest[:12]}@{pin.at}",
        name=folder.name,
        source=champion,
        target=pin.release.version,
        path="rollback",
        by=pin.person,
        verdict=folder.verdict(pin.release),
        outcome="reconciled",
        reason=pin.reason,
        digest=pin.release.digest,
    )
    audit.append(state_dir, record)


def record_refusal(
    folder: ModelFolder, state_dir: Path, refusal: Refusal, wish: audit.Wish | None = None
) -> None:
    """Write a refusal to the audit trail; without a ``wish`` it is the one that asked for it."""
    confirmed, release = folder.read().confirmed, refusal.release
    wish = wish or audit.find_wish(state_dir, folder.name, release.version)
    record = audit.Record(
        id=refusal.id,
        name=folder.name,
        source=confirmed.release.version if confirmed else None,
        target=release.version,
        path=wish.path,
        by=wish.by,
        verdict=folder.verdict(release),
        outcome="refused",
        reason=refusal.reason,
        digest=release.digest,
    )
    audit.append(state_dir, record)
