"""What a connection takes in without being asked to: other protocols, trailers, long pipelines."""

import asyncio
import sys

from modelyard.serving import connection
from tests.unit.serving.test_serving_connection import GET, POST, Served, run, statuses

UPGRADE = b"connection: Upgrade, HTTP2-Settings\r\nupgrade: h2c\r\nhttp2-settings: AAMA\r\n"
CHUNKED = b"POST /p HTTP/1.1\r\nx-word: w\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n"


def test_an_upgrade_is_not_taken_and_the_request_is_answered_whole() -> None:
    """Java's own client asks for HTTP/2 so in each first request of a connection."""
    head = b"POST /p HTTP/1.1\r\nX-Word: w\r\n" + UPGRADE + b"content-length: 5\r\n\r\n"

    async def scenario(served: Served) -> None:
        for parts in ((head + b"hello",), (head, b"hel", b"lo"), (head[:50], head[50:] + b"hello")):
            answer = await served.talk(*parts, pause=0.02)
            assert statuses(answer) == [200]
            assert answer.endswith(b"\r\n\r\nw:hello")
        both = await served.talk(head + b"hello" + head + b"world" + GET)
        assert statuses(both) == [200, 200, 200], "it goes on as HTTP/1.1"
        assert b"w:world" in both
        chunked = CHUNKED.replace(b"transfer-", UPGRADE + b"transfer-")
        assert (await served.talk(chunked + b"\r\n")).endswith(b"w:hello")
        get = await served.talk(b"GET /up HTTP/1.1\r\n" + UPGRADE + b"\r\n")
        assert statuses(get) == [200]
        assert b"x-path: /up" in get
        assert statuses(await served.talk(b"CONNECT /p HTTP/1.1\r\n\r\n" + GET)) == [200]
        assert not served.state.connections, "what follows CONNECT is no request"

    run(scenario)


def test_trailers_are_no_headers_and_have_an_end() -> None:
    async def scenario(served: Served) -> None:
        answer = await served.talk(CHUNKED + b"x-word: other\r\n\r\n" + GET)
        assert statuses(answer) == [200, 200]
        assert b"w:hello" in answer
        for trailer in (b"y" * 1000, b"".join(b"x%d: y\r\n" % number for number in range(200))):
            before = len(served.echo.seen)
            flood = [trailer] * (connection.MAX_HEAD // len(trailer) + 2)
            answer = await served.talk(CHUNKED + b"x: ", *flood, pause=0.001)
            assert answer in (b"", b"<reset>")
            assert len(served.echo.seen) == before + 1
            assert not served.state.connections

    run(scenario)


def test_a_head_behind_a_large_piece_is_not_called_large() -> None:
    body = b"x" * 150_000
    large = b"POST /p HTTP/1.1\r\ncontent-length: %d\r\n\r\n" % len(body) + body

    async def scenario(served: Served) -> None:
        answer = await served.talk(large + POST[:30], POST[30:], pause=0.05)
        assert statuses(answer) == [200, 200]
        many = GET * 5000
        answer = await served.talk(many[:-7], many[-7:], pause=0.05)
        assert statuses(answer) == [200] * 5000
        head = b"GET / HTTP/1.1\r\nx: " + b"y" * (connection.MAX_HEAD + 10) + b"\r\n\r\n"
        assert statuses(await served.talk(head)) == [431]

    run(scenario)


def test_a_caller_who_sends_on_and_on_is_read_as_fast_as_answered() -> None:
    async def scenario(served: Served) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", served.port)
        (held,) = served.state.connections
        longest = 0

        async def send() -> None:
            nonlocal longest
            for _ in range(15):
                writer.write(GET * 2000)
                await writer.drain()
                longest = max(longest, len(held._waiting))  # pyright: ignore

        sending = asyncio.create_task(send())
        answered = 0
        while answered < 30_000:
            answered += (await reader.read(1 << 20)).count(b"HTTP/1.1 200")
            longest = max(longest, len(held._waiting))  # pyright: ignore
        await sending
        writer.close()
        piece = 256 * 1024
        assert longest <= connection._MAX_PIPELINED + piece // len(GET) + 1  # pyright: ignore
        assert sys.getsizeof(held._waiting) < 1 << 20  # pyright: ignore

    run(scenario)
