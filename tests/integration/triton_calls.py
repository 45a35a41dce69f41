"""What Triton's own client asks a server, as a program: ``python -m ... HOST:PORT``."""

import sys

import httpx
import numpy as np
import pytest
from tritonclient.http import (
    InferenceServerClient,
    InferInput,
    InferRequestedOutput,
    InferResult,
)
from tritonclient.utils import InferenceServerException

from modelyard.package.scalars import to_tensor
from tests.unit.serving.table_packages import INPUTS, ROW


def main(url: str) -> None:
    """Ask all of it; the first thing that is not as it should be ends the program."""
    with InferenceServerClient(url) as triton:
        for call, name in (
            (learn, "learns what is served"),
            (infer, "is answered in JSON and bytes"),
            (send_columns, "sends the columns of a table"),
            (see_faults, "sees what was wrong"),
        ):
            call(url, triton)
            sys.stdout.write(f"it {name}\n")


def learn(_: str, triton: InferenceServerClient) -> None:
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


def infer(url: str, triton: InferenceServerClient) -> None:
    images = np.random.default_rng(9).integers(0, 256, (3, 4, 4), dtype=np.uint8)
    rows = {"rows": [{"image": image.tolist()} for image in images]}
    predictions = httpx.post(f"http://{url}/predict/digits", json=rows, trust_env=False).json()
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


def send_columns(url: str, triton: InferenceServerClient) -> None:
    answer = httpx.post(f"http://{url}/predict/customers", json={"rows": [ROW]}, trust_env=False)
    expected = answer.json()["predictions"][0]["probabilities"]
    for as_bytes in (True, False):
        inputs = [_triton_column(spec["name"], spec["type"], as_bytes) for spec in INPUTS]
        found = triton.infer("customers", inputs).as_numpy("probabilities")
        assert found is not None
        assert found[0] == pytest.approx([expected["low"], expected["high"]], abs=1e-6)


def see_faults(_: str, triton: InferenceServerClient) -> None:
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


if __name__ == "__main__":
    main(sys.argv[1])
