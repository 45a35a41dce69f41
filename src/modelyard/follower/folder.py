"""A model's serving folder, the follower's side: each write is atomic and can be gone on from.

Writes happen under the folder's lock, which rollback takes as well. The format is the server's
contract (serving.folder).
"""

import fcntl
import os
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from modelyard.artifacts import read_json, write_json
from modelyard.errors import WorkspaceError
from modelyard.follower.records import (
    NAME,
    Answer,
    Event,
    Pin,
    Pointer,
    Refusal,
    Release,
    State,
)

NUM_KEPT = 5
_NUM_EVENTS = 50


@dataclass(frozen=True)
class ModelFolder:
    """The folder of one model in the serving folder ``root``."""

    root: Path
    name: str

    def __post_init__(self) -> None:
        if not NAME.fullmatch(self.name):
            raise WorkspaceError(
                f"{self.name[:60]!r} cannot be served under this name",
                "Use letters, digits, '.', '_' and '-', the first a letter or digit.",
            )

    @property
    def path(self) -> Path:
        """The model's folder."""
        return self.root / self.name

    @contextmanager
    def lock(self) -> Iterator[bool]:
        """Hold the right to change this folder; yields whether it could be had at once."""
        self.path.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(self.path / ".lock", os.O_CREAT | os.O_RDWR, 0o644)
        try:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                yield False
            else:
                yield True
        finally:
            os.close(descriptor)

    def read(self) -> State:
        """What the files say.

        Raises:
            WorkspaceError: a file does not hold what it should; somebody has changed it.
        """
        try:
            return self._parse()
        except (ValueError, KeyError, TypeError) as error:
            raise WorkspaceError(
                f"a JSON file in {self.path} cannot be understood: {error!r}",
                "Delete the file that somebody changed there.",
            ) from None

    def _parse(self) -> State:
        pointer, pin = self._read("live.json"), self._read("pin.json")
        history, refusal = self._read("history.json"), self._read("refused.json")
        return State(
            Pointer.parse(pointer) if pointer else None,
            tuple(Event.parse(tree) for tree in history["events"]) if history else (),
            Pin.parse(pin) if pin else None,
            Refusal.parse(refusal) if refusal else None,
        )

    def point(self, release: Release, pinned: bool) -> Pointer:
        """Write the live pointer."""
        last, before = self._read("sequence.json"), self._read("live.json")
        used = (last["last"] if last else 0, before["sequence"] if before else 0)
        sequence = 1 + max(used)
        # Kept apart: the pointer may be withdrawn, and a late ack must not seem to mean a new one.
        write_json(self.path / "sequence.json", {"last": sequence})
        pointer = Pointer(release, sequence, pinned)
        write_json(self.path / "live.json", pointer.tree(self.name))
        return pointer

    def revert(self) -> None:
        """Point back to what is confirmed; without such, to nothing."""
        confirmed = self.read().confirmed
        if confirmed is None:
            (self.path / "live.json").unlink(missing_ok=True)
        else:
            self.point(confirmed.release, pinned=False)

    def unpin(self) -> None:
        """Take the pin away, and its mark in the pointer, which names what it named before."""
        pointer = self.read().pointer
        if pointer is not None and pointer.pinned:
            tree = replace(pointer, pinned=False).tree(self.name)
            write_json(self.path / "live.json", tree)
        (self.path / "pin.json").unlink(missing_ok=True)

    def write_pin(self, pin: Pin) -> None:
        """Write ``pin.json``."""
        write_json(self.path / "pin.json", pin.tree())

    def write_refusal(self, refusal: Refusal) -> None:
        """Write ``refused.json``."""
        write_json(self.path / "refused.json", refusal.tree())

    def forget_refusal(self) -> None:
        """Take ``refused.json`` away."""
        (self.path / "refused.json").unlink(missing_ok=True)

    def note_verdict(self, release: Release, said: str) -> None:
        """Keep what the verdict of a release said, beside the others that lie here."""
        known = self._read("verdicts.json") or {}
        if known.get(release.path) == said:
            return
        kept = {path: text for path, text in known.items() if (self.path / path).is_dir()}
        write_json(self.path / "verdicts.json", kept | {release.path: said})

    def verdict(self, release: Release) -> str:
        """What was kept; "none" where nothing was."""
        return (self._read("verdicts.json") or {}).get(release.path, "none")

    def confirm(self, pointer: Pointer, load_ms: float) -> Event:
        """Note that every worker serves what the pointer names."""
        state = self.read()
        before, pin = state.confirmed, state.pin
        if before is not None and before.release == pointer.release:
            return before
        event = Event(
            id=uuid.uuid4().hex,
            release=pointer.release,
            came_from=before.release.version if before else None,
            by="rollback" if pointer.pinned else "champion",
            reason=pin.reason if pin else "",
            load_ms=load_ms,
            person=pin.person if pin else "unknown",
        )
        events: list[Event] = []
        for old in state.history:
            left = pointer.pinned and before is not None and old.release == before.release
            back = old.release == pointer.release
            events.append(replace(old, rolled_back=not back and (old.rolled_back or left)))
        self.write_history((*events, event))
        self.prune()
        return event

    def write_history(self, events: tuple[Event, ...]) -> None:
        """Write ``history.json``; the oldest entries go."""
        trees = [event.tree() for event in events[-_NUM_EVENTS:]]
        write_json(self.path / "history.json", {"events": trees})

    def mark_published(self, event: Event) -> None:
        """Note that the registry tells of an entry of the history."""
        history = self.read().history
        self.write_history(
            tuple(replace(old, published=True) if old.id == event.id else old for old in history)
        )

    def answer(self, pointer: Pointer) -> Answer:
        """What the live workers have acknowledged about a pointer."""
        workers = self.live_workers()
        acks = [ack for ack in self._acks() if ack["worker"] in workers]
        acks = [ack for ack in acks if ack["sequence"] == pointer.sequence]
        for ack in acks:
            if ack["state"] != "live" or ack["digest"] != pointer.release.digest:
                reason = ack["reason"] or f"worker {ack['worker']} serves another version"
                return Answer("refused", workers, reason, ack["load_ms"])
        if not workers or len(acks) < len(workers):
            return Answer("waiting", workers)
        return Answer("live", workers, load_ms=max(ack["load_ms"] for ack in acks))

    def live_workers(self) -> frozenset[str]:
        """The ids of the server processes that run: each holds the lock on its file."""
        found: set[str] = set()
        for path in (self.root / ".workers").glob("[!.]*"):
            try:
                descriptor = os.open(path, os.O_RDWR)
            except FileNotFoundError:
                continue
            try:
                fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                found.add(path.name)
            finally:
                os.close(descriptor)
        return frozenset(found)

    def prune(self) -> None:
        """Delete packages but those pointed to and the last ``NUM_KEPT`` that were live."""
        state = self.read()
        recent = list(dict.fromkeys(event.release for event in reversed(state.history)))
        keep = {release.path for release in recent[:NUM_KEPT]}
        keep |= {state.pointer.release.path} if state.pointer else set()
        keep |= {state.pin.release.path} if state.pin else set()
        for path in (self.path / "versions").glob("[!.]*"):
            if f"versions/{path.name}" not in keep:
                # Renamed first: a package is whole or gone, whenever this is killed.
                trash = path.with_name(f".trash-{uuid.uuid4().hex}")
                path.rename(trash)
                shutil.rmtree(trash, ignore_errors=True)

    def sweep(self) -> None:
        """Delete what a killed download or deletion left."""
        for path in (self.path / "versions").glob(".*"):
            shutil.rmtree(path, ignore_errors=True)

    def _read(self, name: str) -> Any:
        try:
            return read_json(self.path / name)
        except FileNotFoundError:
            return None

    def _acks(self) -> list[dict[str, Any]]:
        acks = (self._read(f"acks/{path.name}") for path in self.path.glob("acks/[!.]*.json"))
        return [ack for ack in acks if ack is not None]


def list_folders(root: Path) -> list[ModelFolder]:
    """The models that have a folder in the serving folder."""
    names = sorted(path.name for path in root.glob("[!.]*") if path.is_dir())
    return [ModelFolder(root, name) for name in names if NAME.fullmatch(name)]
