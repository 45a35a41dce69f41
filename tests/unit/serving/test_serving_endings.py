"""What is told of a request when it ends, and the headers that every answer has."""

import logging
from pathlib import Path
from typing import Any

import pytest

from modelyard.serving import keys
from modelyard.serving.app import App
from modelyard.serving.endings import Ended, log_access
from modelyard.serving.keys import KeyFile
from tests.unit.serving.conftest import Client
from tests.unit.serving.table_packages import write_table_package
from tests.unit.serving.tiny_packages import place, publish

BODY = {"rows": [{"image": [[0] * 4] * 4}]}
SECRET = "jane@example.com"


@pytest.fixture
def served(client: Client, folder: Path) -> Client:
    publish(folder, "digits", 1, 1)
    client.scan()
    return client


def records(caplog: pytest.LogCaptureFixture) -> list[dict[str, Any]]:
    return [record.__dict__ for record in caplog.records]


def test_the_access_log_names_what_was_asked_and_no_value(
    folder: Path, tmp_path: Path, client: Client, caplog: pytest.LogCaptureFixture
) -> None:
    place(tmp_path / "t", folder, "table", 3, write_table_package(tmp_path / "t"), 1)
    text, key = keys.add(tmp_path / "keys.json", "shop", ("*",), None, None)
    app = App(folder, "worker-1", keys=KeyFile(tmp_path / "keys.json"))
    app.endings.append(log_access)
    told = Client(app, client.loop)
    told.scan()
    caplog.set_level(logging.INFO, logger="modelyard")
    caplog.clear()
    headers = {"x-api-key": text, "x-request-id": "order-17", "cookie": SECRET}
    row = {"visits": 1, "note": SECRET}
    assert told("GET", "/predict/table", params=row, headers=headers).status_code == 200
    assert told("POST", "/predict/table", json={"rows": [row]}).status_code == 401
    refused = {"rows": [{"visits": SECRET}]}
    assert told("POST", "/predict/table", json=refused, headers=headers).status_code == 400
    path = "/nothing%0Ahere" + "a" * 500
    assert told("GET", path, headers=headers).status_code == 404
    first, second, third, fourth = records(caplog)
    fields = ("request_id", "method", "path", "status", "model", "version", "caller")
    assert [first.get(name) for name in fields] == [
        "order-17",
        "GET",
        "/predict/table",
        200,
        "table",
        "3",
        key.id,
    ]
    assert 0 < first["ms"] < 10_000
    assert (second["status"], second.get("caller"), second.get("model")) == (401, None, None)
    assert (third["status"], third["model"]) == (400, "table")
    assert fourth["status"] == 404
    assert len(fourth["path"]) == 200
    assert "\n" not in fourth["message"]
    for record in caplog.records:
        assert SECRET not in str(record.__dict__)
        assert text not in str(record.__dict__)


def test_by_default_nobody_is_told(served: Client, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, logger="modelyard")
    caplog.clear()
    assert served.app.endings == []
    assert served.app.observers == []
    assert served("POST", "/predict", json=BODY).status_code == 200
    assert caplog.records == []


def test_a_fault_of_ours_is_logged_with_the_request(
    served: Client, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any) -> None:
        raise RuntimeError("inside")

    monkeypatch.setattr("modelyard.serving.calls.render_predictions", fail)
    answer = served("POST", "/predict", json=BODY, headers={"x-request-id": "order-18"})
    assert answer.status_code == 500
    (found,) = records(caplog)
    assert (found["request_id"], found["model"], found["version"]) == ("order-18", "digits", 1)
    caplog.clear()
    monkeypatch.setattr(served.app._routes, "find", fail)
    answer = served("GET", "/v2", headers={"x-request-id": "order-19"})
    assert answer.status_code == 500
    (found,) = records(caplog)
    assert found["request_id"] == "order-19"


def test_an_ending_gets_the_whole_answer(served: Client) -> None:
    told: list[Ended] = []
    served.app.endings.append(told.append)
    answer = served("POST", "/predict", json=BODY)
    (ended,) = told
    assert (ended.method, ended.path, ended.model) == ("POST", "/predict", ("digits", "1"))
    assert ended.response.body == answer.content
    assert ended.request.id.decode() == answer.headers["x-request-id"]


@pytest.mark.parametrize("path", ["/v2", "/predict/digits", "/", "/nowhere", "/models/digits"])
@pytest.mark.parametrize("over_tls", [False, True])
def test_security_headers(folder: Path, client: Client, path: str, over_tls: bool) -> None:
    publish(folder, "digits", 1, 1)
    app = Client(App(folder, "worker-1", over_tls=over_tls), client.loop)
    app.scan()
    headers = app("POST" if "predict" in path else "GET", path, json=BODY).headers
    assert headers["x-content-type-options"] == "nosniff"
    assert headers.get("strict-transport-security") == ("max-age=31536000" if over_tls else None)
    assert headers["cache-control"] in ("no-store", "no-cache")
    assert "server" not in headers
    if headers["content-type"].startswith("text/html"):
        assert headers["referrer-policy"] == "no-referrer"
        assert headers["x-frame-options"] == "DENY"
        assert headers["cross-origin-opener-policy"] == "same-origin"
        assert headers["cross-origin-resource-policy"] == "same-origin"
        assert "frame-ancestors 'none'" in headers["content-security-policy"]


@pytest.mark.parametrize(
    "given", ["00-" + "1" * 32 + "-" + "2" * 16 + "-01", "", "nonsense", "00-zz-\xff-01"]
)
def test_a_traceparent_is_no_matter_where_nothing_is_traced(served: Client, given: str) -> None:
    headers = {b"traceparent": given.encode("latin-1"), b"tracestate": b"a=1"}
    assert served("POST", "/predict", json=BODY, headers=headers).status_code == 200
