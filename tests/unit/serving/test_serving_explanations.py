"""What may be asked of an explanation, and what is refused before any process is started."""

import asyncio
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from modelyard.artifacts import write_json
from modelyard.package import write_manifest
from modelyard.serving import explainer, keys
from modelyard.serving.app import App
from modelyard.serving.explainer import ExplainerProcess
from modelyard.serving.explanations import MAX_ROWS, parse
from modelyard.serving.failures import RequestError
from modelyard.serving.keys import KeyFile
from modelyard.serving.model import Model, load
from tests.unit.serving.conftest import Client
from tests.unit.serving.table_packages import ROW, write_audio_package, write_table_package
from tests.unit.serving.tiny_packages import SIZE, place, publish, write_package

PIXELS = [[0] * SIZE] * SIZE
IMAGE = {"image": PIXELS}


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Model:
    folder = tmp_path_factory.mktemp("image") / "package"
    return load(folder, "digits", 1, write_package(folder, 1))


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Model:
    folder = tmp_path_factory.mktemp("table") / "package"
    return load(folder, "table", 1, write_table_package(folder))


def asked(model: Model, **tree: Any) -> Any:
    return parse(json.dumps(tree).encode(), b"application/json", model)


def test_rows_and_tensors_ask_the_same(image: Model) -> None:
    rows = asked(image, rows=[IMAGE], target="b", steps=20, baseline="white")
    tensor = {"name": "image", "shape": [1, SIZE, SIZE], "datatype": "UINT8", "data": [PIXELS]}
    options = {"target": "b", "steps": 20, "baseline": "white"}
    tensors = asked(image, inputs=[tensor], parameters=options)
    assert rows[1:] == tensors[1:] == ("b", 20, "white")
    assert np.array_equal(rows.inputs["image"], tensors.inputs["image"])
    assert asked(image, rows=[IMAGE])[1:] == (None, 50, "black")


def test_a_row_may_be_the_baseline(table: Model) -> None:
    found = asked(table, rows=[ROW], baseline={**ROW, "age": None})
    assert np.isnan(found.baseline["age"]).all()
    assert found.baseline["status"].tolist() == ["good"]
    assert asked(table, rows=[ROW]).baseline == "typical"


@pytest.mark.parametrize(
    ("tree", "message"),
    [
        ({"rows": [IMAGE], "steps": 1}, "steps.* 2 to 200"),
        ({"rows": [IMAGE], "steps": 201}, "steps"),
        ({"rows": [IMAGE], "steps": True}, "steps"),
        ({"rows": [IMAGE], "steps": "many"}, "steps"),
        ({"rows": [IMAGE], "target": 3}, "target"),
        ({"rows": [IMAGE], "baseline": "typical"}, r"baseline.*\['black', 'mean', 'white'\]"),
        ({"rows": [IMAGE], "baseline": 3}, "baseline"),
        ({"rows": [IMAGE], "baseline": {"image": 3}}, r"baseline\.image"),
        ({"rows": [IMAGE], "method": "shap"}, "method.*target.*steps.*baseline"),
        ({"inputs": [], "target": "b"}, '"target" stands in "parameters"'),
        ({"inputs": [], "parameters": {"stepps": 3}}, "inputs"),
        ({"inputs": [], "parameters": 3}, "parameters"),
        ({"rows": []}, "rows"),
    ],
)
def test_what_is_not_possible_is_said(image: Model, tree: dict[str, Any], message: str) -> None:
    with pytest.raises(RequestError, match=message) as caught:
        asked(image, **tree)
    assert caught.value.status == 400


def test_many_rows_and_other_types_are_refused(image: Model) -> None:
    with pytest.raises(RequestError, match="33 rows") as caught:
        asked(image, rows=[IMAGE] * (MAX_ROWS + 1))
    assert caught.value.status == 413
    with pytest.raises(RequestError) as caught:
        parse(b"x", b"text/html", image)
    assert caught.value.status == 415


