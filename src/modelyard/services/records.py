"""services.json: what runs, written before and after each start.

An entry is written *before* its process is spawned, with a random token and no pid. The process
carries the token in its environment: whatever kills the supervisor in between, the next one finds
the process by it.
"""

import contextlib
import dataclasses
import fcntl
import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from modelyard.artifacts import write_atomic
from modelyard.errors import WorkspaceError


@dataclass(frozen=True)
class Entry:
    """A service as it was started; ``pid``, ``create_time`` (s since 1970) once it is spawned.

    Of its environment only a hash is kept: an address in it may hold a password.
    """

    token: str
    command: tuple[str, ...]
    log: Path
    port: int | None = None
    url: str | None = None
    health: str | None = None
    heartbeat: str | None = None
    env_sha256: str = ""
    pid: int | None = None
    create_time: float | None = None


def read(path: Path) -> dict[str, Entry]:
    """The recorded services by name, in the order of their start; empty where there is no record.

    Raises:
        WorkspaceError: The file is not a record.
    """
    try:
        tree = json.loads(path.read_text(encoding="utf-8"))
        return {name: _entry(fields) for name, fields in tree.items()}
    except FileNotFoundError:
        return {}
    except (ValueError, TypeError, AttributeError, KeyError) as error:
        raise WorkspaceError(
            f"{path} is not a record of services ({error}).",
            "Stop what still runs (ps aux | grep modelyard), then remove that file.",
        ) from None


def write(path: Path, entries: dict[str, Entry]) -> None:
    """Replace the record atomically, for its owner's eyes; no entries: the file is removed."""
    if not entries:
        path.unlink(missing_ok=True)
        return
    tree = {
        name: dataclasses.asdict(entry) | {"log": str(entry.log)} for name, entry in entries.items()
    }
    write_atomic(path, (json.dumps(tree, indent=2) + "\n").encode(), mode=0o600)


@contextlib.contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold the record for this process alone, at most until it ends; a second one waits."""
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(path.with_suffix(".lock"), os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _entry(fields: dict[str, Any]) -> Entry:
    values = fields | {"log": Path(fields["log"]), "command": tuple(fields["command"])}
    return Entry(**values)
