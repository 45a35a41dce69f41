"""Curves reach a server that listens; one that refuses, hangs up or is not there costs nothing."""

import base64
import json
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from modelyard.training import Stream
from modelyard.training.stream import Curves


class Receiver(ThreadingHTTPServer):
    status = 200

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.bodies: list[dict[str, Any]] = []
        self.paths: list[str] = []
        self.authorizations: list[str | None] = []
        self.redirect: str | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class Handler(BaseHTTPRequestHandler):
    server: Receiver  # pyright: ignore[reportIncompatibleVariableOverride]

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.paths.append(self.path)
        self.server.authorizations.append(self.headers["Authorization"])
        self.server.bodies.append(json.loads(body))
        self.send_response(self.server.status)
        if self.server.redirect is not None:
            self.send_header("Location", self.server.redirect)
        self.end_headers()

    def do_GET(self) -> None:
        self.server.authorizations.append(self.headers["Authorization"])
        self.send_response(200)
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        pass


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with _receiving() as server:
        yield server


@contextmanager
def _receiving() -> Iterator[Receiver]:
    server = Receiver()
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def test_all_metrics_arrive_in_batches(receiver: Receiver, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")  # not for this machine's own servers
    curves = Curves(Stream(receiver.url + "/", "run-1"))
    for step in range(1500):
        curves.put(step, loss=step / 2, lr=0.1)
    curves.close()
    assert set(receiver.paths) == {"/api/2.0/mlflow/runs/log-batch"}
    assert {body["run_id"] for body in receiver.bodies} == {"run-1"}
    assert all(len(body["metrics"]) <= 1000 for body in receiver.bodies)
    metrics = [metric for body in receiver.bodies for metric in body["metrics"]]
    assert [m["value"] for m in metrics if m["key"] == "loss"] == [s / 2 for s in range(1500)]
    assert [m["step"] for m in metrics if m["key"] == "lr"] == list(range(1500))


def test_a_server_that_refuses_is_given_up_on(
    receiver: Receiver, caplog: pytest.LogCaptureFixture
) -> None:
    receiver.status = 500
    curves = Curves(Stream(receiver.url, "run-1"))
    curves.put(1, loss=1.0)
    curves.close()
    assert len(receiver.bodies) == 1
    assert "the training goes on" in caplog.text


@pytest.mark.parametrize("uri", ["http://127.0.0.1:{port}", "file:///mlruns", "sqlite:///x.db"])
def test_no_server_costs_nothing(uri: str) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        curves = Curves(Stream(uri.format(port=taken.getsockname()[1]), "run-1"))
        for step in range(50_000):
            curves.put(step, loss=1.0)
        curves.close()
        assert not curves._thread.is_alive()


def test_a_silent_server_does_not_hold_the_training_up() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        curves = Curves(Stream(f"http://127.0.0.1:{silent.getsockname()[1]}", "run-1"))
        curves.put(1, loss=1.0)
        start = time.monotonic()
        curves.close()
        assert time.monotonic() - start < 10


@pytest.mark.parametrize(
    ("written", "sent"),
    [
        ("user:secret", b"user:secret"),
        ("us%40er:s%C3%A9cret%2F%3A", "us@er:s\u00e9cret/:".encode()),
        ("user", b"user:"),
    ],
)
def test_credentials_of_the_address_become_a_header(
    receiver: Receiver, written: str, sent: bytes
) -> None:
    curves = Curves(Stream(receiver.url.replace("//", f"//{written}@") + "/mlflow/", "run-1"))
    curves.put(1, loss=1.0)
    curves.close()
    assert receiver.authorizations == [f"Basic {base64.b64encode(sent).decode()}"]
    assert receiver.paths == ["/mlflow/api/2.0/mlflow/runs/log-batch"]


def test_credentials_are_not_for_another_host(receiver: Receiver) -> None:
    with _receiving() as other:
        receiver.status, receiver.redirect = 302, other.url
        curves = Curves(Stream(receiver.url.replace("//", "//user:secret@"), "run-1"))
        curves.put(1, loss=1.0)
        curves.close()
        assert receiver.authorizations != [None]
        assert other.authorizations == [None]


@pytest.mark.parametrize(
    "uri",
    ["http://user:secret@127.0.0.1:port", "http://user:secret@[::1", "http://user:secret@a b:80"],
)
def test_an_impossible_address_costs_nothing_and_is_not_told(
    uri: str, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    curves = Curves(Stream(uri, "run-1"))
    curves.put(1, loss=1.0)
    curves.close()
    assert "the training goes on" in caplog.text
    assert "secret" not in caplog.text + "".join(capfd.readouterr())


def test_an_answer_that_is_not_http_costs_nothing(caplog: pytest.LogCaptureFixture) -> None:
    with socket.create_server(("127.0.0.1", 0)) as strange:
        curves = Curves(Stream(f"http://127.0.0.1:{strange.getsockname()[1]}", "run-1"))
        curves.put(1, loss=1.0)
        connection, _ = strange.accept()
        with connection:
            connection.recv(65536)
            connection.sendall(b"hello\r\n\r\n")
        curves.close()
    assert "the training goes on" in caplog.text


def test_without_a_stream_nothing_runs() -> None:
    before = threading.active_count()
    curves = Curves(None)
    curves.put(1, loss=1.0)
    curves.close()
    assert threading.active_count() == before
