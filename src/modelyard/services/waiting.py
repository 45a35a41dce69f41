"""Wait until services are up, and say why one is not: the end of its log, and its place."""

import time
from collections.abc import Iterable
from pathlib import Path

from modelyard.errors import ServiceUnavailable
from modelyard.services import health, ports, processes
from modelyard.services.records import Entry
from modelyard.services.service import OnEvent, Service, ServiceEvent

START_TIMEOUT = 90.0  # s
_POLL = 0.05  # s
_SILENCE = 60.0  # s without a touch of its heartbeat after which a service is not up
_SETTLE = 1.0  # s that a service without an address must live to count as up
_REMIND = 5.0  # s between two events that say what is still awaited
_TAKEN = "already in use"
"""What every server says of a port that another program has."""
_EXTERNAL_TIMEOUT = 5.0  # s for one request to a server elsewhere


class Lost(ServiceUnavailable):
    """A service ended by no fault of its own: starting it again may well help.

    Another program took the port that was chosen for it, or it had been up and was killed.
    """


def wait(
    services: Iterable[Service], timeout: float = START_TIMEOUT, on_event: OnEvent | None = None
) -> None:
    """Wait until each service is up: answers its address, touches its heartbeat, or lives on.

    Raises:
        ServiceUnavailable: One ended, did not answer within ``timeout`` s, or is external and does
            not answer now.
    """
    began = time.monotonic()
    reminded = 0.0
    left = list(services)
    while True:
        left = [service for service in left if not _is_ready(service, on_event)]
        if not left:
            return
        waited = time.monotonic() - began
        for service in left:
            if service.external or waited > timeout:
                raise _silent(service, waited)
        if waited - reminded >= _REMIND:
            reminded = waited
            for service in left:
                _tell(on_event, ServiceEvent(service.name, "waiting", "not ready yet", waited))
        time.sleep(_POLL)


def refuse_ended(services: Iterable[Service]) -> None:
    """Wait for nothing.

    Raises:
        Lost: One ended by no fault of its own.
    """
    for service in services:
        if service.entry is not None and processes.find(service.entry) is None:
            ended = _ended(service.name, service.entry, service.started)
            if isinstance(ended, Lost):
                raise ended


def is_up(entry: Entry, age: float) -> bool:
    """Whether a living process does its work: it, and not another program, answers on its port.

    Args:
        entry: Its record.
        age: Since when it lives, in s.
    """
    if entry.heartbeat is not None:
        return _beats(Path(entry.heartbeat), age)
    if entry.health is None:
        return age >= _SETTLE
    process = processes.find(entry)
    return (
        health.answers(entry.health)
        and process is not None
        and (entry.port is None or processes.listens(process, entry.port))
    )


def _beats(heartbeat: Path, age: float) -> bool:
    """Whether a process of ``age`` s gave a sign of life itself, and lately."""
    try:
        return time.time() - heartbeat.stat().st_mtime < min(age, _SILENCE)
    except FileNotFoundError:
        return False


def _is_ready(service: Service, on_event: OnEvent | None) -> bool:
    """Whether it is up, which is told. Raises when its process has ended."""
    place = f" at {service.url}" if service.url else ""
    entry = service.entry
    if entry is None:
        if service.health and not health.answers(service.health, _EXTERNAL_TIMEOUT):
            return False
        _tell(on_event, ServiceEvent(service.name, "external", f"external{place}"))
        return True
    if processes.find(entry) is None:
        raise _ended(service.name, entry, service.started)
    age = time.time() - (entry.create_time or 0)
    if not is_up(entry, age):
        return False
    kind = "ready" if service.started else "running"
    _tell(on_event, ServiceEvent(service.name, kind, f"{kind}{place}", age))
    return True


def _ended(name: str, entry: Entry, started: bool) -> ServiceUnavailable:
    told = processes.tail(entry.log)
    # Who took the port may only have tried it, or have let go of it since.
    taken = entry.port is not None and (not ports.is_free(entry.port) or _TAKEN in told.lower())
    lost = not started or taken
    when = " while starting" if started else ""
    return (Lost if lost else ServiceUnavailable)(
        f"{name} ended{when}. The end of its log:\n{told}",
        f"The whole log is in {entry.log}. Correct what it names, then run: modelyard up",
    )


def _silent(service: Service, waited: float) -> ServiceUnavailable:
    if service.entry is None:
        return ServiceUnavailable(
            f"{service.name} at {service.url} does not answer ({service.health}).",
            "Start that server, or unset its address in the environment to use the local service.",
        )
    log = service.entry.log
    return ServiceUnavailable(
        f"{service.name} did not answer at {service.health} within {waited:.0f} s. "
        f"The end of its log:\n{processes.tail(log)}",
        f"The whole log is in {log}. To start afresh: modelyard down, then modelyard up",
    )


def _tell(on_event: OnEvent | None, event: ServiceEvent) -> None:
    if on_event:
        on_event(event)
