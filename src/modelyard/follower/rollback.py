"""Rollback: back to what was live before, by the serving folder alone, with MLflow stopped or not.

The wish is journaled in ``pin.json`` first. If this process is killed after that, the follower
carries it out; when MLflow is there, the follower moves ``champion``, ``live`` and ``previous``
accordingly and takes the pin away.
"""

import time
from dataclasses import dataclass
from pathlib import Path

from modelyard.errors import PackageError, WorkspaceError
from modelyard.follower import audit
from modelyard.follower.canary import end_by_pin
from modelyard.follower.folder import ModelFolder
from modelyard.follower.patience import ACK_SECONDS
from modelyard.follower.records import Answer, Pin, Pointer, Release, State
from modelyard.follower.settle import confirm, reject

_LOCK_SECONDS = 15.0
_POLL_SECONDS = 0.02


@dataclass(frozen=True)
class RollbackResult:
    """What a rollback did: ``num_workers`` serve ``to_version`` now; 0 where no server runs.

    Attributes:
        name: The model.
        from_version: What served before, be it as a canary.
        to_version: What serves now, or will when a server starts.
        digest: That of the package of ``to_version``.
        num_workers: How many server processes have acknowledged.
        load_ms: Milliseconds that the slowest needed to load it.
    """

    name: str
    from_version: int
    to_version: int
    digest: str
    num_workers: int
    load_ms: float


def rollback(folder: Path, name: str, reason: str, state: Path) -> RollbackResult:
    """Serve the version that was live before the present one; MLflow is not needed.

    Versions that were rolled back from are passed over, so that a second rollback goes further
    back.

    Args:
        folder: The serving folder.
        name: The registered model.
        reason: Why, for the audit log.
        state: The state folder, which holds the audit log.

    Raises:
        WorkspaceError: there is no version to go back to, or the folder's lock is held too long.
        PackageError: a worker refuses the earlier version or does not answer; the present one
            serves on.
    """
    model = ModelFolder(folder, name)
    if not model.path.is_dir():
        raise WorkspaceError(
            f"no model {name} has been live in {folder}", "See `modelyard status`."
        )
    deadline = time.monotonic() + _LOCK_SECONDS
    while True:
        with model.lock() as held:
            if held:
                return _roll_back(model, reason, state)
        if time.monotonic() > deadline:
            raise WorkspaceError(
                f"another process is changing {name} for {_LOCK_SECONDS:g} s",
                "Try again; if it stays, restart the follower with `modelyard down` and `up`.",
            )
        time.sleep(_POLL_SECONDS)


def _roll_back(model: ModelFolder, reason: str, state_dir: Path) -> RollbackResult:
    before = model.read()
    target = _choose(model, before)
    assert before.pointer is not None
    pin = Pin(target, audit.now(), reason, audit.person())
    model.write_pin(pin)
    if before.canary is not None:
        end_by_pin(model, state_dir, before.canary, pin)
    pointer = model.point(target, pinned=True)
    answer = _wait(model, pointer)
    if answer.state == "live":
        confirm(model, state_dir, pointer, answer)
    elif answer.workers:
        why = answer.reason or f"no answer within {ACK_SECONDS:g} s"
        reject(model, state_dir, pointer, why)
        raise PackageError(
            f"version {target.version} of {model.name} cannot serve again: {why}",
            f"Version {before.pointer.release.version} serves on; move `champion` to another.",
        )
    return RollbackResult(
        name=model.name,
        from_version=(before.canary or before.pointer).release.version,
        to_version=target.version,
        digest=target.digest,
        num_workers=len(answer.workers),
        load_ms=answer.load_ms,
    )


def _choose(model: ModelFolder, state: State) -> Release:
    """The release to go back to: the confirmed one where another is on its way, else its former."""
    if state.confirmed is None or state.pointer is None:
        raise WorkspaceError(f"no version of {model.name} is live", "Promote one first.")
    if (not state.is_settled or state.canary is not None) and state.pin is None:
        return state.confirmed.release
    for event in reversed(state.history):
        release = event.release
        is_candidate = release != state.confirmed.release and not event.rolled_back
        if is_candidate and (model.path / release.path).is_dir():
            return release
    raise WorkspaceError(
        f"there is no version of {model.name} to go back to before "
        f"version {state.confirmed.release.version}",
        "Move the alias `champion` to the version that you want.",
    )


def _wait(model: ModelFolder, pointer: Pointer) -> Answer:
    deadline = time.monotonic() + ACK_SECONDS
    while True:
        answer = model.answer(pointer)
        done = answer.state != "waiting" or not answer.workers
        if done or time.monotonic() > deadline:
            return answer
        time.sleep(_POLL_SECONDS)
