"""What lies in a model's serving folder, as data."""

import re
import uuid
from dataclasses import dataclass
from typing import Any

from modelyard.params.serve import Canary

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")
DIGEST = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True)
class Release:
    """A version with its package's digest; the same number with another digest is another."""

    version: int
    digest: str

    @property
    def path(self) -> str:
        """Where its package lies below the model's folder."""
        return f"versions/{self.version}-{self.digest[:12]}"


@dataclass(frozen=True)
class Pointer:
    """``live.json``: what shall serve. ``sequence`` grows with each change; acks refer to it.

    ``reason`` is why it may, where a canary has said so.
    """

    release: Release
    sequence: int
    pinned: bool
    reason: str = ""

    def tree(self, name: str) -> dict[str, Any]:
        """The file's content."""
        return {
            "name": name,
            "version": self.release.version,
            "digest": self.release.digest,
            "path": self.release.path,
            "sequence": self.sequence,
            "pinned": self.pinned,
            "reason": self.reason,
        }

    @classmethod
    def parse(cls, tree: dict[str, Any]) -> "Pointer":
        """From the file's content."""
        release = Release(tree["version"], tree["digest"])
        return cls(release, tree["sequence"], tree["pinned"], tree.get("reason", ""))


@dataclass(frozen=True)
class CanaryPointer:
    """``canary.json``: what answers some of the callers, and the terms that it began with.

    ``since`` is when every worker had loaded it and it began, in seconds since 1970; None before.
    ``id`` names its entries in the audit log. Its ``sequence`` is of the pointer's series.
    """

    id: str
    release: Release
    sequence: int
    terms: Canary
    since: float | None = None

    def tree(self, name: str) -> dict[str, Any]:
        """The file's content."""
        return {
            "name": name,
            "version": self.release.version,
            "digest": self.release.digest,
            "path": self.release.path,
            "sequence": self.sequence,
            "since": self.since,
            "percent": self.terms.percent,
            "id": self.id,
            "terms": self.terms.model_dump(),
        }

    @classmethod
    def parse(cls, tree: dict[str, Any]) -> "CanaryPointer":
        """From the file's content."""
        release = Release(tree["version"], tree["digest"])
        terms = Canary.model_validate(tree["terms"])
        return cls(tree["id"], release, tree["sequence"], terms, tree["since"])


@dataclass(frozen=True)
class Event:
    """An entry of ``history.json``: a release that every worker served.

    ``id`` names the entry in the audit log. ``rolled_back`` says that it was left by a rollback,
    which therefore is not the way back. ``published`` says that the registry's tags tell of it.
    ``person`` is who rolled back.
    """

    id: str
    release: Release
    came_from: int | None
    by: str
    reason: str
    load_ms: float
    rolled_back: bool = False
    published: bool = False
    person: str = "unknown"

    def tree(self) -> dict[str, Any]:
        """As JSON."""
        return {**vars(self), "release": vars(self.release)}

    @classmethod
    def parse(cls, tree: dict[str, Any]) -> "Event":
        """From JSON."""
        return cls(**{**tree, "release": Release(**tree["release"])})


@dataclass(frozen=True)
class Pin:
    """``pin.json``: a rollback's wish; it outranks ``champion`` until the registry knows of it."""

    release: Release
    at: str
    reason: str
    person: str = "unknown"

    def tree(self) -> dict[str, Any]:
        """The file's content."""
        said = {"at": self.at, "reason": self.reason, "person": self.person}
        return {**vars(self.release), **said}

    @classmethod
    def parse(cls, tree: dict[str, Any]) -> "Pin":
        """From the file's content."""
        release = Release(tree["version"], tree["digest"])
        return cls(release, tree["at"], tree["reason"], tree.get("person", "unknown"))


@dataclass(frozen=True)
class Refusal:
    """``refused.json``: the champion that may not serve; ``tagged`` once its tag says so, too.

    The release's digest is empty where the version has none. ``id`` names the entry in the audit
    log.
    """

    id: str
    release: Release
    reason: str
    tagged: bool = False

    @classmethod
    def new(cls, release: Release, reason: str) -> "Refusal":
        """A refusal that nobody knows of yet."""
        return cls(uuid.uuid4().hex, release, reason)

    def tree(self) -> dict[str, Any]:
        """The file's content."""
        return {**vars(self), "release": vars(self.release)}

    @classmethod
    def parse(cls, tree: dict[str, Any]) -> "Refusal":
        """From the file's content."""
        return cls(**{**tree, "release": Release(**tree["release"])})


@dataclass(frozen=True)
class Answer:
    """What the live workers said about a pointer, taken together.

    ``state`` is ``waiting`` until all have answered, then ``live``, or ``refused`` as soon as one
    refuses.
    """

    state: str
    workers: frozenset[str]
    reason: str = ""
    load_ms: float = 0.0


@dataclass(frozen=True)
class State:
    """A model's folder at a moment."""

    pointer: Pointer | None
    history: tuple[Event, ...]
    pin: Pin | None
    refusal: Refusal | None
    canary: CanaryPointer | None = None
    shadow: Release | None = None

    @property
    def confirmed(self) -> Event | None:
        """What serves, as far as known: the last release that all workers acknowledged."""
        return self.history[-1] if self.history else None

    @property
    def previous(self) -> Event | None:
        """The last release before the confirmed one."""
        for event in reversed(self.history):
            if event.release != self.history[-1].release:
                return event
        return None

    @property
    def is_settled(self) -> bool:
        """Whether the pointer names what is confirmed (or there is neither)."""
        if self.pointer is None or self.confirmed is None:
            return self.pointer is None and self.confirmed is None
        return self.pointer.release == self.confirmed.release
