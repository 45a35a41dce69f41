"""The Open Inference Protocol's binary tensors: bytes as tritonclient sends them, written by hand.

What it sends is the header's length, the JSON and the tensors; itself is in test_serving_clients.
"""

import json
import struct
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import onnx
import onnxruntime as ort
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper

from modelyard.artifacts import write_json
from modelyard.package import write_manifest
from modelyard.serving import binary
from modelyard.serving.failures import RequestError
from modelyard.serving.tensors import Tensor
from tests.unit.serving.conftest import Client
from tests.unit.serving.table_packages import ROW, TOTAL, write_table_package, write_text_package
from tests.unit.serving.tiny_packages import answer, place, publish

LENGTH = "inference-header-content-length"
INFER = "/v2/models/digits/infer"
IMAGES = np.random.default_rng(3).integers(0, 256, (2, 4, 4), dtype=np.uint8)


@pytest.fixture
def served(folder: Path, client: Client) -> Client:
    publish(folder, "digits", 1, 1)
    client.scan()
    return client


def tensor(name: str, datatype: str, shape: list[int], size: int) -> dict[str, Any]:
    parameters = {"binary_data_size": size}
    return {"name": name, "datatype": datatype, "shape": shape, "parameters": parameters}


def call(
    client: Client, path: str, tree: dict[str, Any], content: bytes, **headers: str
) -> httpx.Response:
    head = json.dumps(tree).encode()
    length = {LENGTH: str(len(head)), "content-type": "application/octet-stream"}
    return client("POST", path, content=head + content, headers=length | headers)


def image_call(client: Client, content: bytes = IMAGES.tobytes(), **extra: Any) -> httpx.Response:
    tree = {"inputs": [tensor("image", "UINT8", [2, 4, 4], 32)], **extra}
    return call(client, INFER, tree, content)


def texts(*values: str) -> bytes:
    encoded = [value.encode() for value in values]
    return b"".join(struct.pack("<I", len(value)) + value for value in encoded)


def expected(folder: Path) -> np.ndarray:
    return answer(next((folder / "digits/versions").glob("1-*")) / "model.onnx", IMAGES)


def test_bytes_in_give_json_out(served: Client, folder: Path) -> None:
    response = image_call(served, id="seven")
    assert response.status_code == 200, response.text
    assert response.headers["content-type"] == "application/json"
    assert response.json()["id"] == "seven"
    (output,) = response.json()["outputs"]
    assert output["data"] == pytest.approx(expected(folder).reshape(-1), abs=1e-5)


@pytest.mark.parametrize(
    "extra",
    [
        {"parameters": {"binary_data_output": True}},
        {"outputs": [{"name": "probabilities", "parameters": {"binary_data": True}}]},
    ],
)
@pytest.mark.parametrize("path", [INFER, "/v2/models/digits/versions/1/infer"])
def test_bytes_out_stand_behind_a_header(
    served: Client, folder: Path, extra: dict[str, Any], path: str
) -> None:
    data = {"name": "image", "datatype": "UINT8", "shape": [2, 4, 4], "data": IMAGES.tolist()}
    for response in (
        call(
            served,
            path,
            {"inputs": [tensor("image", "UINT8", [2, 4, 4], 32)], **extra},
            bytes(IMAGES.tobytes()),
        ),
        served("POST", path, json={"inputs": [data], **extra}),
    ):
        assert response.headers["content-type"] == "application/octet-stream"
        assert response.headers["x-model-version"] == "1"
        length = int(response.headers[LENGTH])
        page = json.loads(response.content[:length])
        (output,) = page["outputs"]
        assert "data" not in output
        assert output["shape"] == [2, 3]
        assert output["parameters"] == {"binary_data_size": 24}
        assert len(response.content) == length + 24
        found = np.frombuffer(response.content[length:], "<f4").reshape(2, 3)
        assert found == pytest.approx(expected(folder), abs=1e-5)


