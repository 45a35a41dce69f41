"""Loopback ports: whether one is free, and a free one where the preferred is taken."""

import socket
import time
from collections.abc import Iterable

HOST = "127.0.0.1"


def is_free(port: int) -> bool:
    """Whether a server could listen on ``port`` of 127.0.0.1 now."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError:
            return False
        return True


def await_free(port: int, timeout: float) -> bool:
    """Wait until ``port`` is free, at most ``timeout`` s; returns whether it is."""
    deadline = time.monotonic() + timeout
    while not (free := is_free(port)) and time.monotonic() < deadline:
        time.sleep(0.02)
    return free


def choose(wanted: Iterable[int], taken: Iterable[int] = ()) -> int:
    """The first free port of ``wanted`` not in ``taken``.

    Else, and for 0, one that the system picks.
    """
    refused = set(taken)
    for port in wanted:
        if port and port not in refused and is_free(port):
            return port
    # The probes stay open until the end, so that the system does not offer a refused port twice.
    probes: list[socket.socket] = []
    try:
        while True:
            probe = socket.socket()
            probes.append(probe)
            probe.bind((HOST, 0))
            port = probe.getsockname()[1]
            if port not in refused:
                return port
    finally:
        for probe in probes:
            probe.close()
