"""The audit trail: whatever a kill cuts is named and gone on from, and no tampering passes."""

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from modelyard.follower import audit
from modelyard.follower.audit import Record, Wish
from modelyard.follower.chain import append, head_path, read_head
from modelyard.follower.chain_check import ChainReport, check_chain

NUM = 7


def write(path: Path, num: int, first: int = 0) -> None:
    for number in range(first, first + num):
        assert append(path, {"id": f"entry-{number}", "name": "m", "reason": f"no. {number} ü"})


def ids(report: ChainReport) -> list[str]:
    return [entry["id"] for entry in report.entries]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "audit.jsonl"
    write(path, NUM)
    return path


@pytest.fixture(scope="module")
def sound() -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "audit.jsonl"
        write(path, NUM)
        return path.read_bytes()


def test_a_chain_that_nobody_touched_holds(path: Path) -> None:
    report = check_chain(path)
    assert (report.problems, report.remarks) == ((), ())
    assert [entry["seq"] for entry in report.entries] == list(range(1, NUM + 1))
    assert report.head == read_head(path)
    assert not append(path, {"id": "entry-3"}), "it is there"
    assert len(check_chain(path).entries) == NUM
    assert check_chain(path.with_name("none.jsonl")).holds


def _alter(lines: list[bytes]) -> None:
    lines[3] = lines[3].replace(b"no. 3", b"no. 4")


def _remove(lines: list[bytes]) -> None:
    del lines[3]


def _remove_last_two(lines: list[bytes]) -> None:
    del lines[-2:]


def _swap(lines: list[bytes]) -> None:
    lines[3], lines[4] = lines[4], lines[3]


def _repeat(lines: list[bytes]) -> None:
    lines.append(lines[3])


def _respell(lines: list[bytes]) -> None:
    lines[3] = json.dumps(json.loads(lines[3])).encode()


def _break(lines: list[bytes]) -> None:
    lines[3] = lines[3][:20]


@pytest.mark.parametrize(
    ("tamper", "said"),
    [
        (_alter, ["line 4 (entry 4) is altered"]),
        (_respell, ["line 4 (entry 4) is altered"]),
        (_break, ["line 4 is no entry: altered or added"]),
        (_remove, ["entry 4 is missing before line 4"]),
        (_remove_last_two, ["entries 6 to 7 are missing at the end of audit.jsonl"]),
        (
            _swap,
            [
                "entry 4 is missing before line 4",
                "line 5 (entry 4) stands after entry 5: moved or repeated",
            ],
        ),
        (_repeat, ["line 8 (entry 4) stands after entry 7: moved or repeated"]),
    ],
)
def test_what_was_done_to_which_line_is_said(path: Path, tamper, said: list[str]) -> None:  # noqa: ANN001
    lines = path.read_bytes().splitlines()
    tamper(lines)
    path.write_bytes(b"\n".join(lines) + b"\n")
    assert list(check_chain(path).problems) == said
    assert append(path, {"id": "later"})
    report = check_chain(path)
    assert set(said) - {"entries 6 to 7 are missing at the end of audit.jsonl"} <= set(
        report.problems
    ), "what comes later does not heal it"
    assert not report.holds
    assert ids(report)[-1] == "later"


def test_a_forged_entry_with_a_hash_of_its_own_does_not_fit(path: Path) -> None:
    """Whoever knows how hashes are made still breaks the next line."""
    other = path.with_name("other.jsonl")
    write(other, 3)
    append(other, {"id": "entry-3", "name": "m", "reason": "all is well"})
    lines = path.read_bytes().splitlines(keepends=True)
    lines[3] = other.read_bytes().splitlines(keepends=True)[3]
    path.write_bytes(b"".join(lines))
    assert list(check_chain(path).problems) == ["line 5 (entry 5) does not follow entry 4"]
    lines[3:] = lines[3:4]
    path.write_bytes(b"".join(lines))
    assert not check_chain(path).holds


