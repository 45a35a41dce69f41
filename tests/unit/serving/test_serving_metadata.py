"""The pages beside predictions: repository, caching, and the headers that every answer has."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from modelyard import __version__
from tests.unit.serving.conftest import Client
from tests.unit.serving.tiny_packages import publish

IMAGE = [[0] * 4] * 4


@pytest.fixture
def served(folder: Path, client: Client) -> Client:
    publish(folder, "digits", 1, 1)
    client.scan()
    return client


def test_the_server_names_itself_and_its_extensions(served: Client) -> None:
    page = served("GET", "/v2").json()
    assert page["name"] == "modelyard"
    assert page["version"] == __version__
    assert set(page["extensions"]) == {"binary_tensor_data", "model_repository"}


def test_the_repository_lists_what_is_loaded_and_what_is_to_come(
    served: Client, folder: Path
) -> None:
    publish(folder, "digits", 2, 2)
    served.scan()
    loaded = [
        {"name": "digits", "version": version, "state": "READY", "reason": ""}
        for version in ("1", "2")
    ]
    assert served("POST", "/v2/repository/index").json() == loaded
    publish(folder, "letters", 1, 1)

    async def begin() -> None:
        served.app.watcher.scan()

    served.loop.run_until_complete(begin())
    index = served("POST", "/v2/repository/index", json={}).json()
    assert index[:2] == loaded
    assert (index[2]["name"], index[2]["state"]) == ("letters", "UNAVAILABLE")
    assert served("POST", "/v2/repository/index", json={"ready": True}).json() == loaded
    assert served("POST", "/v2/repository/index", json={"ready": 1}).status_code == 400
    assert served("GET", "/v2/repository/index").status_code == 405
    served.loop.run_until_complete(asyncio.gather(*served.app.watcher._loading.values()))


@pytest.mark.parametrize("verb", ["load", "unload"])
def test_a_caller_does_not_load_models(served: Client, verb: str) -> None:
    response = served("POST", f"/v2/repository/models/digits/{verb}", json={})
    assert response.status_code == 403
    assert "promote" in response.json()["error"]


@pytest.mark.parametrize("path", ["/v2", "/v2/models/digits", "/v2/models/digits/versions/1"])
def test_metadata_is_asked_for_again_by_its_tag(served: Client, folder: Path, path: str) -> None:
    first = served("GET", path)
    tag = first.headers["etag"]
    assert first.headers["cache-control"] == "no-cache"
    for known in (tag, f'W/{tag}, "other"', "*"):
        again = served("GET", path, headers={"if-none-match": known})
        assert (again.status_code, again.content) == (304, b"")
        assert again.headers["etag"] == tag
        assert again.headers["x-request-id"]
    assert served("GET", path, headers={"if-none-match": '"other"'}).content == first.content
    publish(folder, "digits", 2, 2)
    served.scan()
    changed = served("GET", path, headers={"if-none-match": tag})
    assert changed.status_code == (304 if path == "/v2" else 200)


CALLS: list[tuple[str, str, dict[str, Any], int]] = [
    ("POST", "/predict", {"json": {"rows": [{"image": IMAGE}]}}, 200),
    ("POST", "/invocations", {"json": {"instances": [IMAGE]}}, 200),
    ("POST", "/predict/digits", {"json": {}}, 400),
    ("POST", "/predict/digits", {"content": b" " * 100_001}, 413),
    ("POST", "/v2/models/digits/infer", {"content": b"\xff"}, 400),
    ("POST", "/v2/models/digits/infer", {"data": {"a": "b"}}, 415),
    ("GET", "/v2/models/digits", {}, 200),
    ("GET", "/v2/models/digits/ready", {}, 200),
]


@pytest.mark.parametrize(("method", "path", "options", "status"), CALLS)
def test_an_answer_names_its_model_and_cannot_be_taken_for_another_thing(
    served: Client, method: str, path: str, options: dict[str, Any], status: int
) -> None:
    response = served(method, path, **options)
    assert response.status_code == status
    assert response.headers["x-model-name"] == "digits"
    assert response.headers["x-model-version"] == "1"
    assert response.headers["x-request-id"]
    assert response.headers["x-content-type-options"] == "nosniff"
    if path != "/v2/models/digits":
        assert response.headers["cache-control"] == "no-store"


def test_a_failure_of_ours_names_its_model(served: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any) -> None:
        raise RuntimeError("secret /path")

    monkeypatch.setattr("modelyard.serving.calls.render_predictions", fail)
    response = served("POST", "/predict", json={"rows": [{"image": IMAGE}]})
    assert response.status_code == 500
    assert "secret" not in response.text
    assert response.headers["x-model-version"] == "1"
    monkeypatch.setattr("modelyard.serving.metadata.describe", fail)
    response = served("GET", "/v2/models/digits")
    assert response.status_code == 500
    assert "secret" not in response.text
    assert response.headers["x-request-id"]


@pytest.mark.parametrize("kept", ["a", "4bf92f35-77b3", "job/7:part=1", "x" * 128])
def test_a_sane_request_id_is_kept(served: Client, kept: str) -> None:
    for path in ("/ping", "/nowhere"):
        answer = served("GET", path, headers={"x-request-id": kept})
        assert answer.headers["x-request-id"] == kept


@pytest.mark.parametrize("given", ["", "x" * 129, "a b", "<b>", 'a"b', "a\tb", "a%0d"])
def test_another_request_id_is_replaced(served: Client, given: str) -> None:
    found = {
        served("GET", "/ping", headers={"x-request-id": given}).headers["x-request-id"]
        for _ in range(2)
    }
    assert len(found) == 2
    assert given not in found
