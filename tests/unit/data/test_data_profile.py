"""Columns in figures, whatever parts they come in."""

import datetime
from itertools import pairwise

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from modelyard.data import profile
from modelyard.data.profile import profile_columns

NUMBERS = st.lists(st.none() | st.floats(-1e6, 1e6), min_size=1, max_size=60)


def profiled(values: pa.Array, kind: str, cuts: list[int]) -> profile.ColumnProfile:
    bounds = [0, *sorted(cuts), len(values)]
    parts = [
        (np.empty(0), pa.table({"x": values.slice(low, high - low)}))
        for low, high in pairwise(bounds)
    ]
    return profile_columns(parts, {"x": kind}, len(values))["x"]


@settings(max_examples=60, deadline=None)
@given(NUMBERS, st.data())
def test_numbers_are_summed_up_alike_in_any_parts(
    values: list[float | None], data: st.DataObject
) -> None:
    cuts = data.draw(st.lists(st.integers(0, len(values)), max_size=3))
    array = pa.array(values, pa.float64())
    whole, parts = profiled(array, "number", []), profiled(array, "number", cuts)
    assert parts.is_constant == whole.is_constant
    tree, known = parts.as_json(), [value for value in values if value is not None]
    assert tree["missing"] == pytest.approx(1 - len(known) / len(values), abs=1e-8)
    if known:
        assert tree["mean"] == pytest.approx(np.mean(known), rel=1e-6, abs=1e-3)
        assert tree["std"] == pytest.approx(np.std(known), rel=1e-6, abs=1e-1)
        assert (tree["min"], tree["max"]) == pytest.approx((min(known), max(known)))
        assert sum(tree["histogram"]) == tree["sampled"] == len(known)
        assert tree["quantiles"] == whole.as_json()["quantiles"]


@pytest.mark.parametrize(
    ("values", "kind", "constant"),
    [
        (["a", "a"], "category", True),
        (["a", None], "category", False),
        (["a", "b"], "category", False),
        ([None, None], "category", True),
        ([True, True], "boolean", True),
        ([True, False], "boolean", False),
        ([3, 3, 3], "integer", True),
        ([None, 3], "integer", False),
        ([datetime.date(2020, 1, 1)] * 3, "date", True),
        (["same", "same"], "text", False),
    ],
)
def test_constant_is_one_value_in_all_rows_or_none(
    values: list[object], kind: str, constant: bool
) -> None:
    array = pa.array(values, pa.string()) if kind == "category" else pa.array(values)
    for cuts in ([], [1]):
        assert profiled(array, kind, cuts).is_constant is constant
    if kind == "category":
        assert profiled(array.dictionary_encode(), kind, [1]).is_constant is constant


def test_large_columns_are_sampled_evenly(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(profile, "SAMPLE_ROWS", 10)
    numbers = profiled(pa.array(np.arange(95.0)), "number", [7, 50]).as_json()
    assert numbers["sampled"] == 10
    assert (numbers["min"], numbers["max"], numbers["mean"]) == (0, 94, 47)
    letters = pa.array(["ab"[index % 20 == 10] for index in range(100)])
    assert profiled(letters, "category", [33]).as_json()["values"] == [["a", 5], ["b", 5]]