@pytest.mark.parametrize("head", [None, b"{", b'{"hash": "", "seq": 99}'])
def test_a_head_that_is_gone_or_another_is_found(path: Path, head: bytes | None) -> None:
    head_path(path).unlink()
    if head:
        head_path(path).write_bytes(head)
    assert not check_chain(path).holds


@settings(max_examples=300, deadline=None)
@given(data=st.data())
def test_no_single_tampering_passes(sound: bytes, data: st.DataObject) -> None:
    """A byte changed, added or taken away anywhere; a line removed, repeated or moved."""
    lines = sound.splitlines(keepends=True)
    at = data.draw(st.integers(0, len(lines) - 1))
    to = data.draw(st.integers(0, len(lines) - 1))
    place = data.draw(st.integers(0, len(sound) - 1))
    byte = bytes([data.draw(st.integers(0, 255))])
    moved = lines[:at] + lines[at + 1 :]
    moved.insert(to, lines[at])
    tampered = data.draw(
        st.sampled_from(
            [
                sound[:place] + byte + sound[place + 1 :],
                sound[:place] + byte + sound[place:],
                sound[:place] + sound[place + 1 :],
                sound[:place],
                b"".join(lines[:at] + lines[at + 1 :]),
                b"".join([*lines[:to], lines[at], *lines[to:]]),
                b"".join(lines[: at + 1]) + byte + b"\n" + b"".join(lines[at + 1 :]),
                b"".join(moved),
            ]
        )
    )
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "audit.jsonl"
        path.write_bytes(tampered)
        last = json.loads(lines[-1])
        head_path(path).write_text(json.dumps({"seq": last["seq"], "hash": last["hash"]}))
        report = check_chain(path)
    if tampered == sound:
        assert (report.problems, report.remarks) == ((), ())
    else:
        assert report.problems, tampered


