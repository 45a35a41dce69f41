"""The receiver of MLflow's webhook: a signed post wakes the follower, whatever it says.

The content is not read, as the alias is the truth. So a forged, late or reordered message can do
nothing, and one that is lost costs the wait until the next look. A message counts once: within
``WINDOW_S`` by its delivery id, after that by its age.
"""

import base64
import binascii
import hashlib
import hmac
import logging
import re
import socket
import socketserver
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler
from typing import Any

_logger = logging.getLogger(__name__)

PATH = "/mlflow"
MAX_BODY = 64 * 1024
WINDOW_S = 300
"""How far MLflow's clock may be from ours; MLflow tries again for some 10 s."""
_NUM_REMEMBERED = 4096
_NUM_CONNECTIONS = 16
_DEADLINE_S = 5.0
_DELIVERY_ID = re.compile(r"[A-Za-z0-9_-]{1,128}")
_TIMESTAMP = re.compile(r"[0-9]{1,11}")
_LENGTH = re.compile(r"[0-9]{1,9}")


def parse_signature(header: str) -> bytes | None:
    """The 32 bytes in ``v1,`` and their base64; None where the header is anything else."""
    version, comma, text = header.partition(",")
    if version != "v1" or not comma:
        return None
    try:
        signature = base64.b64decode(text.encode("ascii"), validate=True)
    except (UnicodeEncodeError, binascii.Error):
        return None
    is_canonical = base64.b64encode(signature).decode() == text
    return signature if is_canonical and len(signature) == hashlib.sha256().digest_size else None


