"""Messages about failed runs: to a real web server and a real mail server on loopback."""

import json
import logging
import socketserver
import threading
from collections.abc import Iterator
from email import message_from_bytes, policy
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest
from fake_prefect import FakePrefect

from modelyard.errors import WorkspaceError
from modelyard.orchestration import messages
from modelyard.orchestration.messages import Messenger

REASON = "Flow run encountered an exception: DataRejected: 7 of 100 rows break the contract"


class Hook(BaseHTTPRequestHandler):
    """Keeps what is posted."""

    def do_POST(self) -> None:
        self.server.taken.append(json.loads(self.rfile.read(int(self.headers["content-length"]))))  # type: ignore[attr-defined]
        self.send_response(200)
        self.end_headers()

    def log_message(self, *args: Any) -> None:
        """Say nothing."""


class Mail(socketserver.StreamRequestHandler):
    """As much of SMTP (RFC 5321) as a client needs to deliver a message."""

    def handle(self) -> None:
        self.wfile.write(b"220 here\r\n")
        while line := self.rfile.readline():
            verb = line[:4].upper()
            if verb == b"DATA":
                self.wfile.write(b"354 go on\r\n")
                lines = iter(self.rfile.readline, b".\r\n")
                self.server.taken.append(b"".join(lines))  # type: ignore[attr-defined]
            self.wfile.write(b"221 bye\r\n" if verb == b"QUIT" else b"250 fine\r\n")
            if verb == b"QUIT":
                return


@pytest.fixture
def receivers() -> Iterator[tuple[Any, Any]]:
    """A web server and a mail server; ``taken`` has what each got."""
    started = [HTTPServer(("127.0.0.1", 0), Hook), socketserver.TCPServer(("127.0.0.1", 0), Mail)]
    for server in started:
        server.taken = []  # type: ignore[attr-defined]
        threading.Thread(target=server.serve_forever, daemon=True).start()
    yield started[0], started[1]
    for server in started:
        server.shutdown()
        server.server_close()


def failed_run(number: int = 1) -> dict[str, Any]:
    return {
        "id": f"flow-run-{number}",
        "name": "20260105-060000-1f2e",
        "flow_id": "flow",
        "deployment_id": "deployment",
        "state": {"id": f"state-{number}", "message": REASON},
        "state_type": "FAILED",
        "state_name": "Failed",
    }


def addresses(folder: Path, *lines: str, mode: int = 0o600) -> Path:
    path = folder / "notify"
    path.write_text("# who is told\n" + "\n".join(lines) + "\n")
    path.chmod(mode)
    return path


@pytest.fixture
def prefect() -> FakePrefect:
    step = {"flow_run_id": "flow-run-1", "name": "ingest-2c1", "start_time": "2026-01-05"}
    return FakePrefect(flow_runs=[failed_run()], task_runs=[step])


def test_hook_and_mail_get_reason_step_and_link_once(
    tmp_path: Path, receivers: tuple[Any, Any], prefect: FakePrefect
) -> None:
    hook, mail = receivers
    path = addresses(
        tmp_path,
        f"json://127.0.0.1:{hook.server_port}/hook",
        f"mailto://127.0.0.1:{mail.server_address[1]}?from=yard@localhost.test&to=team@localhost.test",
    )
    assert Messenger(tmp_path, path).tell(prefect) == [
        "modelyard: pipeline-nightly failed in ingest"
    ]
    assert Messenger(tmp_path, path).tell(prefect) == [], "told already, also by a worker before"
    (posted,), (mailed,) = hook.taken, mail.taken
    parsed = message_from_bytes(mailed, policy=policy.default)
    assert parsed["to"] == "team@localhost.test"
    body = parsed.get_body(("plain", "html"))
    assert body is not None
    for title, text in (
        (posted["title"], posted["message"]),
        (parsed["subject"], body.get_content()),
    ):
        assert title == "modelyard: pipeline-nightly failed in ingest"
        assert "DataRejected: 7 of 100 rows break the contract" in text
        assert "ingest" in text
        assert "http://127.0.0.1:1/runs/flow-run/flow-run-1" in text
        assert "modelyard runs continue 20260105-060000-1f2e" in text


def test_a_night_of_failures_is_told_whole(
    tmp_path: Path, receivers: tuple[Any, Any], prefect: FakePrefect
) -> None:
    prefect.tables["flow_runs"] = [failed_run(number) for number in range(100)]
    path = addresses(tmp_path, f"json://127.0.0.1:{receivers[0].server_port}")
    assert len(Messenger(tmp_path, path).tell(prefect)) == 100
    assert len(receivers[0].taken) == 100


def test_a_retry_that_fails_is_told_again(
    tmp_path: Path, receivers: tuple[Any, Any], prefect: FakePrefect
) -> None:
    path = addresses(tmp_path, f"json://127.0.0.1:{receivers[0].server_port}")
    Messenger(tmp_path, path).tell(prefect)
    prefect.tables["flow_runs"] = [failed_run() | {"state": {"id": "state-2", "message": ""}}]
    assert len(Messenger(tmp_path, path).tell(prefect)) == 1
    assert "Reason: none given" in receivers[0].taken[1]["message"]


def test_an_address_that_others_can_read_is_refused(tmp_path: Path, prefect: FakePrefect) -> None:
    path = addresses(tmp_path, "json://127.0.0.1", mode=0o644)
    with pytest.raises(WorkspaceError, match="can be read by others") as caught:
        Messenger(tmp_path, path).tell(prefect)
    assert caught.value.remedy == f"Run: chmod 600 {path}"


def test_no_secret_is_logged_when_nobody_answers(
    tmp_path: Path, prefect: FakePrefect, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    path = addresses(tmp_path, "json://user:s3cr3t@127.0.0.1:1/hook?token=t0k3n")
    teller = Messenger(tmp_path, path)
    assert teller.tell(prefect) == []
    assert "could not be sent" in caplog.text
    assert "s3cr3t" not in caplog.text
    assert "t0k3n" not in caplog.text


def test_what_is_no_address_is_named_by_its_place(tmp_path: Path, prefect: FakePrefect) -> None:
    path = addresses(tmp_path, "json://127.0.0.1", "carrier-pigeon://s3cr3t")
    with pytest.raises(WorkspaceError, match="address 2 is none") as caught:
        Messenger(tmp_path, path).tell(prefect)
    assert "s3cr3t" not in str(caught.value)


def test_without_the_file_nobody_is_asked(tmp_path: Path, prefect: FakePrefect) -> None:
    assert Messenger(tmp_path, tmp_path / "none").tell(prefect) == []
    assert prefect.calls == []


def test_three_attempts_are_made(
    tmp_path: Path, prefect: FakePrefect, monkeypatch: pytest.MonkeyPatch
) -> None:
    tries: list[str] = []

    def refuse(path: Path, title: str, text: str) -> bool:
        tries.append(title)
        return False

    monkeypatch.setattr(messages, "send", refuse)
    path = addresses(tmp_path, "json://127.0.0.1")
    for _ in range(5):
        Messenger(tmp_path, path).tell(prefect)
    assert len(tries) == 3