def test_a_kill_at_any_byte_of_a_write_is_named_and_gone_on_from(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The line is cut at each of its bytes; or it is whole and the head does not know of it yet."""
    monkeypatch.setattr(os, "fsync", lambda _: None)
    before, head = path.read_bytes(), head_path(path).read_bytes()
    write(path, 1, NUM)
    after = path.read_bytes()
    for size in range(len(before), len(after) + 1):
        killed = tmp_path / "killed.jsonl"
        killed.write_bytes(after[:size])
        head_path(killed).write_bytes(head)
        report = check_chain(killed)
        assert report.holds
        is_cut = len(before) < size < len(after)
        assert (
            list(report.remarks) == [f"line {NUM + 1} is cut short: its writer was killed"] * is_cut
        )
        was_whole = size >= len(after) - 1
        fields = {"id": f"entry-{NUM}", "name": "m", "reason": "once more"}
        assert append(killed, fields) is not was_whole
        report = check_chain(killed)
        assert report.holds, report.problems
        assert ids(report) == [f"entry-{number}" for number in range(NUM + 1)]
        if is_cut and not was_whole:
            assert report.remarks == (
                f"line {NUM + 1} was cut short by a kill, as entry {NUM + 1} says",
            )
        write(killed, 1, NUM + 1)
        assert check_chain(killed).holds
        if is_cut and not was_whole:
            content = killed.read_bytes()
            killed.write_bytes(content.replace(after[len(before) : size] + b"\n", b"", 1))
            assert "a cut line" in check_chain(killed).problems[0]


def test_a_first_line_that_was_cut_is_gone_on_from(tmp_path: Path) -> None:
    path = tmp_path / "audit.jsonl"
    path.write_bytes(b'{"at":"2026')
    assert check_chain(path).remarks == ("line 1 is cut short: its writer was killed",)
    write(path, 2)
    report = check_chain(path)
    assert report.holds
    assert report.remarks == ("line 1 was cut short by a kill, as entry 1 says",)


def test_lines_from_before_the_chain_are_bound_by_its_first_entry(tmp_path: Path) -> None:
    path = tmp_path / "audit.jsonl"
    path.write_bytes(b'{"id": "old", "to": 1}\n{"id": "old-2", "to": 2}\n')
    assert check_chain(path).remarks == ("2 lines are from before there was a chain",)
    write(path, 2)
    report = check_chain(path)
    assert (report.holds, ids(report)) == (True, ["entry-0", "entry-1"])
    path.write_bytes(path.read_bytes().replace(b'"to": 1', b'"to": 3'))
    assert check_chain(path).problems == ("what stands before line 3 (entry 1) is altered",)


WRITER = """
import sys
from pathlib import Path
from modelyard.follower.chain import append
path, name = Path(sys.argv[1]), sys.argv[2]
for number in range(int(sys.argv[3])):
    append(path, {"id": f"{name}-{number}", "reason": "x" * 500})
"""


def start(path: Path, name: str, num: int) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-c", WRITER, str(path), name, str(num)])


def test_writers_of_several_processes_make_one_chain(tmp_path: Path) -> None:
    path = tmp_path / "audit.jsonl"
    writers = [start(path, name, 30) for name in "abc"]
    assert [writer.wait(60) for writer in writers] == [0, 0, 0]
    report = check_chain(path)
    assert report.problems == ()
    assert len(report.entries) == 90
    for name in "abc":
        own = [word for word in ids(report) if word.startswith(name)]
        assert own == [f"{name}-{number}" for number in range(30)]


def test_killed_writers_leave_a_chain(tmp_path: Path) -> None:
    path, copy = tmp_path / "audit.jsonl", tmp_path / "copy" / "audit.jsonl"
    copy.parent.mkdir()
    for turn in range(4):
        before = len(check_chain(path).entries)
        with start(path, f"w{turn}", 100_000) as writer:
            deadline = time.monotonic() + 30
            while len(check_chain(path).entries) < before + 3 + turn:
                assert time.monotonic() < deadline
            writer.send_signal(signal.SIGKILL)
        for file in (path, head_path(path)):
            shutil.copy(file, copy.with_suffix(file.suffix))
        assert check_chain(copy).problems == ()
        append(copy, {"id": "after the kill"})
        assert check_chain(copy).problems == ()


# ---- what is in it


def record(outcome: str, version: int = 2, path: str = "promote", **changes: str) -> Record:
    values = {"id": audit.new_id(), "by": "ada", "verdict": "none", "reason": "", "name": "m"}
    return Record(
        source=1,
        target=version,
        path=path,  # pyright: ignore[reportArgumentType]
        outcome=outcome,  # pyright: ignore[reportArgumentType]
        digest="d" * 64,
        **values | changes,
    )


@pytest.mark.parametrize(
    ("entries", "found"),
    [
        ([], Wish()),
        ([record("wished")], Wish("promote", "ada")),
        ([record("wished"), record("wished", name="other")], Wish("promote", "ada")),
        ([record("wished"), record("live")], Wish()),
        ([record("wished"), record("failed")], Wish()),
        ([record("wished"), record("wished", version=3)], Wish()),
        ([record("wished"), record("live", version=1, path="alias")], Wish("promote", "ada")),
        ([record("wished"), record("live", version=1, path="rollback")], Wish()),
        ([record("wished", path="approval", by="Eve")], Wish("approval", "Eve")),
    ],
)
def test_a_wish_counts_until_it_is_answered(
    tmp_path: Path, entries: list[Record], found: Wish
) -> None:
    for entry in entries:
        audit.append(tmp_path, entry)
    assert audit.find_wish(tmp_path, "m", 2) == found


def test_who_gives_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOGNAME", "ada")
    assert audit.person() == "ada"
    monkeypatch.setenv("PREFECT__FLOW_RUN_ID", "1")
    assert audit.person() == "unknown"
    monkeypatch.setenv("MLFLOW_TRACKING_USERNAME", "bea")
    assert audit.person() == "bea"
