"""The audit log: a JSON line for each change of what serves, each refusal, each reconciliation."""

import fcntl
import json
import os
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

FILE = "audit.jsonl"
_TAIL = 256 * 1024


@dataclass(frozen=True)
class Record:
    """A line of the log.

    ``source`` and ``target`` are versions (``from`` and ``to`` in the file), ``path`` is the
    package's below the model's folder, ``by`` says which wish it was (champion, rollback),
    ``outcome`` is live, refused or reconciled.
    """

    id: str
    name: str
    source: int | None
    target: int
    path: str
    by: str
    outcome: str
    reason: str
    digest: str
    load_ms: float


def append(state: Path, record: Record) -> None:
    """Append to the log in the state folder, unless the record is there: writers may repeat."""
    state.mkdir(parents=True, exist_ok=True)
    tree = asdict(record)
    tree["from"], tree["to"] = tree.pop("source"), tree.pop("target")
    tree["at"] = now()
    line = json.dumps(tree, sort_keys=True).encode() + b"\n"
    with (state / FILE).open("a+b") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        size = file.seek(0, os.SEEK_END)
        file.seek(max(0, size - _TAIL))
        tail = file.read()
        if f'"id": "{record.id}"'.encode() in tail:
            return
        # A line that a kill cut short must not swallow this one.
        file.write(line if not tail or tail.endswith(b"\n") else b"\n" + line)
        file.flush()
        os.fsync(file.fileno())


def now() -> str:
    """The time in UTC, ISO 8601."""
    return datetime.now(UTC).isoformat(timespec="milliseconds")