def test_an_output_may_stay_json_where_the_others_are_bytes(served: Client) -> None:
    output = {"name": "probabilities", "parameters": {"binary_data": False}}
    response = image_call(served, outputs=[output], parameters={"binary_data_output": True})
    assert LENGTH not in response.headers
    assert len(response.json()["outputs"][0]["data"]) == 6


def test_a_body_without_a_header_is_the_one_input(served: Client, folder: Path) -> None:
    response = served("POST", INFER, content=IMAGES.tobytes(), headers={LENGTH: "0"})
    length = int(response.headers[LENGTH])
    found = np.frombuffer(response.content[length:], "<f4").reshape(2, 3)
    assert found == pytest.approx(expected(folder), abs=1e-5)
    for size in (0, 15, 33):
        response = served("POST", INFER, content=bytes(size), headers={LENGTH: "0"})
        assert response.status_code == 400
        assert "a row has 16 bytes" in response.json()["error"]


def table_tree(**sizes: int) -> tuple[dict[str, Any], bytes]:
    """A request of two rows, ROW and ROW without its age; the inputs in an order of their own."""
    numbers = {"age": 31.5, "visits": 2.0, "married": 1.0, "since": 10.0, "seen": 100.0}
    contents = {
        name: np.array([value, np.nan if name == "age" else value]).tobytes()
        for name, value in numbers.items()
    }
    contents["status"], contents["note"] = texts("good", "good"), texts("bad", "bad")
    inputs, parts = [], []
    for name in reversed(list(contents)):
        datatype = "FP64" if name in numbers else "BYTES"
        size = sizes.get(name, len(contents[name]))
        inputs.append(tensor(name, datatype, [2], size))
        parts.append(contents[name])
    return {"inputs": inputs}, b"".join(parts)


def test_columns_and_texts_are_taken_in_the_order_of_the_request(
    client: Client, folder: Path, tmp_path: Path
) -> None:
    digest = write_table_package(tmp_path / "staged", "regression")
    place(tmp_path / "staged", folder, "table", 1, digest, 1)
    client.scan()
    tree, content = table_tree()
    response = call(client, "/v2/models/table/infer", tree, content)
    assert response.status_code == 200, response.text
    assert response.json()["outputs"][0]["data"] == [TOTAL, TOTAL - 31.5 - 1]
    rows = client("POST", "/predict", json={"rows": [ROW]}).json()["predictions"]
    assert rows == [{"prediction": TOTAL}]
    required = content.replace(np.array([2.0, 2.0]).tobytes(), np.array([2.0, np.nan]).tobytes())
    response = call(client, "/v2/models/table/infer", tree, required)
    assert response.status_code == 400
    assert "input 'visits'" in response.json()["error"]
    tree, content = table_tree(note=13)
    response = call(client, "/v2/models/table/infer", tree, content)
    assert response.status_code == 400
    assert "input 'note': element 1 has 3 bytes by its length; 2 are left" in response.text


def test_texts_that_are_none_name_the_element(client: Client, folder: Path, tmp_path: Path) -> None:
    digest = write_text_package(tmp_path / "staged")
    place(tmp_path / "staged", folder, "reviews", 1, digest, 1)
    client.scan()
    for content, words in (
        (texts("good", "é\0"), ""),
        (texts("good"), "element 1 lacks its length"),
        (texts("good", "bad", "x"), "5 bytes follow its last element"),
        (texts("good") + b"\1\0\0\0\xff", "element 1 is not UTF-8 at its byte 0"),
        (texts("good") + b"\xff\xff\xff\xff", "element 1 has 4294967295 bytes by its length"),
    ):
        tree = {"inputs": [tensor("review", "BYTES", [2], len(content))]}
        response = call(client, "/v2/models/reviews/infer", tree, content)
        assert response.status_code == (400 if words else 200), content
        assert words in response.text
    raw = client("POST", "/v2/models/reviews/infer", content=b"good", headers={LENGTH: "0"})
    assert "the shape of input 'review' is not known" in raw.json()["error"]


