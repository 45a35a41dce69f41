"""HTTP/1.1 on one socket, for this application alone.

uvicorn opens the sockets, speaks TLS, takes the signals and drains; each connection that it accepts
is one of these in place of its own protocol. An ASGI request costs it 36 us of CPU (a scope, a
cycle, two messages a way), this one 9 us with the same parser (`make bench-serving` compares).
"""

import asyncio
import logging
from collections import deque
from http import HTTPStatus
from itertools import chain
from typing import Any, Protocol, cast

import httptools
from uvicorn import Config
from uvicorn.server import ServerState

from modelyard.serving.http import JSON, NOT_STORED, Request, Response, dump
from modelyard.serving.incoming import Incoming

_logger = logging.getLogger(__name__)

MAX_HEAD = 64 * 1024
"""Bytes of a request before its body, and behind it, at most."""
HEAD_S = 10.0
"""Seconds that these may take from the first byte to the last."""
DRAIN_S = 30.0
"""Seconds for which a body is still taken, and dropped, whose request is answered already."""
_HIGH = 256 * 1024
_MAX_PIPELINED = 64
_CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
_CLOSE = (b"connection", b"close")
_LINES = {
    status.value: f"HTTP/1.1 {status.value} {status.phrase}\r\n".encode() for status in HTTPStatus
}
_GONE = {"type": "http.disconnect"}


class Application(Protocol):
    """What answers; see ``App``."""

    async def answer(self, method: str, path: str, request: Request) -> Response | None:
        """The whole response, None where the caller is gone."""
        ...


