"""Headers of binary requests and answers that are remembered: the same as those read anew."""

import json
from typing import Any, cast

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelyard.serving import plans
from modelyard.serving.failures import RequestError
from modelyard.serving.model import Model
from modelyard.serving.protocol import Asked, read_binary, render_infer
from modelyard.serving.tensors import Tensor

NUMBERS = ("uint8", "int16", "float32", "float64")


def make_model(*dtypes: str) -> Model:
    inputs = tuple(Tensor(f"in{place}", dtype, (-1, 3)) for place, dtype in enumerate(dtypes))
    outputs = (Tensor("p", "float32", (-1, 2)), Tensor("q", "int64", (-1,)))
    return Model("m", 1, "d" * 64, "classification", inputs, outputs, (), cast(Any, None))


def make_body(model: Model, arrays: dict[str, np.ndarray], **more: Any) -> tuple[bytes, bytes]:
    items = [
        {
            "name": tensor.name,
            "shape": list(arrays[tensor.name].shape),
            "datatype": tensor.datatype,
            "parameters": {"binary_data_size": arrays[tensor.name].nbytes},
        }
        for tensor in reversed(model.inputs)
    ]
    head = json.dumps({"inputs": items, **more}).encode()
    content = b"".join(arrays[item["name"]].tobytes() for item in items)
    return head + content, b"%d" % len(head)


@given(st.lists(st.sampled_from(NUMBERS), min_size=1, max_size=3), st.data())
def test_a_header_means_the_same_the_second_time(dtypes: list[str], data: st.DataObject) -> None:
    model, num_rows = make_model(*dtypes), data.draw(st.integers(1, 4))
    for _ in range(3):
        values = st.lists(st.integers(0, 100), min_size=3 * num_rows, max_size=3 * num_rows)
        arrays = {
            tensor.name: np.array(data.draw(values), tensor.dtype).reshape(num_rows, 3)
            for tensor in model.inputs
        }
        body, length = make_body(model, arrays, parameters={"binary_data_output": True})
        asked, found = read_binary(body, length, model)
        assert asked == Asked(None, True, None)
        assert found.keys() == arrays.keys()
        for name, array in found.items():
            np.testing.assert_array_equal(array, arrays[name])
            assert array.dtype == arrays[name].dtype
            assert array.flags.aligned
    assert len(model.plans) == 1


def test_a_remembered_header_still_has_its_bytes_checked() -> None:
    model = make_model("float32")
    body, length = make_body(model, {"in0": np.zeros((1, 3), np.float32)})
    read_binary(body, length, model)
    assert model.plans
    infinite = body[:-4] + np.float32(np.inf).tobytes()
    cases = (body[:-1], "11 bytes"), (body + b"x", "1 bytes follow"), (infinite, "beyond the range")
    for wrong, message in cases:
        with pytest.raises(RequestError, match=message):
            read_binary(wrong, length, model)


def test_wrong_headers_texts_and_long_ones_are_not_remembered(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    model = make_model("float32")
    arrays = {"in0": np.zeros((1, 3), np.float32)}
    for more in ({"id": 7}, {"outputs": [{"name": "nothing"}]}):
        body, length = make_body(model, arrays, **more)
        with pytest.raises(RequestError):
            read_binary(body, length, model)
    body, length = make_body(model, arrays, id="x" * 5000)
    read_binary(body, length, model)
    texts = make_model("string")
    item = {"name": "in0", "shape": [1, 3], "datatype": "BYTES"}
    head = json.dumps({"inputs": [item | {"parameters": {"binary_data_size": 12}}]}).encode()
    read_binary(head + bytes(12), b"%d" % len(head), texts)
    assert not model.plans
    assert not texts.plans
    monkeypatch.setattr(plans, "_MAX_PLANS", 5)
    for number in range(20):
        body, length = make_body(model, arrays, id=str(number))
        assert read_binary(body, length, model)[0].id == str(number)
    assert len(model.plans) <= 5


@pytest.mark.parametrize("wanted", [None, (("p", True),), (("q", True), ("p", True))])
def test_an_answers_header_is_the_same_the_second_time(wanted: Any) -> None:
    model, asked = make_model("uint8"), Asked(None, True, wanted)
    for num_rows in (1, 2, 1, 2):
        outputs = [np.full((num_rows, 2), num_rows, np.float32), np.arange(num_rows)]
        body, headers = render_infer(asked, model, outputs)
        fresh, fresh_headers = render_infer(asked, make_model("uint8"), outputs)
        assert (body, headers) == (fresh, fresh_headers)
    assert len(model.heads) == 2


def test_answers_with_an_id_or_numbers_in_json_are_written_anew() -> None:
    model, outputs = make_model("uint8"), [np.ones((1, 2), np.float32), np.ones(1, np.int64)]
    for asked in (Asked("a", True, None), Asked(None, True, (("p", True), ("q", False)))):
        for value in (1.0, 2.0):
            outputs[1][:] = int(value)
            body, _ = render_infer(asked, model, outputs)
            assert body == render_infer(asked, make_model("uint8"), outputs)[0]
    assert not model.heads
