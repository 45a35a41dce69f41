"""Requests at a constant rate, whatever the server does about them.

A latency counts from the moment when a request should have been sent, so that a server that stalls
is charged for all who had to wait meanwhile, not for the few that were under way (Gil Tene,
"coordinated omission"). Without a rate each connection sends as soon as it has its answer.
"""

import asyncio
import re
from collections import Counter, deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from time import perf_counter
from typing import cast

_TICK_S = 0.001
_STATUS = re.compile(rb"HTTP/1\.1 (\d{3})")
_LENGTH = re.compile(rb"\r\ncontent-length: (\d+)", re.IGNORECASE)
_VERSION = re.compile(rb"\r\nx-model-version: (\d+)", re.IGNORECASE)


@dataclass
class Counts:
    """What came back.

    ``latencies`` are seconds, in the order of the answers; ``failures`` are counted by their
    reason; ``wrong`` are answers by a version that was not live at any time of the request.
    """

    latencies: list[float] = field(default_factory=list)
    failures: Counter[str] = field(default_factory=Counter)
    wrong: int = 0


class OpenLoop:
    """Callers of one server.

    Args:
        port: Of the server, on 127.0.0.1.
        request: All bytes of the request that is sent.
        may_answer: The versions that may answer now.
        num_connections: How many requests can be under way at once.
    """

    def __init__(
        self,
        port: int,
        request: bytes,
        may_answer: Callable[[], frozenset[int]],
        num_connections: int = 64,
    ) -> None:
        self.request = request
        self.may_answer = may_answer
        self.counts = Counts()
        self._port = port
        self._num_connections = num_connections
        self._idle: deque[_Caller] = deque()
        self._waiting: deque[float] = deque()
        self._under_way = 0
        self._closed_loop = False
        self._ending = False

    async def run(self, seconds: float, rate: float | None) -> float:
        """Send for some seconds at ``rate`` a second, or without it as fast as answers come.

        Returns:
            Seconds until the last answer was there.
        """
        loop = asyncio.get_running_loop()
        self._closed_loop, self._ending = rate is None, False
        for _ in range(self._num_connections - len(self._idle)):
            await loop.create_connection(lambda: _Caller(self), "127.0.0.1", self._port)
        started = perf_counter()
        if rate is None:
            for _ in range(self._num_connections):
                self._send(perf_counter())
            await asyncio.sleep(seconds)
        else:
            await self._keep(rate, started, seconds)
        self._ending = True
        while self._under_way or self._waiting:
            await asyncio.sleep(_TICK_S)
        return perf_counter() - started

    def close(self) -> None:
        """Close the connections."""
        self._ending = True
        for caller in self._idle:
            caller.close()

    async def _keep(self, rate: float, started: float, seconds: float) -> None:
        num_sent, total = 0, round(rate * seconds)
        while num_sent < total:
            due = min(total, int((perf_counter() - started) * rate))
            while num_sent < due:
                self._send(started + num_sent / rate)
                num_sent += 1
            await asyncio.sleep(_TICK_S)

    def _send(self, intended: float) -> None:
        if self._idle:
            self._under_way += 1
            self._idle.popleft().send(intended)
        else:
            self._waiting.append(intended)

    def finished(self, caller: "_Caller", failure: str, wrong: bool) -> None:
        """A caller has its answer, or none."""
        now = perf_counter()
        self._under_way -= 1
        if failure:
            self.counts.failures[failure] += 1
        else:
            self.counts.latencies.append(now - caller.intended)
        self.counts.wrong += wrong
        if caller.is_open:
            self._idle.append(caller)
        if self._waiting:
            self._send(self._waiting.popleft())
        elif self._closed_loop and not self._ending:
            self._send(now)

    def lost(self, caller: "_Caller") -> None:
        """A connection is gone; another takes its place."""
        if caller in self._idle:
            self._idle.remove(caller)
        if not self._ending:
            task = asyncio.ensure_future(self._connect())
            task.add_done_callback(lambda done: done.exception())

    async def _connect(self) -> None:
        loop = asyncio.get_running_loop()
        while not self._ending:
            try:
                await loop.create_connection(lambda: _Caller(self), "127.0.0.1", self._port)
            except OSError:
                await asyncio.sleep(0.05)
                continue
            if self._waiting:
                self._send(self._waiting.popleft())
            return

    def joined(self, caller: "_Caller") -> None:
        """A connection is there."""
        self._idle.append(caller)


class _Caller(asyncio.Protocol):
    """One connection with at most one request under way."""

    def __init__(self, load: OpenLoop) -> None:
        self._load = load
        self._transport: asyncio.Transport | None = None
        self._content = b""
        self._asking = False
        self._live: frozenset[int] = frozenset()
        self.intended = 0.0

    @property
    def is_open(self) -> bool:
        """Whether another request can be sent."""
        return self._transport is not None and not self._transport.is_closing()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._load.joined(self)

    def send(self, intended: float) -> None:
        """Send the request that should have been sent at ``intended``."""
        assert self._transport is not None
        self.intended, self._asking, self._content = intended, True, b""
        self._live = self._load.may_answer()
        self._transport.write(self._load.request)

    def data_received(self, data: bytes) -> None:
        self._content += data
        end = self._content.find(b"\r\n\r\n")
        if end < 0:
            return
        length = _LENGTH.search(self._content, 0, end)
        if length is None or len(self._content) < end + 4 + int(length[1]):
            return
        status, version = (find.search(self._content, 0, end) for find in (_STATUS, _VERSION))
        failure = "" if status and status[1] == b"200" else bytes(self._content[:end][:40]).decode()
        allowed = self._live | self._load.may_answer()
        wrong = not failure and (version is None or int(version[1]) not in allowed)
        self._asking = False
        self._load.finished(self, failure, wrong)

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        if self._asking:
            self._asking = False
            self._load.finished(self, f"connection lost: {exc}", wrong=False)
        self._load.lost(self)

    def close(self) -> None:
        """Close the connection."""
        if self._transport is not None:
            self._transport.close()


def http_request(path: str, body: bytes, headers: Mapping[str, str]) -> bytes:
    """All bytes of a POST request."""
    lines = [f"POST {path} HTTP/1.1", "host: 127.0.0.1", f"content-length: {len(body)}"]
    lines += [f"{name}: {text}" for name, text in headers.items()]
    return "\r\n".join([*lines, "", ""]).encode() + body
