"""HTTP on a socket: what callers send well, badly, in pieces, all at once or never."""

import asyncio
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from itertools import pairwise
from typing import Any, NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from uvicorn import Config
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.server import ServerState

from modelyard.serving import connection
from modelyard.serving.connection import Connection
from modelyard.serving.failures import RequestError
from modelyard.serving.http import ClientGone, Request, Response, respond
from modelyard.serving.reading import BodyReader

MAX_BODY = 400_000
DATE = b"Thu, 01 Jan 1970 00:00:00 GMT"


class Echo:
    """Answers with what it was asked; also by ASGI, for uvicorn's own protocol."""

    def __init__(self) -> None:
        self.bodies = BodyReader(MAX_BODY)
        self.seen: list[str] = []
        self.cancelled = asyncio.Event()
        self.hold = asyncio.Event()
        self.hold.set()

    async def answer(self, method: str, path: str, request: Request) -> Response | None:
        self.seen.append(path)
        headers = (("x-path", path), ("x-query", request.query.decode()), ("x-method", method))
        sent = tuple((name.encode(), text.encode()) for name, text in headers)
        try:
            await self.hold.wait()
            if path == "/unread":
                return Response(401, b"who are you", sent)
            if path == "/same":
                return Response(304, b"not sent", sent)
            if path == "/fault":
                raise RuntimeError("a fault of ours")
            body = await self.bodies.read(request)
            return Response(200, request.headers.get(b"x-word", b"") + b":" + body, sent)
        except ClientGone:
            return None
        except RequestError as error:
            return Response(error.status, error.message.encode(), (*sent, *error.headers))
        except asyncio.CancelledError:
            self.cancelled.set()
            raise

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        request = Request(dict(scope["headers"]), receive)
        request.query = scope["query_string"]
        response = await self.answer(scope["method"], scope["path"], request)
        if response is not None:
            await respond(send, response)


