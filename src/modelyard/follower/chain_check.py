"""Whether a chain holds: each line that was altered, removed, added or moved, by its number."""

import fcntl
import hashlib
from dataclasses import dataclass, field
from pathlib import Path

from modelyard.follower.chain import Entry, Head, head_path, is_sound, parse, read_head


@dataclass(frozen=True)
class ChainReport:
    """What a chain holds, and what is wrong with it.

    Attributes:
        entries: The sound ones, in the file's order.
        problems: One sentence for each place at which it was tampered with.
        remarks: What a kill left, which the chain accounts for.
        head: The last sound entry.
    """

    entries: tuple[Entry, ...]
    problems: tuple[str, ...]
    remarks: tuple[str, ...]
    head: Head

    @property
    def holds(self) -> bool:
        """Whether nobody tampered with it, as far as the chain can tell."""
        return not self.problems


def check_chain(path: Path) -> ChainReport:
    """Recompute every hash of a chain; a missing file is an empty chain.

    Raises:
        OSError: the file cannot be read.
    """
    try:
        with path.open("rb") as file:
            # A line that a writer is at is not to be taken for a cut one.
            fcntl.flock(file, fcntl.LOCK_SH)
            content, head = file.read(), read_head(path)
    except FileNotFoundError:
        content, head = b"", read_head(path)
    walk = _Walk(path.name)
    *lines, fragment = content.split(b"\n")
    offset = 0
    for number, line in enumerate(lines, 1):
        walk.take(number, line, content[:offset] if walk.last is None else b"")
        offset += len(line) + 1
    walk.finish(len(lines) + 1, fragment, head, head_path(path).name)
    return ChainReport(
        tuple(walk.entries), tuple(walk.problems), tuple(walk.remarks), _head(walk.last)
    )


@dataclass
class _Walk:
    """From line to line; ``num_altered`` counts those since the ``last`` sound entry."""

    file: str
    entries: list[Entry] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)
    last: Entry | None = None
    num_altered: int = 0
    strangers: list[tuple[int, bytes]] = field(default_factory=list)

    def take(self, number: int, line: bytes, before: bytes) -> None:
        entry = parse(line)
        if entry is None:
            self.strangers.append((number, line))
        elif not is_sound(line):
            self.num_altered += 1
            self.problems.append(f"line {number} (entry {entry['seq']}) is altered")
        else:
            self._explain_strangers(number, entry, before)
            self._follow(number, entry)
            self.entries.append(entry)

    def finish(self, number: int, fragment: bytes, head: Head, head_name: str) -> None:
        last = _head(self.last)
        lacks = head.seq - last.seq - self.num_altered
        if fragment and lacks <= 0:
            self.remarks.append(f"line {number} is cut short: its writer was killed")
        elif fragment:
            lacks -= 1
            self.problems.append(f"line {number} (entry {head.seq}) is altered: its end is missing")
        if last.seq or head.seq:
            lacks -= len(self.strangers)
            self._accuse_strangers()
        elif self.strangers:
            self.remarks.append(f"{len(self.strangers)} lines are from before there was a chain")
        if lacks > 0:
            first = head.seq - lacks + 1
            self.problems.append(f"{_numbers(first, head.seq)} missing at the end of {self.file}")
        elif not self.problems and head.seq == last.seq and head.hash != last.hash:
            self.problems.append(f"entry {last.seq} is another than {head_name} names")
        elif not self.problems and head.seq < last.seq - 1:
            said = f"names entry {head.seq}" if head.seq else "is missing or damaged"
            self.problems.append(f"{head_name} {said}, but {self.file} ends with entry {last.seq}")
        elif not self.problems and head.seq == last.seq - 1 and head.seq:
            known = {entry["seq"]: entry["hash"] for entry in self.entries}
            if known.get(head.seq) != head.hash:
                self.problems.append(f"entry {head.seq} is another than {head_name} names")

    def _explain_strangers(self, number: int, entry: Entry, before: bytes) -> None:
        cut, seq = list(entry.get("cut") or []), entry["seq"]
        for at, line in list(self.strangers):
            if (digest := hashlib.sha256(line).hexdigest()) in cut:
                cut.remove(digest)
                self.strangers.remove((at, line))
                self.remarks.append(f"line {at} was cut short by a kill, as entry {seq} says")
        if self.last is None and seq == 1:
            if entry["prev"] != hashlib.sha256(before).hexdigest():
                self.problems.append(f"what stands before line {number} (entry 1) is altered")
            elif self.strangers:
                self.remarks.append(f"the lines before line {number} are older than the chain")
            self.strangers.clear()
            return
        self._accuse_strangers()
        if cut:
            self.problems.append(
                f"a cut line, which entry {seq} names, is missing before line {number}"
            )

    def _accuse_strangers(self) -> None:
        self.problems += [f"line {at} is no entry: altered or added" for at, _ in self.strangers]
        self.num_altered += len(self.strangers)
        self.strangers.clear()

    def _follow(self, number: int, entry: Entry) -> None:
        before, seq = _head(self.last), entry["seq"]
        if seq <= before.seq:
            self.problems.append(
                f"line {number} (entry {seq}) stands after entry {before.seq}: moved or repeated"
            )
            return
        if (missing := seq - before.seq - 1 - self.num_altered) > 0:
            self.problems.append(f"{_numbers(seq - missing, seq - 1)} missing before line {number}")
        elif seq == before.seq + 1 > 1 and entry["prev"] != before.hash and not self.num_altered:
            self.problems.append(f"line {number} (entry {seq}) does not follow entry {before.seq}")
        self.last, self.num_altered = entry, 0


def _head(entry: Entry | None) -> Head:
    return Head(entry["seq"], entry["hash"]) if entry else Head()


def _numbers(first: int, last: int) -> str:
    return f"entry {first} is" if first == last else f"entries {first} to {last} are"