class Connection(asyncio.Protocol):
    """Reads requests, has them answered one after the other, writes the answers.

    Made by uvicorn, which knows it by ``shutdown`` and by the sets of ``server_state``.
    """

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],  # noqa: ARG002 - of uvicorn's interface
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        self._app = cast(Application, config.app)
        self._state = server_state
        self._idle_s = config.timeout_keep_alive
        self._loop = _loop or asyncio.get_event_loop()
        self._parser = httptools.HttpRequestParser(self)
        self._transport: asyncio.Transport = cast(asyncio.Transport, None)
        self._client = ""
        self._url = b""
        self._given: dict[bytes, bytes] = {}
        self._in_head = self._is_large = False
        self._piece = self._first = self._quiet = 0
        self._reading: Incoming | None = None
        self._waiting: deque[Incoming] = deque()
        self._current: Incoming | None = None
        self._task: asyncio.Task[None] | None = None
        self._more: asyncio.Future[None] | None = None
        self._paused = self._full = self._deaf = self._closing = self._gone = False
        self._since = 0.0
        self._timer: asyncio.TimerHandle | None = None
        self._dated: tuple[object, bytes] = (None, b"")

    # ---- asyncio's side

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """A caller is there."""
        self._transport = cast(asyncio.Transport, transport)
        self._state.connections.add(cast(Any, self))
        peer = transport.get_extra_info("peername")
        self._client = str(peer[0]) if isinstance(peer, tuple) and peer else ""
        self._since = self._loop.time()
        self._watch()

    def connection_lost(self, exc: Exception | None) -> None:
        """The caller is gone: nobody waits for what is being computed."""
        del exc
        self._gone = True
        self._state.connections.discard(cast(Any, self))
        self._waiting.clear()
        if self._timer is not None:
            self._timer.cancel()
        self._wake()
        if self._task is not None:
            self._task.cancel()

    def eof_received(self) -> None:
        """Close: the caller has."""

    def pause_writing(self) -> None:
        """The caller reads more slowly than it asks: what else it asks has to wait."""
        self._full = True

    def resume_writing(self) -> None:
        """It has caught up."""
        self._full = False
        if self._task is None:
            self._begin()

    def data_received(self, data: bytes) -> None:
        """Parse what came, and begin to answer."""
        if self._deaf:
            return
        if self._reading is None and not self._in_head:
            self._since = self._loop.time()
        self._piece = len(data)
        self._quiet += len(data)
        try:
            self._feed(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade):
            if not self._is_large:
                self._refuse(400, "this is not an HTTP/1.1 request")
                return
        if self._is_large or self._quiet > MAX_HEAD:
            self._refuse(431, f"the request's head is larger than {MAX_HEAD} bytes")
            return
        if self._task is None:
            self._begin()

    def shutdown(self) -> None:
        """Close as soon as what was asked is answered; uvicorn calls it when the server stops."""
        self._closing = True
        if self._task is None and not self._waiting:
            self._transport.close()

    # ---- the parser's side

    def _feed(self, data: bytes) -> None:
        """Parse; who asks for another protocol is answered as if it had not (RFC 9110, 7.8)."""
        while True:
            try:
                self._parser.feed_data(data)
                return
            except httptools.HttpParserUpgrade as upgrade:
                data = data[upgrade.args[0] :]
            incoming = self._waiting.pop()
            # The parser takes the head for the whole: another one reads it without that wish.
            self._reading, self._parser = None, httptools.HttpRequestParser(self)
            self._parser.feed_data(incoming.head(without=b"upgrade"))

    def on_message_begin(self) -> None:
        """A request begins; the piece that it begins in is not counted."""
        self._url, self._given = b"", {}
        self._in_head, self._first, self._quiet = True, self._piece, 0

    def on_url(self, url: bytes) -> None:
        """A part of its target."""
        self._url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        """One of its headers, whole; what follows a body is none."""
        if self._in_head:
            self._given[name.lower()] = value

    def on_headers_complete(self) -> None:
        """Its head is here.

        Raises:
            ValueError: it is too large.
        """
        if self._first + self._quiet > MAX_HEAD:
            self._is_large = sum(map(len, [self._url, *chain(*self._given.items())])) > MAX_HEAD
            if self._is_large:
                raise ValueError
        parser = self._parser
        incoming = Incoming(
            parser.get_method().decode("ascii"),
            self._url,
            self._given,
            parser.get_http_version(),
        )
        incoming.keep_alive = parser.should_keep_alive()
        self._in_head = False
        self._reading = incoming
        self._waiting.append(incoming)
        if len(self._waiting) > _MAX_PIPELINED:
            self._pause()

    def on_body(self, data: bytes) -> None:
        """A part of its body."""
        self._quiet = 0
        incoming = self._reading
        if incoming is None or incoming.unread:
            return
        incoming.chunks.append(data)
        incoming.size += len(data)
        if incoming.size > _HIGH:
            self._pause()
        self._wake()

    def on_message_complete(self) -> None:
        """It is whole."""
        if self._reading is not None:
            self._reading.whole = True
            self._reading = None
            self._wake()

    # ---- answering

    def _begin(self) -> None:
        """Have the next request answered, if there is one and the caller takes answers."""
        if self._full or self._gone or not self._waiting:
            return
        incoming = self._current = self._waiting.popleft()
        request = Request(incoming.headers, self._receive)
        request.query, request.client = incoming.query, self._client
        if incoming.whole:
            request.body = incoming.take()
            self._resume()
        task = self._task = self._loop.create_task(self._serve(incoming, request))
        self._state.tasks.add(task)

    async def _serve(self, incoming: Incoming, request: Request) -> None:
        try:
            response = await self._app.answer(incoming.method, incoming.path, request)
        except Exception:
            _logger.exception("a connection failed", extra={"request_id": request.id.decode()})
            response = None
        finally:
            task, self._task, self._current = self._task, None, None
            self._state.tasks.discard(cast(Any, task))
        if self._gone:
            return
        if response is None:
            self._transport.close()
            return
        self._state.total_requests += 1
        self._since = self._loop.time()
        if not incoming.whole:
            # Nobody reads the rest of its body, yet the next request stands behind it.
            incoming.unread = True
            incoming.take()
        self._resume()
        self._write(incoming, response)
        self._begin()

    async def _receive(self) -> dict[str, Any]:
        """The next part of the body that is being answered, as ASGI has it."""
        incoming = self._current
        if incoming is None:
            return _GONE
        if not incoming.chunks and not incoming.whole and not self._gone:
            if incoming.expects:
                incoming.expects = False
                self._transport.write(_CONTINUE)
            self._resume()
            self._more = self._loop.create_future()
            try:
                await self._more
            finally:
                self._more = None
        if self._gone:
            return _GONE
        body = incoming.take()
        self._resume()
        return {"type": "http.request", "body": body, "more_body": not incoming.whole}

    def _write(self, incoming: Incoming, response: Response) -> None:
        status, body, headers = response
        keep = incoming.keep_alive and not (self._closing and not self._waiting)
        keep = keep and (status < 400 or _CLOSE not in headers)
        parts = [_LINES[status], self._dates()]
        for name, value in headers:
            parts += (name, b": ", value, b"\r\n")
        if not keep and _CLOSE not in headers:
            parts.append(b"connection: close\r\n")
        elif keep and incoming.version == "1.0":
            parts.append(b"connection: keep-alive\r\n")
        if status == 304:
            parts.append(b"\r\n")
        else:
            parts.append(b"content-length: %d\r\n\r\n" % len(body))
            if incoming.method != "HEAD":
                parts.append(body)
        self._transport.write(b"".join(parts))
        if not keep:
            self._deaf = True
            self._waiting.clear()
            self._transport.close()

    def _dates(self) -> bytes:
        """The headers that uvicorn makes anew each second."""
        given = self._state.default_headers
        if self._dated[0] is not given:
            lines = b"".join(b"%b: %b\r\n" % (name, value) for name, value in given)
            self._dated = given, lines
        return self._dated[1]

    def _refuse(self, status: int, message: str) -> None:
        """Answer what cannot be read, after what could be, and close."""
        self._deaf = self._closing = True
        if self._reading is not None:
            # In the middle of a body: its end can no longer be found, nor told where it is read.
            if self._reading is self._current:
                self._transport.close()
                return
            self._waiting.pop()
        if self._task is None and not self._waiting:
            incoming = Incoming("GET", b"/", {}, "1.1")
            incoming.keep_alive = False
            content = dump({"error": message})
            self._write(incoming, Response(status, content, (*JSON, *NOT_STORED)))
        elif self._task is None:
            self._begin()

    # ---- flow and time

    def _pause(self) -> None:
        if not self._paused:
            self._paused = True
            self._transport.pause_reading()

    def _resume(self) -> None:
        if self._paused and not self._gone and len(self._waiting) <= _MAX_PIPELINED:
            self._paused = False
            self._transport.resume_reading()

    def _wake(self) -> None:
        if self._more is not None and not self._more.done():
            self._more.set_result(None)

    def _watch(self) -> None:
        """Close a connection that keeps us waiting; one timer, set again when it is early."""
        if self._gone:
            return
        waited, limit = self._loop.time() - self._since, self._patience()
        if self._task is not None or waited < limit:
            self._timer = self._loop.call_later(max(0.1, min(HEAD_S, limit - waited)), self._watch)
        elif self._full or self._transport.is_closing():
            self._transport.abort()
        elif self._in_head:
            self._refuse(408, f"the request's head did not come within {HEAD_S:g} s")
        else:
            self._transport.close()

    def _patience(self) -> float:
        """Seconds that the caller may take for what it has to do now."""
        if self._in_head:
            return HEAD_S
        if self._full or self._reading is not None or self._transport.is_closing():
            return DRAIN_S
        return self._idle_s