@dataclass
class Guard:
    """Tells MLflow's own new messages from all others.

    The memory is bounded: where ids are forgotten early, all that is as old as they is refused.

    Args:
        secret: What MLflow signs with.
        since: Nothing of this second (after 1970) or before is new: an earlier process, whose
            memory is gone, may have had it. Its sender's wish is seen by the look at the start.
        num_remembered: Delivery ids that are kept.
        clock: Seconds after 1970.
    """

    secret: bytes
    since: int
    num_remembered: int = _NUM_REMEMBERED
    clock: Callable[[], float] = time.time
    _seen: dict[str, int] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def check(self, delivery_id: str, timestamp: str, signature: str, body: bytes) -> HTTPStatus:
        """The answer to a message with these headers: 204 if it is new, else 401 or 409."""
        given = parse_signature(signature)
        well_formed = _DELIVERY_ID.fullmatch(delivery_id) and _TIMESTAMP.fullmatch(timestamp)
        if given is None or not well_formed:
            return HTTPStatus.UNAUTHORIZED
        signed = f"{delivery_id}.{timestamp}.".encode() + body
        if not hmac.compare_digest(given, hmac.digest(self.secret, signed, "sha256")):
            return HTTPStatus.UNAUTHORIZED
        return self._count(delivery_id, int(timestamp))

    def _count(self, delivery_id: str, sent: int) -> HTTPStatus:
        now = self.clock()
        if abs(now - sent) > WINDOW_S:
            return HTTPStatus.UNAUTHORIZED
        with self._lock:
            if sent <= self.since or delivery_id in self._seen:
                return HTTPStatus.CONFLICT
            self._seen[delivery_id] = sent
            if len(self._seen) > self.num_remembered:
                self._forget(now)
        return HTTPStatus.NO_CONTENT

    def _forget(self, now: float) -> None:
        kept = {name: sent for name, sent in self._seen.items() if now - sent <= WINDOW_S}
        if len(kept) > self.num_remembered:
            self.since = sorted(kept.values())[len(kept) // 2]
            kept = {name: sent for name, sent in kept.items() if sent > self.since}
        self._seen = kept


class Receiver:
    """Listens on the loopback interface and calls ``wake`` for each new message of MLflow's.

    Args:
        guard: Decides which are.
        wake: Called from another thread; must return at once.
        port: Where to listen if it is free; any port else.

    Raises:
        OSError: no port can be had.
    """

    def __init__(self, guard: Guard, wake: Callable[[], None], port: int = 0) -> None:
        try:
            self._server = _Server(("127.0.0.1", port), guard, wake)
        except OSError:
            self._server = _Server(("127.0.0.1", 0), guard, wake)
        self.port: int = self._server.server_address[1]
        self._closed = False
        self._thread = threading.Thread(target=self._serve, daemon=True, name="receiver")
        self._thread.start()

    @property
    def url(self) -> str:
        """Where MLflow is to post to."""
        return f"http://127.0.0.1:{self.port}{PATH}"

    @property
    def num_forged(self) -> int:
        """How many messages were not signed with our secret."""
        return self._server.num_forged

    def seconds_deaf(self) -> float:
        """How long every message will still be taken for one of before the start."""
        guard = self._server.guard
        return max(0.0, guard.since + 1 - guard.clock())

    def close(self) -> None:
        """Stop listening."""
        self._closed = True
        with suppress(OSError):
            socket.create_connection(("127.0.0.1", self.port), timeout=1).close()
        self._thread.join(1)
        self._server.server_close()

    def _serve(self) -> None:
        # Not serve_forever, which wakes up twice a second to see whether it is to stop.
        while not self._closed:
            self._server.handle_request()


class _Server(socketserver.ThreadingMixIn, socketserver.TCPServer):
    """A thread a connection, ``_NUM_CONNECTIONS`` at most; what comes on top is cut off."""

    allow_reuse_address = True
    daemon_threads = True
    block_on_close = False
    request_queue_size = 32

    def __init__(self, address: tuple[str, int], guard: Guard, wake: Callable[[], None]) -> None:
        self.guard, self.wake = guard, wake
        self.num_forged = 0
        self._free = threading.BoundedSemaphore(_NUM_CONNECTIONS)
        super().__init__(address, _Handler)

    def verify_request(self, request: Any, client_address: Any) -> bool:  # noqa: ARG002
        return self._free.acquire(blocking=False)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        # One byte now and then resets a socket's own time limit.
        end = threading.Timer(_DEADLINE_S, _cut, [request])
        end.daemon = True
        end.start()
        try:
            super().process_request_thread(request, client_address)
        finally:
            end.cancel()
            self._free.release()

    def handle_error(self, request: Any, client_address: Any) -> None:  # noqa: ARG002
        _logger.debug("a connection to the webhook's receiver broke", exc_info=True)


class _Handler(BaseHTTPRequestHandler):
    timeout = _DEADLINE_S

    def do_POST(self) -> None:
        """Answer without a word of why."""
        if self.path != PATH:
            self._answer(HTTPStatus.NOT_FOUND)
            return
        length = self.headers.get("content-length", "")
        if not _LENGTH.fullmatch(length) or "transfer-encoding" in self.headers:
            self._answer(HTTPStatus.LENGTH_REQUIRED)
            return
        if int(length) > MAX_BODY:
            self._answer(HTTPStatus.REQUEST_ENTITY_TOO_LARGE)
            return
        body = self.rfile.read(int(length))
        if len(body) < int(length):
            return
        names = ("delivery-id", "timestamp", "signature")
        delivery_id, timestamp, signature = (self.headers.get(f"x-mlflow-{n}", "") for n in names)
        assert isinstance(self.server, _Server)
        status = self.server.guard.check(delivery_id, timestamp, signature, body)
        if status == HTTPStatus.NO_CONTENT:
            self.server.wake()
        elif status == HTTPStatus.UNAUTHORIZED:
            self.server.num_forged += 1
        self._answer(status)

    def send_error(
        self,
        code: int,
        message: str | None = None,  # noqa: ARG002
        explain: str | None = None,  # noqa: ARG002
    ) -> None:
        """Answer what is not HTTP, or no POST, as shortly; the base class would repeat it."""
        unknown = code == HTTPStatus.NOT_IMPLEMENTED
        self._answer(HTTPStatus.METHOD_NOT_ALLOWED if unknown else HTTPStatus(code))

    def _answer(self, status: HTTPStatus) -> None:
        self.close_connection = True
        self.send_response(status)
        if status == HTTPStatus.METHOD_NOT_ALLOWED:
            self.send_header("allow", "POST")
        self.send_header("content-length", "0")
        self.send_header("connection", "close")
        self.end_headers()

    def version_string(self) -> str:
        """Names no versions."""
        return "modelyard"

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
        """Say nothing: a caller must not be able to fill the log."""


def _cut(connection: socket.socket) -> None:
    with suppress(OSError):
        connection.shutdown(socket.SHUT_RDWR)
