"""The server's side of the serving folder: it reads pointers and writes ``acks/``.

The follower finds out which workers live by the lock that each holds on its file in ``.workers``:
unlike a process id, a lock cannot be inherited by a stranger, and it is gone with the process
however that ends.
"""

import fcntl
import os
import re
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, ClassVar, Self

from modelyard.artifacts import read_json, write_atomic, write_json
from modelyard.errors import PackageError

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")
_DIGEST = re.compile(r"[0-9a-f]{64}")
_PATH = re.compile(r"versions/[A-Za-z0-9][A-Za-z0-9._-]*")


@dataclass(frozen=True)
class Pointer:
    """Names a version; its package lies at ``path`` beside the pointer's ``file``."""

    file: ClassVar[str]

    name: str
    version: int
    digest: str
    path: str

    @classmethod
    def read(cls, folder: Path) -> Self:
        """Read the pointer of a model's folder.

        Raises:
            PackageError: it does not hold what a pointer does, or points outside of its folder.
            FileNotFoundError: there is none.
        """
        path = folder / cls.file
        try:
            tree: Any = read_json(path)
            pointer = cls(*(tree[field.name] for field in fields(cls)))
        except (ValueError, KeyError, TypeError) as error:
            raise PackageError(f"{path} is not a {path.stem} pointer: {error!r}") from None
        if pointer.name != folder.name or not pointer.is_valid():
            raise PackageError(f"{path} is not a {path.stem} pointer of {folder.name}")
        return pointer

    def is_valid(self) -> bool:
        """Whether each field holds what it should, and the package lies inside."""
        return (
            type(self.version) is int
            and _matches(_DIGEST, self.digest)
            and _matches(_PATH, self.path)
        )


@dataclass(frozen=True)
class LivePointer(Pointer):
    """The version that shall serve."""

    file = "live.json"

    sequence: int

    def is_valid(self) -> bool:
        """See above."""
        return type(self.sequence) is int and super().is_valid()


@dataclass(frozen=True)
class CanaryPointer(Pointer):
    """The version that shall answer ``percent`` of the callers.

    It answers from ``since`` on, seconds since 1970; while that is None it is to be loaded, so that
    all workers begin together.
    """

    file = "canary.json"

    sequence: int
    percent: float
    since: float | None

    def is_valid(self) -> bool:
        """See above."""
        return (
            type(self.sequence) is int
            and isinstance(self.percent, int | float)
            and isinstance(self.since, int | float | None)
            and super().is_valid()
        )


@dataclass(frozen=True)
class ShadowPointer(Pointer):
    """The version that shall answer copies of requests, for nobody to see."""

    file = "shadow.json"


@dataclass(frozen=True)
class Ack:
    """What a worker did about a pointer; ``at`` is seconds since 1970."""

    worker: str
    pid: int
    sequence: int
    version: int
    digest: str
    state: str
    reason: str
    load_ms: float
    at: float

    def write(self, folder: Path) -> None:
        """Write the acknowledgement into a model's folder."""
        write_json(folder / "acks" / f"{self.worker}.json", asdict(self))


def list_models(folder: Path) -> list[Path]:
    """The folders of models that have a live pointer, sorted by name."""
    try:
        with os.scandir(folder) as entries:
            names = [entry.name for entry in entries if NAME.fullmatch(entry.name)]
    except FileNotFoundError:
        return []
    return [folder / name for name in sorted(names) if (folder / name / "live.json").exists()]


def register_worker(folder: Path, worker: str) -> int:
    """Write and lock this worker's file, and clear away what dead workers left.

    Returns:
        The descriptor that holds the lock.
    """
    workers = folder / ".workers"
    path = workers / worker
    write_atomic(path, f"{os.getpid()}\n".encode())
    descriptor = os.open(path, os.O_RDWR)
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    for other in workers.iterdir():
        if not other.name.startswith(".") and other.name != worker and not _is_locked(other):
            for leftover in folder.glob(f"*/acks/{other.name}.json"):
                leftover.unlink(missing_ok=True)
            other.unlink(missing_ok=True)
    return descriptor


def unregister_worker(folder: Path, worker: str, descriptor: int) -> None:
    """Take this worker's file and acknowledgements away and release its lock."""
    for path in folder.glob(f"*/acks/{worker}.json"):
        path.unlink(missing_ok=True)
    (folder / ".workers" / worker).unlink(missing_ok=True)
    os.close(descriptor)


def _is_locked(path: Path) -> bool:
    try:
        descriptor = os.open(path, os.O_RDWR)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False


def _matches(pattern: re.Pattern[str], value: Any) -> bool:
    return isinstance(value, str) and pattern.fullmatch(value) is not None
