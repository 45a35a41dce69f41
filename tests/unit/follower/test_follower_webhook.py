"""The webhook's receiver over real sockets: only a new message that MLflow signed wakes."""

import base64
import hashlib
import hmac
import http.client
import os
import signal
import socket
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelyard.follower import webhook
from modelyard.follower.hooks import Waker, ensure_secret, hook_name
from modelyard.follower.webhook import MAX_BODY, PATH, WINDOW_S, Guard, Receiver, parse_signature

SECRET = b"the secret of this test"
NOW = 1_800_000_000
BODY = b'{"entity": "model_version_alias", "action": "created"}'


def signed(
    delivery: str = "id-1", sent: int = NOW, body: bytes = BODY, secret: bytes = SECRET
) -> dict[str, str]:
    """The headers that MLflow sends with a body."""
    code = hmac.new(secret, f"{delivery}.{sent}.".encode() + body, hashlib.sha256).digest()
    return {
        "X-MLflow-Delivery-Id": delivery,
        "X-MLflow-Timestamp": str(sent),
        "X-MLflow-Signature": f"v1,{base64.b64encode(code).decode()}",
    }


@dataclass
class Caller:
    """A receiver whose clock stands, and those who call it."""

    guard: Guard
    receiver: Receiver = field(init=False)
    num_wakes: int = 0

    def __post_init__(self) -> None:
        self.receiver = Receiver(self.guard, self._wake)

    def _wake(self) -> None:
        self.num_wakes += 1

    def post(self, headers: dict[str, str], body: bytes = BODY, path: str = PATH) -> int:
        return self.ask("POST", path, headers, body)

    def ask(self, method: str, path: str, headers: dict[str, str], body: bytes | None) -> int:
        connection = http.client.HTTPConnection("127.0.0.1", self.receiver.port, timeout=10)
        try:
            connection.request(method, path, body, headers)
            answer = connection.getresponse()
            assert answer.read() == b""
            assert answer.headers["server"] == "modelyard"
            return answer.status
        finally:
            connection.close()

    def raw(self, content: bytes) -> bytes:
        with socket.create_connection(("127.0.0.1", self.receiver.port), timeout=10) as connection:
            connection.sendall(content)
            connection.shutdown(socket.SHUT_WR)
            return b"".join(iter(lambda: connection.recv(4096), b""))


@pytest.fixture
def caller() -> Iterator[Caller]:
    caller = Caller(Guard(SECRET, since=NOW - 100, clock=lambda: NOW))
    yield caller
    caller.receiver.close()


def test_a_new_message_wakes_once(caller: Caller) -> None:
    headers = signed()
    assert caller.post(headers) == 204
    assert caller.num_wakes == 1
    assert caller.post(headers) == 409
    assert caller.num_wakes == 1


def test_reordered_messages_all_count(caller: Caller) -> None:
    sent = [signed(f"id-{age}", NOW - age) for age in (5, 40, 0, 90, 20)]
    assert [caller.post(headers) for headers in sent] == [204] * 5
    assert [caller.post(headers) for headers in reversed(sent)] == [409] * 5


@pytest.mark.parametrize(
    ("change", "status"),
    [
        ({"X-MLflow-Signature": f"v1,{base64.b64encode(bytes(32)).decode()}"}, 401),
        (signed(secret=b"another"), 401),
        (signed(body=BODY + b" "), 401),
        ({"X-MLflow-Delivery-Id": "id-2"}, 401),
        ({"X-MLflow-Delivery-Id": ""}, 401),
        ({"X-MLflow-Timestamp": str(NOW + 1)}, 401),
        ({"X-MLflow-Timestamp": "soon"}, 401),
        ({"X-MLflow-Signature": "v1,"}, 401),
        ({"X-MLflow-Signature": "v2" + signed()["X-MLflow-Signature"][2:]}, 401),
        (signed("a.b"), 401),
        (signed(sent=NOW + WINDOW_S + 1), 401),
        (signed(sent=NOW - 100), 409),
        (signed(sent=NOW - 101), 409),
    ],
    ids=lambda value: None if isinstance(value, int) else "-".join(value),
)
def test_no_other_wakes(caller: Caller, change: dict[str, str], status: int) -> None:
    assert caller.post(signed() | change) == status
    assert caller.num_wakes == 0
    assert caller.post(signed()) == 204


def test_what_is_old_is_refused(caller: Caller) -> None:
    caller.guard.since = 0
    assert caller.post(signed("old", NOW - WINDOW_S - 1)) == 401
    assert caller.post(signed("late", NOW - WINDOW_S)) == 204


def test_a_message_without_headers_is_refused(caller: Caller) -> None:
    assert caller.post({}) == 401
    assert caller.receiver.num_forged == 1


