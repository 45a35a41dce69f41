"""A request that a connection reads: its head, and the part of its body that is here."""

from urllib.parse import unquote

import httptools


class Incoming:
    """A request whose head is here; its body may still be coming."""

    __slots__ = (
        "chunks",
        "expects",
        "headers",
        "keep_alive",
        "method",
        "path",
        "query",
        "size",
        "unread",
        "url",
        "version",
        "whole",
    )

    def __init__(self, method: str, url: bytes, headers: dict[bytes, bytes], version: str) -> None:
        self.method = method
        self.url = url
        self.headers = headers
        self.version = version
        self.path, self.query = split(url)
        self.keep_alive = True
        self.expects = b"expect" in headers and headers[b"expect"].lower() == b"100-continue"
        self.chunks: list[bytes] = []
        self.size = 0
        self.whole = False
        self.unread = False

    def head(self, without: bytes) -> bytes:
        """Its head as it could have been sent, but for one header."""
        first = b"%b %b HTTP/%b\r\n" % (self.method.encode(), self.url, self.version.encode())
        given = [b"%b: %b\r\n" % item for item in self.headers.items() if item[0] != without]
        return b"".join([first, *given, b"\r\n"])

    def take(self) -> bytes:
        """The part of the body that is here."""
        chunks = self.chunks
        body = chunks[0] if len(chunks) == 1 else b"".join(chunks)
        self.chunks, self.size = [], 0
        return body


def split(url: bytes) -> tuple[str, bytes]:
    """The path, decoded, and the query, of a request's target.

    Raises:
        ValueError: it is none (within the parser's callbacks: an error of the parser's).
    """
    if not url.startswith(b"/") or b"#" in url:
        parsed = httptools.parse_url(url)
        raw, query = parsed.path or b"/", parsed.query or b""
    else:
        raw, _, query = url.partition(b"?")
    path = raw.decode("ascii")
    return (unquote(path) if "%" in path else path), query
