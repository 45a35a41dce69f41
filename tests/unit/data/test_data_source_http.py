"""A file over http: whole after dropped connections, never with a secret in what is shown."""

import base64
import hashlib
import logging
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
from data_tables import contract, put

from modelyard.artifacts import Layout
from modelyard.data import source_http
from modelyard.data.fetch import fetch
from modelyard.errors import ModelyardError, ServiceUnavailable, SourceError, WorkspaceError

CONTENT = bytes(range(256)) * 2000
DIGEST = hashlib.sha256(CONTENT).hexdigest()
WORD = "hunter2secret"


class Handler(BaseHTTPRequestHandler):
    """Answers by the path's first part; the last one is the file's name."""

    protocol_version = "HTTP/1.1"
    asked: list[tuple[str, str | None]] = []  # noqa: RUF012 - of the one server of a test

    def log_message(self, *_: Any) -> None:
        pass

    def do_GET(self) -> None:
        self.asked.append((self.path, self.headers.get("Range")))
        getattr(self, "_" + self.path.split("/")[1])()

    def _whole(self) -> None:
        self._send(CONTENT, len(CONTENT))

    def _drops(self) -> None:
        """A hundred thousand bytes at a time, then the line is cut."""
        start = self._start()
        self._send(CONTENT[start : start + 100_000], len(CONTENT) - start, start)

    def _forgets(self) -> None:
        """Drops once, and knows no ranges."""
        num = len(CONTENT) if len(self.asked) > 1 else 70_000
        self._send(CONTENT[:num], len(CONTENT))

    def _changes(self) -> None:
        """Another content after the first drop: If-Range makes it come whole."""
        if len(self.asked) == 1:
            self._send(b"old" * 50_000, len(CONTENT), tag='"old"')
        else:
            assert self.headers["If-Range"] == '"old"'
            self._whole()

    def _busy(self) -> None:
        if len(self.asked) < 3:
            self._empty(503)
        else:
            self._whole()

    def _away(self) -> None:
        self._empty(503)

    def _missing(self) -> None:
        self._empty(404)

    def _moved(self) -> None:
        self._empty(302, "/whole/rows.csv")

    def _evil(self) -> None:
        self._empty(302, f"file:///etc/{self.path.rpartition('/')[2]}")

    def _circle(self) -> None:
        self._empty(302, self.path)

    def _login(self) -> None:
        wanted = base64.b64encode(f"ann:{WORD}".encode()).decode()
        if self.headers.get("Authorization") == f"Basic {wanted}":
            self._whole()
        else:
            self._empty(401)

    def _huge(self) -> None:
        self._send(b"", 1 << 60)

    def _start(self) -> int:
        given = self.headers.get("Range", "bytes=0-")
        return int(given.removeprefix("bytes=").rstrip("-"))

    def _send(self, body: bytes, declared: int, start: int = 0, tag: str = '"one"') -> None:
        self.send_response(206 if start else 200)
        self.send_header("Content-Length", str(declared))
        self.send_header("ETag", tag)
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(CONTENT) - 1}/{len(CONTENT)}")
        self.end_headers()
        self.wfile.write(body)
        self.close_connection = len(body) < declared

    def _empty(self, status: int, location: str | None = None) -> None:
        self.send_response(status)
        self.send_header("Content-Length", "0")
        if location:
            self.send_header("Location", location)
        self.end_headers()


@pytest.fixture
def url(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[str]:
    """A server on the loopback interface; no waiting, no netrc file of the user's."""
    monkeypatch.setattr(source_http, "PAUSE", 0)
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    Handler.asked = []
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()
    thread.join()


def bring(tmp_path: Path, source: str, sha256: str | None = DIGEST) -> bytes:
    raw = fetch(Layout(tmp_path / "project"), contract(source=source, sha256=sha256))
    assert [path.name for path in raw.path.iterdir()] == ["rows.csv"]
    return (raw.path / "rows.csv").read_bytes()


@pytest.mark.parametrize("path", ["whole", "moved", "busy", "forgets", "changes"])
def test_the_file_comes_whole(tmp_path: Path, url: str, path: str) -> None:
    assert bring(tmp_path, f"{url}/{path}/rows.csv") == CONTENT


def test_a_dropped_connection_goes_on_where_it_was(tmp_path: Path, url: str) -> None:
    assert bring(tmp_path, f"{url}/drops/rows.csv") == CONTENT
    ranges = [given for _, given in Handler.asked]
    assert ranges == [None, *(f"bytes={start}-" for start in range(100_000, 512_000, 100_000))]


@pytest.mark.parametrize(
    ("path", "kind", "expected"),
    [
        ("away", ServiceUnavailable, "was given up after 5 attempts, 0 bytes received: status 503"),
        ("missing", SourceError, "answers with status 404"),
        ("evil", SourceError, "redirects to a file: address"),
        ("circle", SourceError, "redirects in a circle"),
        ("login", SourceError, "answers with status 401"),
        ("huge", WorkspaceError, "no space left"),
    ],
)
def test_what_cannot_pass_is_an_error_and_leaves_nothing(
    tmp_path: Path, url: str, path: str, kind: type[ModelyardError], expected: str
) -> None:
    with pytest.raises(kind, match=expected):
        bring(tmp_path, f"{url}/{path}/rows.csv")
    assert list((tmp_path / "project").rglob("*.csv")) == []
    assert len(Handler.asked) == {"away": 5, "circle": 10}.get(path, 1)


def test_another_content_than_the_pinned_is_refused(tmp_path: Path, url: str) -> None:
    with pytest.raises(SourceError, match=f"set data.sha256: {DIGEST}"):
        bring(tmp_path, f"{url}/whole/rows.csv", "0" * 64)
    with pytest.raises(SourceError, match="it is taken only by its checksum") as caught:
        bring(tmp_path, f"{url}/whole/rows.csv", None)
    assert DIGEST in caught.value.remedy


def test_a_login_comes_from_netrc_and_is_shown_nowhere(
    tmp_path: Path, url: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    netrc = put(tmp_path / "netrc", f"machine 127.0.0.1 login ann password {WORD}\n".encode())
    netrc.chmod(0o644)
    with pytest.raises(WorkspaceError, match="can be read by others") as caught:
        bring(tmp_path, f"{url}/login/rows.csv")
    assert "chmod 600" in caught.value.remedy
    netrc.chmod(0o600)
    assert bring(tmp_path, f"{url}/login/rows.csv") == CONTENT
    assert WORD not in caplog.text + str(caught.value)
    netrc.write_text(f"machine 127.0.0.1 login ann passwrd {WORD}\n")
    with pytest.raises(WorkspaceError, match="cannot be read: line 1") as caught:
        bring(tmp_path, f"{url}/login/rows.csv")
    assert WORD not in str(caught.value)


@pytest.mark.parametrize(
    "source",
    [
        f"https://ann:{WORD}@example.org/rows.csv",
        f"https://example.org/rows.csv?X-Amz-Signature={WORD}",
        f"https://example.org/rows.csv?v=1&token={WORD}",
    ],
)
def test_a_secret_in_the_address_is_refused_and_not_repeated(tmp_path: Path, source: str) -> None:
    with pytest.raises(SourceError) as caught:
        bring(tmp_path, source)
    assert WORD not in str(caught.value)
    assert "netrc" in caught.value.remedy
