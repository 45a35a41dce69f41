"""What a server asks of callers once there are keys, and how it is started for others to reach."""

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

from modelyard.errors import WorkspaceError
from modelyard.serving import keys
from modelyard.serving.__main__ import keys_for, tls_files
from modelyard.serving.app import App
from modelyard.serving.keys import KeyFile
from tests.unit.serving.conftest import Client
from tests.unit.serving.tiny_packages import SIZE, publish

BODY = {"rows": [{"image": [[0] * SIZE] * SIZE}]}


@pytest.fixture
def guarded(folder: Path, tmp_path: Path) -> Iterator[tuple[Client, dict[str, str]]]:
    """A server of one model, and keys for it, for another one, and one that may ask rarely."""
    path = tmp_path / keys.FILE
    shown = {
        name: keys.add(path, name, models, rate, None)[0]
        for name, models, rate in (
            ("own", ("digits",), None),
            ("other", ("credit",), None),
            ("slow", ("*",), 0.01),
        )
    }
    publish(folder, "digits", 1, 1)
    loop = asyncio.new_event_loop()
    client = Client(App(folder, "worker-0", keys=KeyFile(path)), loop)
    client.scan()
    yield client, shown
    loop.close()


PATHS = ["/predict", "/predict/digits", "/invocations", "/v2/models/digits/infer"]


@pytest.mark.parametrize("path", PATHS)
def test_no_answer_without_a_key_for_the_model(
    guarded: tuple[Client, dict[str, str]], path: str
) -> None:
    client, shown = guarded
    assert client("POST", path, json=BODY).status_code == 401
    other = client("POST", path, json=BODY, headers={"x-api-key": shown["other"]})
    assert other.status_code == 403
    assert "not for model 'digits'" in other.json()["error"]
    own = client("POST", path, json=BODY, headers={"x-api-key": shown["own"]})
    assert own.status_code == (400 if "v2" in path or "invocations" in path else 200), own.text


def test_pages_that_name_models_need_one_and_those_of_balancers_do_not(
    guarded: tuple[Client, dict[str, str]],
) -> None:
    client, shown = guarded
    own = {"authorization": f"Bearer {shown['own']}"}
    for path in ("/v2/models/digits", "/models/digits/form", "/openapi.json", "/metrics", "/"):
        refused = client("GET", path)
        assert (refused.status_code, refused.headers["www-authenticate"]) == (401, "Bearer")
        assert client("GET", path, headers=own).status_code == 200
    for path in ("/v2/health/live", "/v2/health/ready", "/version", "/models/digits"):
        assert client("GET", path).status_code == 200
    # What is not there is not told to who may not ask.
    assert client("GET", "/nothing").status_code == 401
    assert client("GET", "/nothing", headers=own).status_code == 404


def test_too_many_requests_are_told_when_to_come_back(
    guarded: tuple[Client, dict[str, str]],
) -> None:
    client, shown = guarded
    slow = {"x-api-key": shown["slow"]}
    assert client("POST", "/predict", json=BODY, headers=slow).status_code == 200
    refused = client("POST", "/predict", json=BODY, headers=slow)
    assert (refused.status_code, refused.headers["retry-after"]) == (429, "100")


def test_a_server_that_others_reach_needs_keys(tmp_path: Path) -> None:
    assert keys_for("127.0.0.1", None) is None
    with pytest.raises(WorkspaceError, match=r"others can reach 0\.0\.0\.0"):
        keys_for("0.0.0.0", None)
    file = keys_for("0.0.0.0", tmp_path / "none")
    assert file is not None
    assert file.keys() == {}, "no file opens nothing"
    local = keys_for("127.0.0.1", tmp_path / "none")
    assert local is not None
    assert local.keys() is None


def test_tls_needs_both_files_and_a_private_one(tmp_path: Path) -> None:
    certificate, private = tmp_path / "tls.pem", tmp_path / "tls.key"
    assert tls_files(None, None) == {}
    with pytest.raises(WorkspaceError, match="TLS needs --certificate"):
        tls_files(certificate, private)
    certificate.touch()
    with pytest.raises(WorkspaceError, match="TLS needs --private-key: it is not given"):
        tls_files(certificate, None)
    private.touch(mode=0o644)
    with pytest.raises(WorkspaceError, match="read by others"):
        tls_files(certificate, private)
    private.chmod(0o600)
    with pytest.raises(WorkspaceError, match="no certificate and its private key"):
        tls_files(certificate, private)
