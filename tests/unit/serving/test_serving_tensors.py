"""JSON numbers to arrays: the fast path agrees with numpy, and what is wrong is named."""

import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelyard.serving.failures import RequestError
from modelyard.serving.tensors import Tensor, check_shape, rows_shape

IMAGE = Tensor("image", "uint8", (-1, 2, 3))
FLOATS = Tensor("x", "float32", (-1, 2))
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=3),
)


@given(st.lists(st.lists(st.integers(0, 255), min_size=3, max_size=3), min_size=2, max_size=2))
def test_nested_and_flat_lists_give_the_array(rows: list[list[int]]) -> None:
    expected = np.array(rows, dtype=np.uint8)
    assert (IMAGE.pack(rows, (2, 3), "x") == expected).all()
    assert (IMAGE.pack([value for row in rows for value in row], (2, 3), "x") == expected).all()


@given(JSON)
def test_anything_else_is_refused_and_never_crashes(data: Any) -> None:
    for tensor, shape in ((IMAGE, (2, 3)), (FLOATS, (2,)), (Tensor("s", "int64", (-1,)), ())):
        refusal = None
        try:
            array = tensor.pack(data, shape, "data")
        except RequestError as error:
            refusal = error
        else:
            assert array.shape == shape
            assert str(array.dtype) == tensor.dtype
            assert np.isfinite(array).all()
        if refusal is not None:
            assert refusal.status == 400
            assert refusal.message.startswith("data")


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ([[1, 2, 3], [4, 5]], "data[1] holds 2 items; expected are 3"),
        ([[1, 2, 3]], "data holds 1 items; expected are 2"),
        (
            [[1, 2, 3], [4, 256, 5]],
            "data[1][1] is 256; expected is a number of type uint8, whole and from 0 to 255",
        ),
        ([[1, 2, 0.5], [4, 5, 6]], "data[0][2] is 0.5; expected is a number of type uint8, whole"),
        ([[1, 2, "3"], [4, 5, 6]], "data[0][2] is '3'"),
        ([[1, None, 3], [4, 5, 6]], "data[0][1] is None"),
        ([[1, 2, 3], 4], "data[1] is 4; expected is a list of 3"),
        ([[[1], 2, 3], [4, 5, 6]], "data[0][0] is [1]"),
        ("abc", "data is 'abc'"),
        (None, "data is None"),
        ([1, 2, 3, 4, 5], "data holds 5 items; expected are 6"),
    ],
)
def test_the_place_of_a_fault_is_named(data: Any, message: str) -> None:
    with pytest.raises(RequestError) as caught:
        IMAGE.pack(data, (2, 3), "data")
    assert caught.value.message.startswith(message)


def test_numbers_beyond_float32_are_refused() -> None:
    with pytest.raises(RequestError, match="beyond the range of float32"):
        FLOATS.pack([1e300, 1.0], (2,), "data")


@given(JSON)
def test_any_declared_shape_is_checked(shape: Any) -> None:
    status = 200
    try:
        checked = check_shape(IMAGE, shape)
    except RequestError as error:
        status = error.status
    else:
        assert checked[1:] == (2, 3)
        assert 1 <= checked[0] <= 1024
    assert status in (200, 400, 413)


def test_free_axes_take_the_length_of_the_first_elements() -> None:
    free = Tensor("x", "float32", (-1, -1, 2))
    assert rows_shape(free, [[1, 2], [3, 4], [5, 6]]) == (3, 2)
    assert rows_shape(free, 3) == (0, 2)
    json.dumps(free.describe())


def test_an_unknown_dtype_is_refused() -> None:
    with pytest.raises(ValueError, match="complex64"):
        Tensor("x", "complex64", (-1,))