def test_other_methods_paths_and_sizes(caller: Caller) -> None:
    headers = signed()
    assert caller.ask("GET", PATH, headers, None) == 405
    assert caller.ask("DELETE", PATH, headers, None) == 405
    assert caller.post(headers, path="/") == 404
    assert caller.post(headers, path=f"{PATH}?a=1") == 404
    assert caller.post(headers | {"Content-Length": str(MAX_BODY + 1)}) == 413
    assert caller.post(headers | {"Content-Length": "-1"}) == 411
    assert caller.post(headers | {"Transfer-Encoding": "chunked"}) == 411
    assert caller.num_wakes == 0
    full = bytes(MAX_BODY)
    assert caller.post(signed(body=full), full) == 204


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"POST /secret-path\r\n\r\n",
        b"POST /mlflow HTTP/9.9\r\n\r\n",
        b"POST " + b"a" * 70_000 + b" HTTP/1.1\r\n\r\n",
        b"POST /mlflow HTTP/1.1\r\n" + b"a: b\r\n" * 200 + b"\r\n",
        b"POST /mlflow HTTP/1.1\r\ncontent-length: 10\r\n\r\nabc",
    ],
)
def test_garbage_is_answered_shortly_or_not_at_all(caller: Caller, content: bytes) -> None:
    answer = caller.raw(content)
    assert b"secret-path" not in answer
    assert b"Python" not in answer
    assert caller.num_wakes == 0
    assert caller.post(signed()) == 204


def test_slow_callers_are_cut_off_and_do_not_keep_others_out(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(webhook, "_DEADLINE_S", 0.4)
    caller = Caller(Guard(SECRET, since=0, clock=lambda: NOW))
    slow = [socket.create_connection(("127.0.0.1", caller.receiver.port)) for _ in range(40)]
    try:
        for connection in slow:
            connection.settimeout(10)
            connection.sendall(b"POST /mlflow HTTP/1.1\r\ncontent-length: 100\r\n\r\n")
        closed = 0
        for connection in slow:
            try:
                while True:
                    connection.sendall(b"x")
                    connection.settimeout(0.05)
                    try:
                        if not connection.recv(100):
                            break
                    except TimeoutError:
                        continue
            except OSError:
                pass
            closed += 1
        assert closed == 40
        assert caller.post(signed()) == 204
    finally:
        for connection in slow:
            connection.close()
        caller.receiver.close()


@given(st.text() | st.binary().map(lambda raw: "v1," + base64.b64encode(raw).decode()))
def test_a_signature_header_is_32_bytes_or_nothing(header: str) -> None:
    signature = parse_signature(header)
    if signature is not None:
        assert len(signature) == 32
        assert header == f"v1,{base64.b64encode(signature).decode()}"


@given(st.binary(min_size=32, max_size=32))
def test_a_well_formed_signature_is_read(signature: bytes) -> None:
    assert parse_signature(f"v1,{base64.b64encode(signature).decode()}") == signature


@given(
    st.lists(st.tuples(st.integers(0, 40), st.integers(-400, 400)), max_size=80),
    st.integers(1, 5),
)
def test_no_message_counts_twice_however_small_the_memory(
    messages: list[tuple[int, int]], size: int
) -> None:
    guard = Guard(SECRET, since=0, num_remembered=size, clock=lambda: NOW)
    taken: list[tuple[int, int]] = []
    for number, age in messages:
        name, sent, signature = signed(f"{number}", NOW - age).values()
        if guard.check(name, sent, signature, BODY) == 204:
            taken.append((number, age))
        assert len(guard._seen) <= size
    assert len(set(taken)) == len(taken)
    assert all(abs(age) <= WINDOW_S for _, age in taken)


def test_the_former_port_is_taken_again_unless_another_has_it() -> None:
    def wake() -> None:
        pass

    guard = Guard(SECRET, since=0)
    first = Receiver(guard, wake)
    other = Receiver(guard, wake, first.port)
    assert other.port != first.port
    other.close()
    first.close()
    again = Receiver(guard, wake, first.port)
    assert again.port == first.port
    again.close()


def test_the_secret_is_made_once_and_nobody_else_may_read_it(tmp_path: Path) -> None:
    file = tmp_path / "keys/webhook-secret"
    secret = ensure_secret(file)
    assert len(secret) >= 32
    file.chmod(0o644)
    assert ensure_secret(file) == secret
    assert file.stat().st_mode & 0o777 == 0o600
    assert hook_name(tmp_path) == hook_name(tmp_path / "keys/..")
    assert hook_name(tmp_path) != hook_name(file)


def test_a_waker_ends_a_wait_from_a_thread_and_from_a_signal() -> None:
    waker = Waker()
    for _ in range(3):
        waker.wake()
    started = time.monotonic()
    assert not waker.wait(60)
    threading.Timer(0.05, waker.wake).start()
    assert not waker.wait(60)
    former = signal.signal(signal.SIGUSR1, lambda *_: waker.stop())
    try:
        threading.Timer(0.05, os.kill, [os.getpid(), signal.SIGUSR1]).start()
        assert waker.wait(60)
    finally:
        signal.signal(signal.SIGUSR1, former)
    assert time.monotonic() - started < 30