def test_models_without_an_archive_are_not_explained(
    client: Client, folder: Path, tmp_path: Path
) -> None:
    publish(folder, "digits", 4, 1)
    place(tmp_path / "s", folder, "sounds", 1, write_audio_package(tmp_path / "s"), 1)
    client.scan()
    answer = client("POST", "/v2/models/digits/explain", json={"rows": [IMAGE]})
    assert (answer.status_code, answer.headers["x-model-version"]) == (501, "4")
    assert "network.pt2" in answer.json()["error"]
    answer = client("POST", "/v2/models/sounds/versions/1/explain", json={"rows": [{}]})
    assert answer.status_code == 501
    assert "tables and images" in answer.json()["error"]
    assert client("POST", "/v2/models/none/explain", json={}).status_code == 404
    assert client("GET", "/v2/models/digits/explain").status_code == 405
    assert not client("GET", "/models/digits/form").json()["explainable"]
    assert "/v2/models/digits/explain" not in client("GET", "/openapi.json").json()["paths"]


def archived(folder: Path, root: Path) -> None:
    """Publish a package that looks as if it could be explained."""
    write_package(folder, 1)
    (folder / "network.pt2").write_bytes(b"")
    place(folder, root, "digits", 1, write_manifest(folder), 1)


def test_what_is_rounded_is_not_explained(client: Client, folder: Path, tmp_path: Path) -> None:
    archived(tmp_path / "package", folder)
    write_json(folder / "digits/serve.json", {"disclose": {"decimals": 2, "top": None}})
    client.scan()
    answer = client("POST", "/v2/models/digits/explain", json={"rows": [IMAGE]})
    assert answer.status_code == 403
    assert "serve.disclose" in answer.json()["error"]
    description = client("GET", "/openapi.json").json()["paths"]["/v2/models/digits/explain"]
    assert description["post"]["operationId"] == "explain.digits"


def test_a_key_for_another_model_does_not_help(folder: Path, tmp_path: Path) -> None:
    shown, _ = keys.add(tmp_path / "keys", "shop", ("other",), None, None)
    publish(folder, "digits", 1, 1)
    loop = asyncio.new_event_loop()
    client = Client(App(folder, "worker-0", keys=KeyFile(tmp_path / "keys")), loop)
    client.scan()
    path = "/v2/models/digits/explain"
    assert client("POST", path, json={"rows": [IMAGE]}).status_code == 401
    headers = {"x-api-key": shown}
    assert client("POST", path, json={"rows": [IMAGE]}, headers=headers).status_code == 403
    loop.close()


def ask(process: ExplainerProcess) -> RequestError:
    async def asking() -> None:
        try:
            await process.ask({})
        finally:
            await process.close()

    with pytest.raises(RequestError) as caught:
        asyncio.run(asking())
    return caught.value


def test_an_explainer_that_does_not_start_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = tmp_path / "python"
    broken.write_text("#!/bin/sh\nexit 1\n")
    broken.chmod(0o700)
    monkeypatch.setattr(sys, "executable", str(broken))
    error = ask(ExplainerProcess(tmp_path / "serving"))
    assert error.status == 503
    assert "does not start" in error.message
    assert dict(error.headers)[b"retry-after"] == b"10"


def test_an_answer_that_takes_too_long_is_not_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    slow = tmp_path / "python"
    slow.write_text("#!/bin/sh\nexec sleep 60\n")
    slow.chmod(0o700)
    monkeypatch.setattr(sys, "executable", str(slow))
    error = ask(ExplainerProcess(tmp_path / "serving", limit_s=0.3))
    assert (error.status, dict(error.headers)[b"retry-after"]) == (503, b"5")
    monkeypatch.setattr(explainer, "_MAX_WAITING", 0)
    assert ask(ExplainerProcess(tmp_path / "serving")).status == 429
