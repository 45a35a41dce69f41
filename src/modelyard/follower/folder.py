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
from modelyard.follower.canary_judge import Counts
from modelyard.follower.records import (
    NAME,
    Answer,
    CanaryPointer,
    Event,
    Pin,
    Pointer,
    Refusal,
    Release,
    State,
)
from modelyard.params.serve import Canary

NUM_KEPT = 5
_NUM_EVENTS = 50


class Busy(Exception):  # noqa: N818 - no error: somebody else is at work, the next tick goes on
    """Another process changes this folder right now."""


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

    @contextmanager
    def hold(self) -> Iterator[None]:
        """Hold the right to change this folder.

        Raises:
            Busy: another process has it.
        """
        with self.lock() as held:
            if not held:
                raise Busy
            yield

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
        canary, shadow = self._read("canary.json"), self._read("shadow.json")
        return State(
            Pointer.parse(pointer) if pointer else None,
            tuple(Event.parse(tree) for tree in history["events"]) if history else (),
            Pin.parse(pin) if pin else None,
            Refusal.parse(refusal) if refusal else None,
            CanaryPointer.parse(canary) if canary else None,
            Release(shadow["version"], shadow["digest"]) if shadow else None,
        )

    def point(self, release: Release, pinned: bool, reason: str = "") -> Pointer:
        """Write the live pointer."""
        pointer = Pointer(release, self._next_sequence(), pinned, reason)
        write_json(self.path / "live.json", pointer.tree(self.name))
        return pointer

    def _next_sequence(self) -> int:
        last, before = self._read("sequence.json"), self._read("live.json")
        used = (last["last"] if last else 0, before["sequence"] if before else 0)
        sequence = 1 + max(used)
        # Kept apart: the pointer may be withdrawn, and a late ack must not seem to mean a new one.
        write_json(self.path / "sequence.json", {"last": sequence})
        return sequence

    def point_canary(self, release: Release, terms: Canary) -> CanaryPointer:
        """Write ``canary.json`` for workers to load; it answers nobody before ``begin_canary``."""
        canary = CanaryPointer(uuid.uuid4().hex, release, self._next_sequence(), terms)
        write_json(self.path / "canary.json", canary.tree(self.name))
        return canary

    def begin_canary(self, canary: CanaryPointer, since: float) -> None:
        """Let the canary answer its share of the callers."""
        write_json(self.path / "canary.json", replace(canary, since=since).tree(self.name))

    def remove_canary(self) -> None:
        """Take ``canary.json`` away, and what the workers counted."""
        (self.path / "canary.json").unlink(missing_ok=True)
        shutil.rmtree(self.path / "canary", ignore_errors=True)

    def point_shadow(self, release: Release) -> None:
        """Write ``shadow.json``: what answers copies of requests, for nobody to see."""
        shadow = {"name": self.name, "path": release.path, **vars(release)}
        write_json(self.path / "shadow.json", shadow)

    def remove_shadow(self) -> None:
        """Take ``shadow.json`` away."""
        (self.path / "shadow.json").unlink(missing_ok=True)

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

    def note_wish(self, release: Release, path: str, person: str) -> None:
        """Keep by which path and whom a release was wished for in MLflow, as it told us."""
        known = self._read("wishes.json") or {}
        kept = {key: said for key, said in known.items() if (self.path / key).is_dir()}
        if (wishes := kept | {release.path: {"path": path, "by": person}}) != known:
            write_json(self.path / "wishes.json", wishes)

    def wish(self, release: Release) -> dict[str, str]:
        """What was kept (``path`` and ``by``); empty where nothing was."""
        return (self._read("wishes.json") or {}).get(release.path, {})

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
            reason=pin.reason if pin else pointer.reason,
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
        return self._take_together(pointer, self._all("acks"))

    def canary_answer(self, canary: CanaryPointer) -> Answer:
        """What the live workers have said about loading the canary; "live" means loaded."""
        return self._take_together(canary, self._all("canary"))

    def canary_counts(self, canary: CanaryPointer) -> tuple[Counts, Counts]:
        """What the live version and the canary did since it began, in all workers, dead ones too.

        Raises:
            WorkspaceError: a worker's file does not hold what it should.
        """
        live, own = Counts(), Counts()
        try:
            for report in self._all("canary"):
                if report["sequence"] == canary.sequence:
                    live += Counts.parse(report["live"])
                    own += Counts.parse(report["canary"])
        except (ValueError, KeyError, TypeError) as error:
            raise WorkspaceError(
                f"a worker's count in {self.path / 'canary'} cannot be understood: {error!r}",
                "Delete the folder; the workers write it again.",
            ) from None
        return live, own

    def _take_together(self, asked: Pointer | CanaryPointer, acks: list[dict[str, Any]]) -> Answer:
        workers = self.live_workers()
        acks = [ack for ack in acks if ack["worker"] in workers]
        acks = [ack for ack in acks if ack["sequence"] == asked.sequence]
        for ack in acks:
            if ack["state"] != "live" or ack["digest"] != asked.release.digest:
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
        keep |= {state.canary.release.path} if state.canary else set()
        keep |= {state.shadow.path} if state.shadow else set()
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

    def _all(self, folder: str) -> list[dict[str, Any]]:
        """What the workers wrote in a folder, a file each."""
        paths = self.path.glob(f"{folder}/[!.]*.json")
        trees = (self._read(f"{folder}/{path.name}") for path in paths)
        return [tree for tree in trees if tree is not None]


def list_folders(root: Path) -> list[ModelFolder]:
    """The models that have a folder in the serving folder."""
    names = sorted(path.name for path in root.glob("[!.]*") if path.is_dir())
    return [ModelFolder(root, name) for name in names if NAME.fullmatch(name)]
