"""The little of HTTP that ASGI leaves to us: requests, answers, the request's id, caching."""

import hashlib
import os
import re
from binascii import hexlify
from collections.abc import Awaitable, Callable, MutableMapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import orjson

from modelyard.serving.keys import ApiKey

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
Headers = tuple[tuple[bytes, bytes], ...]

JSON: Headers = ((b"content-type", b"application/json"),)
NOT_STORED: Headers = ((b"cache-control", b"no-store"),)
NOT_SNIFFED: Headers = ((b"x-content-type-options", b"nosniff"),)
NOT_EMBEDDED: Headers = ((b"cross-origin-resource-policy", b"same-origin"),)
"""No page from elsewhere gets at it by an element that names its address."""
OVER_TLS: Headers = ((b"strict-transport-security", b"max-age=31536000"),)
MAX_BODY = 16 * 1024 * 1024

# What an id is written with anywhere; nothing that means something in a log or a page.
_REQUEST_ID = re.compile(rb"[A-Za-z0-9._:/+=@~-]{1,128}")


class Response(NamedTuple):
    """What is sent back, but for the headers that every answer has."""

    status: int
    body: bytes
    headers: Headers


@dataclass(slots=True)
class Request:
    """One HTTP request; ``headers`` by lower-case name; its body is read by who wants it.

    ``key`` is the caller's, None where none is asked for; ``id`` the request's; ``query`` what
    stands behind the ``?``; ``client`` the address that the connection came from; ``body`` is
    given where the whole of it has come already.
    """

    headers: dict[bytes, bytes]
    receive: Receive
    key: ApiKey | None = None
    id: bytes = b""
    query: bytes = b""
    client: str = ""
    body: bytes | None = None


class ClientGone(Exception):  # noqa: N818 - nobody's error
    """The caller closed the connection before the request was whole."""


def header(scope: Scope, name: bytes) -> bytes:
    """The first header called ``name`` (lower case), or nothing."""
    for key, value in scope["headers"]:
        if key == name:
            return value
    return b""


def request_id(headers: dict[bytes, bytes]) -> bytes:
    """The caller's ``x-request-id`` where it is short and plain, else one of ours."""
    given = headers.get(b"x-request-id")
    return given if given and _REQUEST_ID.fullmatch(given) else hexlify(os.urandom(8))


async def respond(send: Send, response: Response) -> None:
    """Send a whole response; the length is added."""
    status, body, headers = response
    length = () if status == 304 else ((b"content-length", b"%d" % len(body)),)
    await send({"type": "http.response.start", "status": status, "headers": [*headers, *length]})
    await send({"type": "http.response.body", "body": body})


def json_page(value: Any, headers: Headers = ()) -> Response:
    """A page of what is so now; nobody keeps it."""
    return Response(200, dump(value), (*JSON, *NOT_STORED, *headers))


def cached_page(
    request: Request, body: bytes, headers: Headers = (), control: bytes = b"no-cache"
) -> Response:
    """JSON that a caller may keep, and asks for again by its ETag: 304 as long as it holds."""
    tag = b'"%s"' % hashlib.blake2b(body, digest_size=12).hexdigest().encode()
    headers = ((b"etag", tag), (b"cache-control", control), *headers)
    known = request.headers.get(b"if-none-match")
    if known and (
        known == b"*" or tag in [one.strip().removeprefix(b"W/") for one in known.split(b",")]
    ):
        return Response(304, b"", headers)
    return Response(200, body, (*JSON, *headers))


def dump(value: Any) -> bytes:
    """JSON, numpy arrays and numbers included; what is not a number becomes null."""
    return orjson.dumps(value, option=orjson.OPT_SERIALIZE_NUMPY | orjson.OPT_NON_STR_KEYS)