class Served(NamedTuple):
    """A listening server."""

    echo: Echo
    state: ServerState
    port: int

    async def talk(self, *parts: bytes, pause: float = 0.0) -> bytes:
        """Send parts one after the other, then read until the server closes or is silent."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        for part in parts:
            writer.write(part)
            await writer.drain()
            await asyncio.sleep(pause)
        answer = b""
        try:
            while chunk := await asyncio.wait_for(reader.read(65536), 0.15):
                answer += chunk
        except TimeoutError:
            pass
        except ConnectionError:
            answer += b"<reset>"
        writer.close()
        return answer


@asynccontextmanager
async def listening(protocol: Any = Connection, idle: int = 5) -> AsyncIterator[Served]:
    echo, state = Echo(), ServerState()
    state.default_headers = [(b"date", DATE)]
    config = Config(echo, http=protocol, lifespan="off", timeout_keep_alive=idle, access_log=False)
    config.load()
    loop = asyncio.get_running_loop()
    server = await loop.create_server(
        lambda: protocol(config=config, server_state=state, app_state={}, _loop=loop), "127.0.0.1"
    )
    try:
        yield Served(echo, state, server.sockets[0].getsockname()[1])
    finally:
        server.close()
        for held in list(state.connections):
            held.shutdown()


def run(scenario: Callable[[Served], Awaitable[None]], idle: int = 5) -> None:
    async def whole() -> None:
        async with asyncio.timeout(20), listening(idle=idle) as served:
            await scenario(served)

    asyncio.run(whole())


def statuses(answer: bytes) -> list[int]:
    return [int(number) for number in re.findall(rb"HTTP/1\.1 (\d{3}) ", answer)]


GET = b"GET /a%20b?x=1 HTTP/1.1\r\nhost: h\r\n\r\n"
POST = b"POST /p HTTP/1.1\r\nhost: h\r\nX-Word: w\r\ncontent-length: 5\r\n\r\nhello"


def test_an_answer_is_whole() -> None:
    async def scenario(served: Served) -> None:
        assert await served.talk(GET) == (
            b"HTTP/1.1 200 OK\r\ndate: " + DATE + b"\r\nx-path: /a b\r\nx-query: x=1\r\n"
            b"x-method: GET\r\ncontent-length: 1\r\n\r\n:"
        )
        assert (await served.talk(POST)).endswith(b"\r\n\r\nw:hello")
        assert await served.talk(b"GET /fault HTTP/1.1\r\n\r\n") == b"", "it is closed, alone"
        assert statuses(await served.talk(GET)) == [200]
        assert served.state.total_requests == 3
        assert not served.state.tasks

    run(scenario)


def test_pipelined_requests_are_answered_in_their_order() -> None:
    async def scenario(served: Served) -> None:
        paths = [f"/{number}" for number in range(200)]
        asked = b"".join(f"GET {path} HTTP/1.1\r\n\r\n".encode() for path in paths)
        answer = await served.talk(asked)
        assert re.findall(rb"x-path: (\S+)", answer) == [path.encode() for path in paths]

    run(scenario)


@pytest.mark.parametrize(
    ("request_", "kept"),
    [
        (GET, True),
        (GET.replace(b"1.1", b"1.0"), False),
        (GET.replace(b"1.1\r\n", b"1.0\r\nconnection: keep-alive\r\n"), True),
        (GET.replace(b"1.1\r\n", b"1.1\r\nconnection: close\r\n"), False),
    ],
)
def test_a_connection_lasts_as_both_sides_wish(request_: bytes, kept: bool) -> None:
    async def scenario(served: Served) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", served.port)
        writer.write(request_)
        answer = await reader.readuntil(b"\r\n\r\n:")
        assert (b"connection: close" in answer) is not kept
        assert (b"connection: keep-alive" in answer) is (kept and b"1.0" in request_)
        if kept:
            writer.write(GET)
            assert statuses(await reader.readuntil(b"\r\n\r\n:")) == [200]
        else:
            assert await reader.read() == b""
        writer.close()

    run(scenario)


def test_no_body_follows_head_and_not_modified() -> None:
    async def scenario(served: Served) -> None:
        head = await served.talk(b"HEAD /x HTTP/1.1\r\n\r\n")
        assert head.endswith(b"content-length: 1\r\n\r\n")
        same = await served.talk(b"GET /same HTTP/1.1\r\n\r\n")
        assert b"content-length" not in same
        assert same.endswith(b"\r\n\r\n")

    run(scenario)


@pytest.mark.parametrize(
    "garbage",
    [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"hello\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"GET /\xff HTTP/1.1\r\n\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
        b"POST / HTTP/1.1\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\nab",
        b"POST / HTTP/1.1\r\ncontent-length: 3\r\ntransfer-encoding: chunked\r\n\r\nabc",
        b"GET / HTTP/1.1\r\na b: c\r\n\r\n",
    ],
)
def test_what_is_no_request_is_told_so_and_the_connection_closed(garbage: bytes) -> None:
    async def scenario(served: Served) -> None:
        answer = await served.talk(garbage)
        assert statuses(answer) == [400]
        assert b'{"error":' in answer
        assert b"connection: close" in answer
        assert not served.state.connections

    run(scenario)


def test_what_came_before_garbage_is_answered() -> None:
    async def scenario(served: Served) -> None:
        answer = await served.talk(GET + GET + b"garbage\r\n\r\n" + GET)
        assert statuses(answer) == [200, 200]
        assert not served.state.connections

    run(scenario)


def test_a_head_has_bounds(monkeypatch: pytest.MonkeyPatch) -> None:
    async def scenario(served: Served) -> None:
        huge = b"GET / HTTP/1.1\r\nx: " + b"y" * (connection.MAX_HEAD + 70_000)
        answer = await served.talk(huge)
        assert statuses(answer) in ([431], [])  # reset where it was still sending
        assert not served.echo.seen
        monkeypatch.setattr(connection, "HEAD_S", 0.2)
        slow = await served.talk(b"GET / HTTP/1.1\r\n", b"x: y\r\n", pause=0.4)
        assert statuses(slow) == [408]

    run(scenario)


def test_an_idle_connection_is_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "HEAD_S", 0.1)

    async def scenario(served: Served) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", served.port)
        writer.write(GET)
        assert (await asyncio.wait_for(reader.read(), 5)).endswith(b":")
        writer.close()

    run(scenario, idle=1)


def test_a_body_is_asked_for_where_the_caller_waits() -> None:
    head = b"POST /p HTTP/1.1\r\nexpect: 100-continue\r\ncontent-length: %d\r\n\r\n"

    async def scenario(served: Served) -> None:
        answer = await served.talk(head % 5, b"hello", pause=0.1)
        assert answer.startswith(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\n")
        refused = await served.talk(head % (5 * MAX_BODY))
        assert statuses(refused) == [413]

    run(scenario)


def test_the_rest_of_a_body_that_nobody_reads_is_no_request() -> None:
    async def scenario(served: Served) -> None:
        head = b"POST /unread HTTP/1.1\r\ncontent-length: 100000\r\n\r\n"
        body = b"GET /evil HTTP/1.1\r\n\r\n".ljust(100_000, b".")
        answer = await served.talk(head, body[:1000], body[1000:], GET, pause=0.02)
        assert statuses(answer) == [401, 200]
        assert served.echo.seen == ["/unread", "/a b"]

    run(scenario)


def test_large_and_chunked_bodies_arrive_whole() -> None:
    async def scenario(served: Served) -> None:
        body = bytes(range(256)) * 1500
        answer = await served.talk(
            b"POST /p HTTP/1.1\r\ncontent-length: %d\r\n\r\n" % len(body), body
        )
        assert answer.endswith(b"\r\n\r\n:" + body)
        chunked = b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in (b"ab", b"c" * 20))
        answer = await served.talk(
            b"POST /p HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n", chunked, b"0\r\n\r\n" + GET
        )
        assert b"\r\n\r\n:ab" + b"c" * 20 + b"HTTP/1.1 200 OK" in answer
        too_large = await served.talk(
            b"POST /p HTTP/1.1\r\ncontent-length: %d\r\n\r\n" % (MAX_BODY + 1),
            b"x" * (MAX_BODY + 1),
        )
        assert statuses(too_large) == [413]

    run(scenario)


def test_a_caller_who_leaves_is_not_worked_for() -> None:
    async def scenario(served: Served) -> None:
        served.echo.hold.clear()
        _, writer = await asyncio.open_connection("127.0.0.1", served.port)
        writer.write(GET)
        while not served.echo.seen:
            await asyncio.sleep(0.01)
        writer.close()
        await asyncio.wait_for(served.echo.cancelled.wait(), 5)
        assert not served.state.connections
        assert not served.state.tasks

    run(scenario)


def test_a_stop_answers_what_was_asked_and_closes_what_idles() -> None:
    async def scenario(served: Served) -> None:
        served.echo.hold.clear()
        idle_reader, _ = await asyncio.open_connection("127.0.0.1", served.port)
        reader, writer = await asyncio.open_connection("127.0.0.1", served.port)
        writer.write(GET + POST)
        while len(served.state.connections) < 2 or not served.echo.seen:
            await asyncio.sleep(0.01)
        for held in list(served.state.connections):
            held.shutdown()
        assert await idle_reader.read() == b""
        served.echo.hold.set()
        answer = await asyncio.wait_for(reader.read(), 5)
        assert statuses(answer) == [200, 200]
        assert answer.count(b"connection: close") == 1

    run(scenario)


def test_a_caller_who_does_not_read_is_not_computed_for_without_end() -> None:
    async def scenario(served: Served) -> None:
        body = b"x" * 100_000
        asked = b"POST /p HTTP/1.1\r\ncontent-length: %d\r\n\r\n" % len(body) + body
        _, writer = await asyncio.open_connection("127.0.0.1", served.port)
        for _ in range(400):
            writer.write(asked)
        for _ in range(40):
            before = len(served.echo.seen)
            await asyncio.sleep(0.05)
            if before and before == len(served.echo.seen):
                break
        assert len(served.echo.seen) < 200
        writer.transport.abort()

    run(scenario)


words = st.text("abcXYZ019-._~", max_size=12)
requests = st.builds(
    lambda method, path, word, body, chunked: (
        f"{method} /{path}?{word} HTTP/1.1\r\nX-Word: {word}\r\n".encode()
        + (
            b"transfer-encoding: chunked\r\n\r\n"
            + (b"%x\r\n%b\r\n" % (len(body), body) if body else b"")
            + b"0\r\n\r\n"
            if chunked
            else b"content-length: %d\r\n\r\n%b" % (len(body), body)
        )
    ),
    st.sampled_from(["POST", "PUT", "GET", "DELETE"]),
    words,
    words,
    st.binary(max_size=60),
    st.booleans(),
)


async def _both(data: bytes, cuts: list[int]) -> list[list[tuple[bytes, bytes]]]:
    places = [0, *sorted(cut % (len(data) + 1) for cut in cuts), len(data)]
    parts = [data[low:high] for low, high in pairwise(places)]
    found = []
    for protocol in (Connection, HttpToolsProtocol):
        async with listening(protocol) as served:
            answer = await served.talk(*filter(None, parts), pause=0.001)
            found.append(
                [
                    (status, body)
                    for status, body in re.findall(
                        rb"HTTP/1\.1 (\d+) .*?\r\n\r\n(.*?)(?=HTTP/1\.1|\Z)", answer, re.DOTALL
                    )
                ]
            )
    return found


@settings(max_examples=25, deadline=None)
@given(st.lists(requests, min_size=1, max_size=4), st.lists(st.integers(0, 2000), max_size=5))
def test_it_answers_as_uvicorns_own_protocol_does(asked: list[bytes], cuts: list[int]) -> None:
    last = b"GET /end HTTP/1.1\r\nconnection: close\r\n\r\n"
    ours, theirs = asyncio.run(_both(b"".join(asked) + last, cuts))
    assert len(ours) == len(asked) + 1
    assert ours == theirs
