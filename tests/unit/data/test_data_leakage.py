"""What must not stand in two splits, and the search for repeats behind it."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from modelyard.data.leakage import refuse_equal_rows, refuse_shared_groups, repeats
from modelyard.errors import DataRejected


def rows(places: np.ndarray) -> np.ndarray:
    return places + 100


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(0, 12), max_size=40))
def test_repeats_are_found_with_the_first_of_them(values: list[int]) -> None:
    later, first = repeats(np.array(values, np.uint64))
    expected = [
        (place, values.index(value))
        for place, value in enumerate(values)
        if values.index(value) != place
    ]
    assert list(zip(later.tolist(), first.tolist(), strict=True)) == expected


def test_equal_rows_in_one_split_are_no_leak() -> None:
    hashes = np.array([7, 8, 7, 9, 9, 9], np.uint64)
    refuse_equal_rows(hashes, np.array([0, 1, 0, 2, 2, 2]), ["a"], rows)
    with pytest.raises(DataRejected) as caught:
        refuse_equal_rows(hashes, np.array([0, 1, 2, 1, 1, 0]), ["a", "b"], rows)
    assert "2 rows equal a row of another split in all features (a, b)" in caught.value.message
    assert "row 100 (train) = row 102 (test); row 103 (validation) = row 105 (train)" in (
        caught.value.message
    )
    assert "clean.duplicates: drop" in caught.value.remedy


def test_groups_without_a_value_are_none() -> None:
    groups, parts = np.array([-1, -1, 0, 0, 1]), np.array([0, 2, 1, 1, 2])
    refuse_shared_groups(groups, parts, "speaker", str, rows)
    parts = np.array([0, 2, 1, 0, 2])
    with pytest.raises(DataRejected) as caught:
        refuse_shared_groups(groups, parts, "speaker", lambda code: f"s{code}", rows)
    assert "1 values of the group column 'speaker'" in caught.value.message
    assert "'s0': row 103 (train), row 102 (validation)" in caught.value.message
