"""What happens in a model's folder, as entries of the audit trail."""

from pathlib import Path
from typing import Literal

from modelyard.follower import audit
from modelyard.follower.folder import ModelFolder
from modelyard.follower.records import CanaryPointer, Event, Pin, Refusal, Release


def record_event(folder: ModelFolder, state_dir: Path, event: Event) -> None:
    """Write an entry of the history to the audit trail."""
    release = event.release
    if event.by == "rollback":
        wish = audit.Wish("rollback", event.person)
    else:
        wish = _wish(folder, state_dir, release)
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


def _wish(folder: ModelFolder, state_dir: Path, release: Release) -> audit.Wish:
    """The wish of ours for a release, else what MLflow told of who moved the alias to it."""
    wish = audit.find_wish(state_dir, folder.name, release.version)
    return wish if wish.path != "alias" else audit.Wish(**folder.wish(release))  # pyright: ignore[reportArgumentType]


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
    wish = wish or _wish(folder, state_dir, release)
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


def record_canary(
    folder: ModelFolder,
    state_dir: Path,
    canary: CanaryPointer,
    outcome: Literal["canary", "withdrawn"],
    reason: str,
    wish: audit.Wish | None = None,
) -> None:
    """Write that a canary began, or that it was withdrawn, to the audit trail.

    Without a ``wish`` it is the one that asked for the version.
    """
    confirmed, release = folder.read().confirmed, canary.release
    wish = wish or _wish(folder, state_dir, release)
    record = audit.Record(
        id=f"{canary.id}-{outcome}",
        name=folder.name,
        source=confirmed.release.version if confirmed else None,
        target=release.version,
        path=wish.path,
        by=wish.by,
        verdict=folder.verdict(release),
        outcome=outcome,
        reason=reason,
        digest=release.digest,
    )
    audit.append(state_dir, record)