@pytest.mark.parametrize(
    ("change", "content", "words"),
    [
        ({}, IMAGES.tobytes()[:-1], "binary_data_size is 32, but 31 bytes"),
        ({}, IMAGES.tobytes() + b"xy", "2 bytes follow the last input's"),
        ({"parameters": {"binary_data_size": 31}}, bytes(31), "shape [2, 4, 4] of UINT8 has 32"),
        ({"parameters": {"binary_data_size": -1}}, b"", "must be a number of bytes"),
        ({"parameters": {"binary_data_size": True}}, b"x", "must be a number of bytes"),
        ({"parameters": {"binary_data_size": "32"}}, bytes(32), "must be a number of bytes"),
        ({"parameters": []}, bytes(32), "\"parameters\" of input 'image' must be an object"),
        ({"parameters": {}}, bytes(32), 'no "data"'),
        ({"data": [1]}, bytes(32), "both"),
        ({"datatype": "FP99"}, bytes(32), "datatype must be 'UINT8', as the model's; it is 'FP99'"),
        ({"shape": [2, 5, 4]}, bytes(32), "the model's is [-1, 4, 4]"),
        ({"shape": [2**40, 4, 4]}, bytes(32), "send at most 1024"),
    ],
)
def test_bytes_that_do_not_fit_name_the_place(
    served: Client, change: dict[str, Any], content: bytes, words: str
) -> None:
    item = tensor("image", "UINT8", [2, 4, 4], 32) | change
    response = call(served, INFER, {"inputs": [item]}, content)
    assert response.status_code in (400, 413)
    assert words in response.json()["error"]
    assert response.headers["x-model-version"] == "1"


@pytest.mark.parametrize(
    "kind", ["application/json", "application/json; charset=utf-8", "a/b+json"]
)
def test_json_is_not_taken_for_the_bytes_of_a_picture(served: Client, kind: str) -> None:
    headers = {LENGTH: "0", "content-type": kind}
    response = served("POST", INFER, content=b'{"inputs": null}', headers=headers)
    assert response.status_code == 400
    assert "application/octet-stream" in response.json()["error"]
    headers["content-type"] = "application/octet-stream"
    assert served("POST", INFER, content=bytes(16), headers=headers).status_code == 200


@pytest.mark.parametrize("length", ["100000", "-1", "x", "1e3", "9" * 30, ""])
def test_a_header_longer_than_the_body_is_refused(served: Client, length: str) -> None:
    response = served("POST", INFER, content=b"{}", headers={LENGTH: length})
    assert response.status_code == 400
    assert "the body has 2 bytes" in response.json()["error"]


@pytest.mark.parametrize(
    ("extra", "words"),
    [
        ({"id": 7}, '"id" must be a string'),
        ({"outputs": "probabilities"}, '"outputs" must be a list'),
        ({"outputs": [{"name": "logits"}]}, "out of ['probabilities']"),
        ({"parameters": {"binary_data_output": 1}}, "binary_data_output is 1"),
        (
            {"outputs": [{"name": "probabilities", "parameters": {"binary_data": "yes"}}]},
            "binary_data is 'yes'",
        ),
        (
            {"outputs": [{"name": "probabilities", "parameters": {"classification": 2}}]},
            "classification is not offered here",
        ),
        (
            {"outputs": [{"name": "probabilities", "parameters": {"shared_memory_region": "a"}}]},
            "no shared memory",
        ),
    ],
)
def test_what_is_asked_for_must_make_sense(
    served: Client, extra: dict[str, Any], words: str
) -> None:
    response = image_call(served, **extra)
    assert response.status_code == 400
    assert words in response.json()["error"]


@settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    cut=st.integers(0, 200),
    noise=st.binary(max_size=40),
    length=st.integers(0, 200),
    at=st.integers(0, 200),
)
def test_no_bytes_give_a_server_error(
    served: Client, cut: int, noise: bytes, length: int, at: int
) -> None:
    head = json.dumps({"inputs": [tensor("image", "UINT8", [2, 4, 4], 32)]}).encode()
    body = head + IMAGES.tobytes()
    body = body[:at] + noise + body[at + len(noise) :]
    response = served("POST", INFER, content=body[:cut], headers={LENGTH: str(length)})
    assert response.status_code in (200, 400, 413)


@given(values=st.lists(st.text(st.characters(exclude_categories=["Cs"])), min_size=1, max_size=6))
def test_texts_come_back_as_they_were_packed(values: list[str]) -> None:
    array = np.empty(len(values), dtype=object)
    array[:] = values
    found = Tensor("note", "string", (-1,), "text")
    content = memoryview(binary.pack(array))
    assert binary.unpack(found, (len(values),), content).tolist() == values


def test_numbers_must_be_finite_where_none_may_be_missing() -> None:
    content = memoryview(np.array([[1, np.nan]], np.float32).tobytes())
    with pytest.raises(RequestError, match="input 'x'"):
        binary.unpack(Tensor("x", "float32", (-1, 2)), (1, 2), content)
    column = Tensor("age", "float64", (-1,), "number")
    missing = memoryview(np.array([np.nan, 3.0]).tobytes())
    assert binary.unpack(column, (2,), missing)[1] == 3
    with pytest.raises(RequestError, match="input 'age'"):
        binary.unpack(column, (1,), memoryview(np.array([np.inf]).tobytes()))


def write_half_package(folder: Path) -> str:
    """A package that takes and gives half precision: a regression on the sum of two numbers."""
    folder.mkdir()
    half = TensorProto.FLOAT16
    axes = onnx.numpy_helper.from_array(np.array([1], np.int64), "axes")
    graph = helper.make_graph(
        [helper.make_node("ReduceSum", ["x", "axes"], ["prediction"], keepdims=1)],
        "half",
        [helper.make_tensor_value_info("x", half, ["batch", 2])],
        [helper.make_tensor_value_info("prediction", half, ["batch", 1])],
        [axes],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    (folder / "model.onnx").write_bytes(model.SerializeToString())
    (folder / "reference.onnx").write_bytes(model.SerializeToString())
    assert ort.InferenceSession(folder / "model.onnx").get_inputs()[0].type == "tensor(float16)"
    rows = [{"x": [1.5, 2]}]
    x = {"name": "x", "dtype": "float16", "shape": [-1, 2]}
    y = {"name": "prediction", "dtype": "float16", "shape": [-1, 1]}
    schema = {"task": "regression", "inputs": [x], "outputs": [y], "target": "y"}
    write_json(folder / "schema.json", schema)
    write_json(folder / "labels.json", [])
    write_json(folder / "input_example.json", {"rows": rows})
    requests = [{"rows": rows, "prediction": [[3.5]]}]
    write_json(folder / "golden.json", {"atol": 0.01, "requests": requests})
    return write_manifest(folder)


def test_half_precision_is_taken_and_given(client: Client, folder: Path, tmp_path: Path) -> None:
    digest = write_half_package(tmp_path / "staged")
    place(tmp_path / "staged", folder, "half", 1, digest, 1)
    client.scan()
    content = np.array([[0.5, 0.25]], np.float16).tobytes()
    tree = {"inputs": [tensor("x", "FP16", [1, 2], 4)], "parameters": {"binary_data_output": True}}
    response = call(client, "/v2/models/half/infer", tree, content)
    length = int(response.headers[LENGTH])
    assert json.loads(response.content[:length])["outputs"][0]["datatype"] == "FP16"
    assert np.frombuffer(response.content[length:], "<f2").tolist() == [0.75]
    rows = {"rows": [{"x": [1, 70000]}]}
    assert client("POST", "/predict", json=rows).status_code == 400
    assert client("POST", "/predict", json={"rows": [{"x": [1, 7]}]}).json()["predictions"] == [
        {"prediction": 8}
    ]
