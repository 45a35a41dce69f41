"""The processes themselves: start one detached, recognise it later, end it with its children."""

import contextlib
import os
import signal
import subprocess
from collections.abc import Iterable, Mapping
from pathlib import Path

import psutil

from modelyard.services.records import Entry

TOKEN = "MODELYARD_SERVICE_TOKEN"  # noqa: S105 (the name of a variable, not a secret)
CLOCK_TOLERANCE = 0.5  # s; a pid is not reused by a process of the same start time
STOP_TIMEOUT = 10.0  # s between SIGTERM and SIGKILL
_LOG_LIMIT = 10_000_000  # bytes kept of the log of former starts

_children: dict[int, subprocess.Popen[bytes]] = {}  # started by this process: to be reaped by it


def spawn(entry: Entry, env: Mapping[str, str], folder: Path) -> psutil.Process:
    """Start a service in a session of its own; its output is added to its log (mode 0600)."""
    entry.log.parent.mkdir(parents=True, exist_ok=True)
    if entry.log.exists() and entry.log.stat().st_size > _LOG_LIMIT:
        entry.log.replace(entry.log.with_suffix(".log.old"))
    descriptor = os.open(entry.log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    with os.fdopen(descriptor, "ab") as log:
        child = subprocess.Popen(
            entry.command,
            cwd=folder,
            env={**os.environ, "PYTHONUNBUFFERED": "1", **env, TOKEN: entry.token},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    _children[child.pid] = child
    return psutil.Process(child.pid)


def find(entry: Entry) -> psutil.Process | None:
    """The living process of an entry; None when it is gone, also if another has its pid."""
    if entry.pid is None:
        return None
    if entry.pid in _children:
        _children[entry.pid].poll()
    try:
        process = psutil.Process(entry.pid)
        if process.status() == psutil.STATUS_ZOMBIE:
            return None
        if abs(process.create_time() - (entry.create_time or 0)) <= CLOCK_TOLERANCE:
            return process
        # The system's clock may have been set since: then the start time differs, the token does
        # not.
        return process if process.environ().get(TOKEN) == entry.token else None
    except psutil.Error:
        return None


def with_token(tokens: Iterable[str]) -> dict[str, list[psutil.Process]]:
    """Every living process that carries one of ``tokens``, a service's children included."""
    found: dict[str, list[psutil.Process]] = {token: [] for token in tokens}
    if found:
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.Error, OSError):
                token = process.environ().get(TOKEN, "")
                if token in found and process.status() != psutil.STATUS_ZOMBIE:
                    found[token].append(process)
    return found


def listens(process: psutil.Process, port: int) -> bool:
    """Whether this process or a child listens on ``port``; True where that cannot be told."""
    try:
        return _holds(process, port) or any(
            _holds(child, port) for child in process.children(recursive=True)
        )
    except psutil.AccessDenied:
        return True
    except psutil.NoSuchProcess:
        return False


def memory(process: psutil.Process) -> float:
    """Resident memory of a process and its children, in MB (1e6 bytes)."""
    total = 0
    with contextlib.suppress(psutil.Error):
        for member in [process, *process.children(recursive=True)]:
            with contextlib.suppress(psutil.Error):
                total += member.memory_info().rss
    return total / 1e6


def stop(entries: Iterable[Entry], timeout: float = STOP_TIMEOUT) -> None:
    """End the processes of ``entries`` and their children: SIGTERM, SIGKILL after ``timeout`` s."""
    entries = list(entries)
    members: dict[int, psutil.Process] = {}
    leaders = [leader for entry in entries if (leader := find(entry))]
    for leader in leaders:
        with contextlib.suppress(psutil.Error):
            members |= {child.pid: child for child in leader.children(recursive=True)}
    for carriers in with_token(entry.token for entry in entries).values():
        members |= {process.pid: process for process in carriers}
    members |= {leader.pid: leader for leader in leaders}
    # A service leads its group (start_new_session), so that a child spawned since the look above is
    # reached too.
    groups = {leader.pid for leader in leaders if _signal_group(leader, signal.SIGTERM)}
    for process in members.values():
        with contextlib.suppress(psutil.Error, ProcessLookupError):
            if os.getpgid(process.pid) not in groups:
                process.terminate()
    _, alive = psutil.wait_procs(list(members.values()), timeout=timeout)
    for process in alive:
        _signal_group(process, signal.SIGKILL)
        with contextlib.suppress(psutil.Error):
            process.kill()
    psutil.wait_procs(alive, timeout=timeout)
    for pid in members:
        if child := _children.pop(pid, None):
            with contextlib.suppress(subprocess.TimeoutExpired):
                child.wait(timeout)


def tail(log: Path, lines: int = 20) -> str:
    """The last lines of a log, read from its end."""
    try:
        with log.open("rb") as file:
            file.seek(max(0, file.seek(0, os.SEEK_END) - 16_384))
            return "\n".join(file.read().decode(errors="replace").rstrip().splitlines()[-lines:])
    except FileNotFoundError:
        return ""


def _holds(process: psutil.Process, port: int) -> bool:
    return any(
        connection.status == psutil.CONN_LISTEN and connection.laddr.port == port
        for connection in process.net_connections(kind="tcp")
    )


def _signal_group(process: psutil.Process, number: signal.Signals) -> bool:
    """Signal the group that ``process`` leads; False when it leads none or is gone."""
    with contextlib.suppress(psutil.Error, ProcessLookupError, PermissionError):
        if process.is_running() and os.getpgid(process.pid) == process.pid:
            os.killpg(process.pid, number)
            return True
    return False
