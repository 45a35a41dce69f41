"""Callers that are not ours: the lines of docs/serving.md, Triton's client, MLflow's client."""

import json
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from PIL import Image
from tritonclient.http import (
    InferenceServerClient,
    InferInput,
    InferRequestedOutput,
    InferResult,
)
from tritonclient.utils import InferenceServerException

from modelyard.package.scalars import to_tensor
from tests.integration.serving_processes import server, wait_until
from tests.unit.serving.table_packages import INPUTS, ROW, TOTAL, write_table_package
from tests.unit.serving.tiny_packages import place, publish

pytestmark = pytest.mark.server

DOCUMENT = Path(__file__).parents[2] / "docs/serving.md"
BLOCKS = re.findall(r"```sh\n(.*?)```(?:\n```json\n(.*?)```)?", DOCUMENT.read_text(), re.DOTALL)
ADDRESS = "http://127.0.0.1:8080"


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("docs")
    root = folder / "serving"
    publish(root, "digits", 1, 1)
    digest = write_table_package(folder / "staged")
    place(folder / "staged", root, "customers", 1, digest, 1)
    with server(root, folder / "server.log") as address:
        ready = f"{address}/v2/health/ready"
        wait_until(lambda: httpx.get(ready, trust_env=False).status_code == 200)
        yield address


def test_the_document_shows_each_way_to_ask() -> None:
    assert len(BLOCKS) == 8
    text = DOCUMENT.read_text()
    assert len(text.splitlines()) <= 140
    for path in ("/predict", "/invocations", "/v2/models/NAME", "/openapi.json", "/metrics"):
        assert path in text


@pytest.mark.parametrize(("commands", "expected"), BLOCKS)
def test_a_block_of_the_document_gives_what_it_says(
    url: str, tmp_path: Path, commands: str, expected: str
) -> None:
    pixels = np.random.default_rng(5).integers(0, 256, (4, 4), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "digit.png")
    assert ADDRESS in commands
    status = "" if "x-request-id" in commands else "--fail-with-body"
    script = f'curl() {{ command curl --noproxy "*" {status} "$@"; }}\nset -euo pipefail\n'
    done = subprocess.run(
        ["bash", "-c", script + commands.replace(ADDRESS, url)],
        cwd=tmp_path,
        capture_output=True,
        check=False,
        timeout=20,
    )
    assert done.returncode == 0, (done.stdout, done.stderr)
    if expected:
        promised, found = json.loads(expected), json.loads(done.stdout)
        assert _shape(found) == _shape(promised)
        if "error" in promised:
            assert found == promised


def test_the_binary_answer_is_the_json_one(url: str) -> None:
    pixels = bytes(16)
    tensor = {"name": "image", "datatype": "UINT8", "shape": [1, 4, 4]}
    tree = {"inputs": [tensor | {"parameters": {"binary_data_size": 16}}]}
    head = json.dumps(tree | {"parameters": {"binary_data_output": True}}).encode()
    with httpx.Client(base_url=url, trust_env=False) as client:
        headers = {"Inference-Header-Content-Length": str(len(head))}
        path = "/v2/models/digits/infer"
        answer = client.post(path, content=head + pixels, headers=headers)
        length = int(answer.headers["Inference-Header-Content-Length"])
        found = np.frombuffer(answer.content[length:], "<f4")
        as_json = client.post(path, json={"inputs": [tensor | {"data": list(pixels)}]}).json()
    assert found == pytest.approx(as_json["outputs"][0]["data"], abs=1e-6)
    assert sum(found) == pytest.approx(1, abs=1e-5)


@pytest.fixture(scope="module")
def triton(url: str) -> Iterator[InferenceServerClient]:
    with InferenceServerClient(url.removeprefix("http://")) as client:
        yield client


def test_triton_learns_what_is_served(triton: InferenceServerClient) -> None:
    assert triton.is_server_live()
    assert triton.is_server_ready()
    assert triton.is_model_ready("digits")
    assert triton.is_model_ready("digits", "1")
    assert not triton.is_model_ready("digits", "2")
    assert triton.get_server_metadata()["name"] == "modelyard"
    metadata = triton.get_model_metadata("digits", "1")
    (given,) = metadata["inputs"]
    assert (given["name"], given["datatype"], given["shape"]) == ("image", "UINT8", [-1, 4, 4])
    assert [item["name"] for item in metadata["outputs"]] == ["probabilities"]
    index = triton.get_model_repository_index()
    assert {(item["name"], item["version"], item["state"]) for item in index} == {
        ("customers", "1", "READY"),
        ("digits", "1", "READY"),
    }
    with pytest.raises(InferenceServerException, match="by its alias in the registry"):
        triton.load_model("digits")


