"""An append-only file of JSON lines in which each line holds the hash of the one before.

An entry has ``seq`` (1, 2, ...), ``prev`` (the hash of the entry before) and ``hash``, sha256 over
the canonical JSON of all else in it. The file beside it, ``.head``, names the last entry, so that
lines taken from the end are missed as well. It is written after the line: a kill leaves it one
entry behind at most. ``cut`` of an entry has the sha256 of each piece that a kill left before it.
``prev`` of entry 1 is the sha256 of whatever the file held before there was a chain.

Whoever may write both files can make a new chain. So the hash of the last entry is shown, to be
kept elsewhere.
"""

import fcntl
import hashlib
import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from modelyard.artifacts import canonical, read_json, write_json

Entry = dict[str, Any]

_TAIL = 256 * 1024
_KEYS = {"seq": int, "prev": str, "hash": str}


@dataclass(frozen=True)
class Head:
    """The last entry: its number and hash; 0 and "" where there is none."""

    seq: int = 0
    hash: str = ""


@dataclass(frozen=True)
class _Tail:
    """The end of the file: whole lines, and what stands after the last newline."""

    lines: list[bytes]
    fragment: bytes
    last: Entry | None


def append(path: Path, fields: Entry) -> bool:
    """Append an entry with these fields, unless one with the same ``id`` is near the end.

    Writers of several processes wait for each other. The line is on disk when this returns. After
    a kill the next call goes on from the last whole entry and notes what was cut.

    Returns:
        Whether it was appended.

    Raises:
        OSError: the file cannot be written.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a+b") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        tail = _read_tail(file)
        if tail.fragment and is_sound(tail.fragment):
            # Only its newline was cut.
            _write(file, b"\n")
            tail = _read_tail(file)
        head, last = read_head(path), tail.last
        if last is not None and last["seq"] == head.seq + 1:
            head = _move_head(path, last)
        mark = b'"id":' + canonical(fields["id"])
        if any(mark in line for line in tail.lines):
            return False
        start = b"\n" if tail.fragment else b""
        if last is None and head.seq == 0:
            file.seek(0)
            before = hashlib.sha256(file.read() + start).hexdigest()
            entry = fields | {"seq": 1, "prev": before}
            cut = [hashlib.sha256(tail.fragment).hexdigest()] if tail.fragment else []
        else:
            known = Head(last["seq"], last["hash"]) if last else Head()
            newest = max(head, known, key=lambda item: item.seq)
            entry = fields | {"seq": newest.seq + 1, "prev": newest.hash}
            cut = _cut_pieces(tail)
        entry |= {"cut": cut} if cut else {}
        entry["hash"] = _hash(entry)
        _write(file, start + canonical(entry) + b"\n")
        _move_head(path, entry)
    return True


def read_tail(path: Path) -> list[Entry]:
    """The sound entries near the end, the oldest first; none where there is no file."""
    try:
        with path.open("rb") as file:
            lines = _read_tail(file).lines
    except FileNotFoundError:
        return []
    return [json.loads(line) for line in lines if is_sound(line)]


def read_head(path: Path) -> Head:
    """What the head beside ``path`` names; entry 0 where it is missing or makes no sense."""
    try:
        tree = read_json(head_path(path))
        return Head(int(tree["seq"]), str(tree["hash"]))
    except (OSError, ValueError, KeyError, TypeError):
        return Head()


def head_path(path: Path) -> Path:
    """The file that names the last entry."""
    return path.with_suffix(".head")


def parse(line: bytes) -> Entry | None:
    """A line as an entry, whether its hash fits or not; None where it is none."""
    try:
        entry = json.loads(line)
    except (ValueError, RecursionError):
        return None
    if not isinstance(entry, dict):
        return None
    fits = all(type(entry.get(key)) is kind for key, kind in _KEYS.items())
    return entry if fits else None


def is_sound(line: bytes) -> bool:
    """Whether a line is an entry, byte for byte as its hash says."""
    entry = parse(line)
    try:
        return entry is not None and canonical(entry) == line and _hash(entry) == entry["hash"]
    except ValueError:
        return False


def _cut_pieces(tail: _Tail) -> list[str]:
    """The sha256 of what stands after the last sound entry and is none."""
    pieces = [*tail.lines, *([tail.fragment] if tail.fragment else [])]
    sound = [at for at, line in enumerate(pieces) if is_sound(line)]
    after = pieces[sound[-1] + 1 :] if sound else pieces
    return [hashlib.sha256(piece).hexdigest() for piece in after if parse(piece) is None]


def _read_tail(file: IO[bytes]) -> _Tail:
    size = file.seek(0, os.SEEK_END)
    for start in (max(0, size - _TAIL), 0):
        file.seek(start)
        content = file.read()
        if start:
            content = content[content.find(b"\n") + 1 :]
        *lines, fragment = content.split(b"\n")
        last = next((line for line in reversed(lines) if is_sound(line)), None)
        if last is not None or start == 0:
            return _Tail(lines, fragment, parse(last) if last else None)
    raise AssertionError("unreachable: the second try begins at 0")


def _write(file: IO[bytes], content: bytes) -> None:
    file.write(content)
    file.flush()
    os.fsync(file.fileno())


def _move_head(path: Path, entry: Entry) -> Head:
    head = Head(entry["seq"], entry["hash"])
    write_json(head_path(path), {"seq": head.seq, "hash": head.hash})
    return head


def _hash(entry: Entry) -> str:
    rest = {key: value for key, value in entry.items() if key != "hash"}
    return hashlib.sha256(canonical(rest)).hexdigest()
