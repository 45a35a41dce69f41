"""What the client makes of a server that is away, is another one, or says no."""

import json
import threading
from base64 import b64encode
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelyard.errors import ModelyardError, ServiceUnavailable
from modelyard.mlflow_api import MlflowApi, without_credentials
from modelyard.mlflow_api.artifacts import ArtifactsApi
from modelyard.mlflow_api.transport import _account
from modelyard.registry.flatten import flat_metrics, flat_params
from tests.mlflow_server import free_port


@contextmanager
def answering(status: int, body: str) -> Iterator[str]:
    """A server that gives the same answer to everything."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status)
            self.send_header("Content-Length", str(len(body.encode())))
            self.end_headers()
            self.wfile.write(body.encode())

        do_POST = do_GET  # noqa: N815

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def test_a_server_that_is_away_is_named_with_the_remedy() -> None:
    port = free_port()
    with MlflowApi(f"http://user:secret@127.0.0.1:{port}") as api:
        assert not api.health()
        with pytest.raises(ServiceUnavailable, match=f"127.0.0.1:{port}") as caught:
            api.get_version("digits", 1)
    assert "modelyard up" in caught.value.remedy
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    ("address", "shown"),
    [
        ("http://me:pass@word@host:1/a@b/c", "http://host:1/a@b/c"),
        ("http://host/path", "http://host/path"),
        ("mysql+pymysql://me:pass@host/db", "mysql+pymysql://host/db"),
        ("me:pass@host", "host"),
        ("mlruns", "mlruns"),
    ],
)
def test_credentials_are_not_shown(address: str, shown: str) -> None:
    assert without_credentials(address) == shown
    with pytest.raises(ModelyardError) as caught:
        MlflowApi("postgresql://me:secret@host/db")
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("address", ["sqlite:///mlflow.db", "mlruns", "databricks", "http://", ""])
def test_an_address_that_is_none_is_refused(address: str) -> None:
    with pytest.raises(ModelyardError, match="not the address"):
        MlflowApi(address)


def test_another_server_is_not_taken_for_mlflow() -> None:
    with answering(200, "<html>hello</html>") as url, MlflowApi(url) as api:
        assert not api.health()
        with pytest.raises(ServiceUnavailable, match="is not MLflow"):
            api.get_run("1")


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, ModelyardError),
        (404, ModelyardError),
        (403, ModelyardError),
        (500, ServiceUnavailable),
    ],
)
def test_a_refusal_carries_the_servers_words(status: int, kind: type[Exception]) -> None:
    body = json.dumps({"error_code": "INVALID_PARAMETER_VALUE", "message": "too long a name"})
    with answering(status, body) as url, MlflowApi(url) as api:
        with pytest.raises(kind, match="too long a name") as caught:
            api.get_run("1")
        assert type(caught.value) is kind


def test_what_does_not_exist_is_none() -> None:
    body = json.dumps({"error_code": "RESOURCE_DOES_NOT_EXIST", "message": "no such run"})
    with answering(404, body) as url, MlflowApi(url) as api:
        assert api.get_run("1") is None
        assert api.get_registered_model("digits") is None


@pytest.mark.parametrize("name", ["../x", "/etc/passwd", "a/../../x", "..", "a\\..\\x"])
def test_a_server_cannot_write_outside_the_folder(tmp_path: Path, name: str) -> None:
    class Hostile(ArtifactsApi):
        def list_artifacts(self, uri: str) -> list:
            from modelyard.mlflow_api import ArtifactFile

            return [ArtifactFile(name)]

    with pytest.raises(ModelyardError, match="leads out"):
        Hostile("http://127.0.0.1:1").download("mlflow-artifacts:/x", tmp_path / "folder")
    assert not (tmp_path / "x").exists()


def test_files_beside_the_client_are_copied(tmp_path: Path) -> None:
    api = MlflowApi("http://127.0.0.1:1")
    uri = (tmp_path / "store").as_uri()
    api.upload_bytes(uri, "a/b.txt", b"1")
    api.download(uri, tmp_path / "copy")
    assert (tmp_path / "copy/a/b.txt").read_bytes() == b"1" == api.read_artifact(uri, "a/b.txt")
    with pytest.raises(ModelyardError, match="does not hand out"):
        api.download("s3://bucket/x", tmp_path / "copy")


@given(st.dictionaries(st.text(), st.floats() | st.text() | st.booleans() | st.lists(st.floats())))
def test_metrics_are_the_finite_numbers_alone(tree: dict) -> None:
    flat = flat_metrics(tree, "test")
    finite = [x for x in tree.values() if isinstance(x, float) and abs(x) < float("inf")]
    assert all(key.startswith("test/") for key in flat)
    assert set(flat.values()) <= set(finite)


def test_nested_values_get_dotted_names() -> None:
    tree = {"a": {"b": 1, "c": [1, 2]}, "d": [{"e": "x"}, {"e": None}], "f g/h": True}
    assert flat_params(tree) == {"a.b": "1", "a.c": "[1, 2]", "d.0.e": "x", "f g_h": "True"}
    assert flat_metrics(tree, "m") == {"m/a.b": 1.0}


def test_estimates_and_named_entries_become_metrics_and_tables_do_not() -> None:
    tree = {
        "accuracy": {"value": 0.9, "low": 0.8},
        "bins": [{"rows": 1}, {"rows": 2}],
        "candidates": [{"name": "int8", "size": 3, "kept": True}],
    }
    assert flat_metrics(tree, "m") == {
        "m/accuracy": 0.9,
        "m/accuracy.low": 0.8,
        "m/candidates.int8.size": 3.0,
    }


@contextmanager
def noting() -> Iterator[tuple[str, list[str | None]]]:
    """A server that notes who asks."""
    asked: list[str | None] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.headers["Authorization"])
            self.send_response(200)
            self.send_header("Content-Length", "2")
            self.end_headers()
            self.wfile.write(b"OK")

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", asked
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def basic(account: str) -> str:
    return f"Basic {b64encode(account.encode()).decode()}"


def test_the_account_is_the_addresss_else_a_files_else_the_environments(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def ask(address: str) -> None:
        with MlflowApi(address) as api:
            assert api.health()

    with noting() as (url, asked):
        ask(url)
        monkeypatch.setenv("MLFLOW_TRACKING_USERNAME", "ada")
        ask(url)
        monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", "p:w")
        ask(url)
        monkeypatch.setenv("MODELYARD_MLFLOW_ACCOUNT_FILE", "")
        ask(url)
        file = tmp_path / "account"
        monkeypatch.setenv("MODELYARD_MLFLOW_ACCOUNT_FILE", str(file))
        with MlflowApi(url) as api:
            assert api.health()
            file.write_text("follower:secret\n")
            assert api.health()
        ask(url.replace("://", "://eve:mine@"))
    expected = [None, None, "ada:p:w", "ada:p:w", None, "follower:secret", "eve:mine"]
    assert asked == [account and basic(account) for account in expected]
    assert _account(on_this_machine=False) == ("ada", "p:w"), "a file's account stays here"
