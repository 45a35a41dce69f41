"""The little of HTTP that ASGI leaves to us: a bounded body, JSON answers, the request's id."""

import re
import secrets
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

import orjson

from modelyard.serving.failures import RequestError

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
Headers = tuple[tuple[bytes, bytes], ...]

JSON: Headers = ((b"content-type", b"application/json"),)
MAX_BODY = 16 * 1024 * 1024

_REQUEST_ID = re.compile(rb"[!-~]{1,128}")


class ClientGone(Exception):  # noqa: N818 - nobody's error
    """The caller closed the connection before the request was whole."""


async def read_body(scope: Scope, receive: Receive, limit: int = MAX_BODY) -> bytes:
    """The request's body.

    A body that is too large is read to its end and dropped as long as that is cheap: to answer
    before the caller has sent it would reset the connection, and the caller would see that instead
    of the answer.

    Raises:
        RequestError: 413, it has more than ``limit`` bytes.
        ClientGone: the connection was closed.
    """
    length = header(scope, b"content-length")
    declared = int(length) if length.isdigit() and len(length) < 20 else 0
    if declared > 4 * limit:
        raise _too_large(limit, ((b"connection", b"close"),))
    chunks: list[bytes] = []
    size = 0
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientGone
        chunk = message.get("body", b"")
        size += len(chunk)
        if size <= limit:
            chunks.append(chunk)
        elif size > 4 * limit:
            raise _too_large(limit, ((b"connection", b"close"),))
        if not message.get("more_body", False):
            break
    if size > limit:
        raise _too_large(limit)
    return chunks[0] if len(chunks) == 1 else b"".join(chunks)


def header(scope: Scope, name: bytes) -> bytes:
    """The first header called ``name`` (lower case), or nothing."""
    for key, value in scope["headers"]:
        if key == name:
            return value
    return b""


def request_id(scope: Scope) -> bytes:
    """The caller's ``x-request-id`` where it is printable and short, else one of ours."""
    given = header(scope, b"x-request-id")
    return given if _REQUEST_ID.fullmatch(given) else secrets.token_hex(8).encode()


async def respond(send: Send, status: int, body: bytes, headers: Headers) -> None:
    """Send a whole response; the length is added."""
    await send(
        {
            "type": "http.response.start",
            "status": status,
            "headers": [*headers, (b"content-length", b"%d" % len(body))],
        }
    )
    await send({"type": "http.response.body", "body": body})


def dump(value: Any) -> bytes:
    """JSON, numpy arrays and numbers included; what is not a number becomes null."""
    return orjson.dumps(value, option=orjson.OPT_SERIALIZE_NUMPY | orjson.OPT_NON_STR_KEYS)


def _too_large(limit: int, headers: Headers = ()) -> RequestError:
    return RequestError(
        413, f"the body is larger than {limit} bytes; send fewer rows in a request", headers
    )
