"""predict: what is sent, and what a failed exchange says."""

import base64
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from io import StringIO
from pathlib import Path
from typing import ClassVar

import pytest
from rich.console import Console

from modelyard.artifacts import write_json
from modelyard.cli import predict
from modelyard.errors import ModelyardError, ParamsError, ServiceUnavailable
from modelyard.settings import Settings

ANSWER = {"model": "digits", "version": 1, "predictions": [{"label": "7", "probability": 1.0}]}


class _Server(BaseHTTPRequestHandler):
    seen: ClassVar[list[dict[str, str]]] = []
    mode: ClassVar[str] = "answer"

    def do_POST(self) -> None:
        self.seen.append({key.lower(): value for key, value in self.headers.items()})
        if self.mode == "close":
            self.close_connection = True
            return
        self.rfile.read(int(self.headers["content-length"]))
        body = json.dumps(ANSWER).encode() if self.mode == "answer" else b"<html>"
        self.send_response(200)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base's name
        """Nothing of a test's server on the terminal."""


@pytest.fixture
def address(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    monkeypatch.setattr(_Server, "seen", [])
    monkeypatch.setattr(_Server, "mode", "answer")
    server = HTTPServer(("127.0.0.1", 0), _Server)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    yield f"127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


def settings_for(url: str, folder: Path) -> Settings:
    return Settings(serving_url=url, state_dir=folder)


@pytest.mark.parametrize(
    ("name", "body", "kind"),
    [
        ("d.png", b"x", "image/png"),
        ("d.JPG", b"x", "image/jpeg"),
        ("d.wav", b"x", "audio/wav"),
        ("d.csv", b"a,b", "text/csv"),
        ("d.txt", b"x", "text/plain"),
        ("d.json", b"[", "application/json"),
        ("rows", b' {"rows": []}', "application/json"),
    ],
)
def test_a_file_is_sent_as_what_it_is(
    name: str, body: bytes, kind: str, address: str, tmp_path: Path
) -> None:
    (tmp_path / name).write_bytes(body)
    answer = predict.ask(settings_for(f"http://{address}", tmp_path), "digits", tmp_path / name)
    assert answer == ANSWER
    assert _Server.seen[0]["content-type"] == kind


@pytest.mark.parametrize("name", ["x.GIF", "x.bmp", "x.webp", "x", "x.md"])
def test_another_kind_of_file_is_refused_before_it_is_sent(
    name: str, address: str, tmp_path: Path
) -> None:
    (tmp_path / name).write_bytes(b"GIF89a")
    settings = settings_for(f"http://{address}", tmp_path)
    with pytest.raises(ModelyardError, match=f"^pictures/{name} is neither") as caught:
        predict.ask(settings, "digits", tmp_path / name, f"pictures/{name}")
    assert ".wav" in caught.value.remedy
    assert not _Server.seen


@pytest.mark.parametrize(
    ("prediction", "words"),
    [
        ({"label": "7", "probability": 0.75}, "'7' with probability 0.750"),
        ({"prediction": 1234.56789}, "1234.57"),
        (
            {"labels": ["a", "b"], "probabilities": {"a": 0.9, "b": 0.6, "c": 0.1}},
            "'a' (0.900), 'b' (0.600)",
        ),
        ({"labels": [], "probabilities": {"a": 0.1}}, "none of the labels"),
    ],
)
def test_an_answer_of_every_task_is_said_in_words(
    prediction: dict[str, object], words: str
) -> None:
    out = StringIO()
    console = Console(file=out, soft_wrap=True)
    predict._show(console, {"model": "m", "version": 2, "predictions": [prediction]})
    assert out.getvalue() == f"  → {words}, by m version 2\n"


def test_a_server_that_closes_on_a_large_body_is_not_called_away(
    address: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_Server, "mode", "close")
    (tmp_path / "d.json").write_bytes(b" " * (40 << 20))
    with pytest.raises(ModelyardError) as caught:
        predict.ask(settings_for(f"http://{address}", tmp_path), "digits", tmp_path / "d.json")
    assert not isinstance(caught.value, ServiceUnavailable)
    assert "closed the connection" in caught.value.message
    assert "its 40 MB are over the limit of a request (16 MB)" in caught.value.message


def test_a_server_that_closes_on_a_small_body_does_not_answer(
    address: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_Server, "mode", "close")
    (tmp_path / "d.json").write_bytes(b"{}")
    with pytest.raises(ServiceUnavailable, match="does not answer"):
        predict.ask(settings_for(f"http://{address}", tmp_path), "digits", tmp_path / "d.json")


def test_an_answer_that_is_not_json_is_no_model_server(
    address: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_Server, "mode", "page")
    (tmp_path / "d.json").write_bytes(b"{}")
    with pytest.raises(ServiceUnavailable, match="does not answer as a model server does"):
        predict.ask(settings_for(f"http://{address}", tmp_path), "digits", tmp_path / "d.json")


def test_the_limit_is_that_of_the_server() -> None:
    from modelyard.serving.http import MAX_BODY

    assert predict._MAX_BODY == MAX_BODY


def test_an_address_with_an_account_sends_it_and_never_shows_it(
    address: str, tmp_path: Path
) -> None:
    (tmp_path / "d.json").write_bytes(b"{}")
    settings = settings_for(f"http://ann:se%40cret@{address}", tmp_path)
    predict.ask(settings, "digits", tmp_path / "d.json")
    token = _Server.seen[0]["authorization"].removeprefix("Basic ")
    assert base64.b64decode(token) == b"ann:se@cret"
    closed = settings_for("http://ann:secret@127.0.0.1:1", tmp_path)
    with pytest.raises(ServiceUnavailable) as caught:
        predict.ask(closed, "digits", tmp_path / "d.json")
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("url", ["nowhere", "http://ann:secret@h:port", "http://[::1"])
def test_an_address_that_is_none_is_said_to_be_no_model_server(url: str, tmp_path: Path) -> None:
    (tmp_path / "d.json").write_bytes(b"{}")
    with pytest.raises(ServiceUnavailable) as caught:
        predict.ask(settings_for(url, tmp_path), "digits", tmp_path / "d.json")
    assert "secret" not in str(caught.value)


def test_the_first_answer_shows_no_password(address: str, tmp_path: Path) -> None:
    settings = Settings.model_validate(
        {
            "serving_url": f"http://ann:secret@{address}",
            "mlflow_tracking_uri": "https://bob:hidden@mlflow.example/x",
            "prefect_api_url": "https://eve:covert@prefect.example/api",
            "state_dir": tmp_path,
        }
    )
    live = tmp_path / "serving" / "digits"
    write_json(live / "live.json", {"path": "v"})
    write_json(live / "v" / "input_example.json", {"rows": [{"x": 1}]})
    out = StringIO()
    predict.show_first_answer(Console(file=out, soft_wrap=True), settings, "digits")
    shown = out.getvalue()
    assert "'7' with probability 1.000" in shown
    assert f"curl -s http://***@{address}/predict/digits" in shown
    assert "https://***@mlflow.example/x/#/models/digits" in shown
    assert not {word for word in ("ann", "secret", "hidden", "covert") if word in shown}


@pytest.mark.parametrize("name", ["a b", "é", "a\nb"])
def test_a_name_that_no_model_has_is_refused_before_the_request(
    name: str, address: str, tmp_path: Path
) -> None:
    (tmp_path / "d.json").write_bytes(b"{}")
    with pytest.raises(ParamsError, match="is no name of a model"):
        predict.ask(settings_for(f"http://{address}", tmp_path), name, tmp_path / "d.json")
    assert not _Server.seen
