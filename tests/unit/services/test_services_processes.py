"""Processes: recognised by more than their pid, ended with all their children, and no others."""

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from modelyard.services import processes
from modelyard.services.records import Entry

Start = Callable[..., Entry]
SLEEP = "import time; time.sleep(600)"


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Spawn ``python -c CODE``; it is ended at the end of the test."""
    started: list[Entry] = []

    def spawn(code: str = SLEEP) -> Entry:
        entry = Entry(os.urandom(8).hex(), (sys.executable, "-c", code), tmp_path / "a.log")
        process = processes.spawn(entry, {"GIVEN": "yes"}, tmp_path)
        started.append(replace(entry, pid=process.pid, create_time=process.create_time()))
        return started[-1]

    yield spawn
    processes.stop(started, timeout=0.2)


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def read(path: Path) -> str:
    return path.read_text() if path.exists() else ""


def test_a_service_is_detached_and_writes_a_private_log(start: Start, tmp_path: Path) -> None:
    entry = start(
        "import os, sys, time; print(os.environ['GIVEN'], os.getsid(0) == os.getpid(),"
        f"repr(sys.stdin.read()), os.getcwd() == {str(tmp_path)!r}); {SLEEP}"
    )

    until(lambda: read(entry.log) == "yes True '' True\n")
    assert entry.log.stat().st_mode & 0o777 == 0o600


def test_a_process_is_found_until_it_ends(start: Start) -> None:
    entry = start()
    process = processes.find(entry)
    assert process is not None
    assert process.pid == entry.pid

    process.kill()

    until(lambda: processes.find(entry) is None)


def test_another_process_with_the_recorded_pid_is_left_alone(start: Start, tmp_path: Path) -> None:
    other = subprocess.Popen([sys.executable, "-c", SLEEP])
    try:
        stale = Entry("a token it lacks", (), tmp_path / "b.log", pid=other.pid, create_time=1.0)

        assert processes.find(stale) is None
        processes.stop([stale], timeout=0.2)

        assert other.poll() is None
    finally:
        other.kill()
        other.wait()


def test_a_clock_that_was_set_does_not_hide_a_service(start: Start) -> None:
    entry = start()
    assert entry.create_time is not None
    shifted = replace(entry, create_time=entry.create_time - 3600)

    until(lambda: processes.find(shifted) is not None)


def test_a_process_without_a_noted_pid_is_found_by_its_token(start: Start) -> None:
    entry = start()

    until(lambda: bool(processes.with_token([entry.token])[entry.token]))
    assert [p.pid for p in processes.with_token([entry.token])[entry.token]] == [entry.pid]
    assert processes.with_token(["nobody's"]) == {"nobody's": []}


def test_stop_ends_children_in_other_groups_and_those_who_refuse(
    start: Start, tmp_path: Path
) -> None:
    entry = start(
        "import signal, subprocess, sys, time;"
        "signal.signal(signal.SIGTERM, signal.SIG_IGN);"
        f"c = subprocess.Popen([sys.executable, '-c', {SLEEP!r}], start_new_session=True);"
        f"open({str(tmp_path / 'child')!r}, 'w').write(str(c.pid) + '.'); {SLEEP}"
    )
    until(lambda: read(tmp_path / "child").endswith("."))
    child = int(read(tmp_path / "child")[:-1])

    processes.stop([entry], timeout=0.3)

    assert processes.find(entry) is None
    until(lambda: not psutil.pid_exists(child) or psutil.Process(child).status() == "zombie")


def test_stop_ends_the_children_of_a_service_that_is_gone(start: Start, tmp_path: Path) -> None:
    entry = start(
        "import subprocess, sys;"
        f"c = subprocess.Popen([sys.executable, '-c', {SLEEP!r}]);"
        f"open({str(tmp_path / 'child')!r}, 'w').write(str(c.pid) + '.')"
    )
    until(lambda: read(tmp_path / "child").endswith(".") and processes.find(entry) is None)
    child = psutil.Process(int(read(tmp_path / "child")[:-1]))
    until(lambda: bool(processes.with_token([entry.token])[entry.token]))

    processes.stop([entry], timeout=2)

    assert not child.is_running() or child.status() == "zombie"


def test_it_is_seen_who_listens(start: Start) -> None:
    with subprocess.Popen(
        [
            sys.executable,
            "-c",
            f"import socket; s = socket.create_server(('127.0.0.1', 0));"
            f"print(s.getsockname()[1], flush=True); {SLEEP}",
        ],
        stdout=subprocess.PIPE,
        text=True,
    ) as other:
        try:
            assert other.stdout is not None
            port = int(other.stdout.readline())
            idle = processes.find(start())
            assert idle is not None

            assert processes.listens(psutil.Process(other.pid), port)
            assert processes.listens(psutil.Process(), port)  # a child of this process does
            assert not processes.listens(idle, port)
        finally:
            other.kill()


def test_the_tail_of_a_log(tmp_path: Path) -> None:
    log = tmp_path / "a.log"
    assert processes.tail(log) == ""
    log.write_bytes(b"".join(b"line %d \xff\n" % number for number in range(5000)))

    assert processes.tail(log, lines=2) == "line 4998 \ufffd\nline 4999 \ufffd"