def test_triton_is_answered_in_json_and_bytes(url: str, triton: InferenceServerClient) -> None:
    images = np.random.default_rng(9).integers(0, 256, (3, 4, 4), dtype=np.uint8)
    rows = {"rows": [{"image": image.tolist()} for image in images]}
    predictions = httpx.post(f"{url}/predict/digits", json=rows, trust_env=False).json()
    expected = [list(row["probabilities"].values()) for row in predictions["predictions"]]
    for bytes_in in (True, False):
        for bytes_out in (True, False):
            found = _triton_infer(triton, images, bytes_in, bytes_out)
            answer = found.get_response()
            assert (answer["model_name"], answer["model_version"]) == ("digits", "1")
            assert answer["id"] == "seven"
            assert ("data" in answer["outputs"][0]) is not bytes_out
            probabilities = found.as_numpy("probabilities")
            assert probabilities is not None
            assert probabilities.dtype == np.float32
            assert probabilities == pytest.approx(np.array(expected), abs=1e-6)
    # Without outputs Triton's client asks for all of them, as bytes.
    found = triton.infer("digits", [_triton_image(images, True)])
    assert "data" not in found.get_response()["outputs"][0]
    assert found.as_numpy("probabilities") == pytest.approx(np.array(expected), abs=1e-6)


def test_triton_sends_the_columns_of_a_table(url: str, triton: InferenceServerClient) -> None:
    answer = httpx.post(f"{url}/predict/customers", json={"rows": [ROW]}, trust_env=False)
    expected = answer.json()["predictions"][0]["probabilities"]
    for as_bytes in (True, False):
        inputs = [_triton_column(spec["name"], spec["type"], as_bytes) for spec in INPUTS]
        found = triton.infer("customers", inputs).as_numpy("probabilities")
        assert found is not None
        assert found[0] == pytest.approx([expected["low"], expected["high"]], abs=1e-6)


def test_triton_sees_what_was_wrong(triton: InferenceServerClient) -> None:
    good, small = np.zeros((1, 4, 4), np.uint8), np.zeros((1, 3, 3), np.uint8)
    with pytest.raises(InferenceServerException, match=r"the model's is \[-1, 4, 4\]") as refused:
        triton.infer("digits", [_triton_image(small, True)])
    assert refused.value.status() == "400"
    with pytest.raises(InferenceServerException, match="there is no model 'letters'"):
        triton.infer("letters", [_triton_image(good, True)])
    with pytest.raises(InferenceServerException, match="version '9' of digits is not loaded"):
        triton.infer("digits", [_triton_image(good, False)], model_version="9")
    output = InferRequestedOutput("probabilities", class_count=2)
    with pytest.raises(InferenceServerException, match="classification"):
        triton.infer("digits", [_triton_image(good, True)], outputs=[output])


def test_mlflows_own_client_is_answered(tmp_path: Path) -> None:
    import pandas as pd
    from mlflow.pyfunc.scoring_server.client import ScoringServerClient

    root = tmp_path / "serving"
    digest = write_table_package(tmp_path / "staged", "regression")
    place(tmp_path / "staged", root, "customers", 4, digest, 1)
    with server(root, tmp_path / "server.log") as url:
        address = httpx.URL(url)
        client = ScoringServerClient(address.host, address.port)
        client.wait_server_ready(timeout=20)
        frame = pd.DataFrame([ROW, ROW | {"age": None}])
        assert frame["age"].isna().tolist() == [False, True]
        found = client.invoke(frame).get_predictions()
        assert found["prediction"].tolist() == [TOTAL, TOTAL - 31.5 - 1]
        assert "modelyard" in client.get_version()


def _triton_image(images: np.ndarray, as_bytes: bool) -> InferInput:
    tensor = InferInput("image", list(images.shape), "UINT8")
    return tensor.set_data_from_numpy(images, binary_data=as_bytes)


def _triton_infer(
    client: InferenceServerClient, images: np.ndarray, bytes_in: bool, bytes_out: bool
) -> InferResult:
    output = InferRequestedOutput("probabilities", binary_data=bytes_out)
    inputs = [_triton_image(images, bytes_in)]
    return client.infer("digits", inputs, outputs=[output], request_id="seven")


def _triton_column(name: str, kind: str, as_bytes: bool) -> InferInput:
    value = to_tensor(kind, ROW[name])
    text = isinstance(value, str)
    tensor = InferInput(name, [1], "BYTES" if text else "FP64")
    values = np.array([value], dtype=object if text else np.float64)
    return tensor.set_data_from_numpy(values, binary_data=as_bytes)


def _shape(tree: Any) -> Any:
    """Keys and types of a JSON value; the numbers of the document are those of another model."""
    if isinstance(tree, dict):
        return {key: _shape(value) for key, value in tree.items()}
    if isinstance(tree, list):
        return [_shape(value) for value in tree]
    return type(tree)
