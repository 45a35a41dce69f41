"""The stratified split, for any classes and shares."""

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from modelyard.data.splits import stratify
from modelyard.errors import DataRejected
from modelyard.params import Split

SHARES = st.sampled_from([(0.8, 0.1, 0.1), (0.6, 0.2, 0.2), (0.7, 0.15, 0.15), (0.5, 0.3, 0.2)])


@settings(max_examples=100, deadline=None)
@given(
    counts=st.lists(st.integers(10, 60), min_size=1, max_size=6),
    shares=SHARES,
    seed=st.integers(0, 5),
    order=st.randoms(use_true_random=False),
)
def test_shares_are_exact_and_every_row_is_used_once(
    counts: list[int], shares: tuple[float, float, float], seed: int, order: "np.random.Generator"
) -> None:
    classes = [code for code, count in enumerate(counts) for _ in range(count)]
    order.shuffle(classes)
    array = np.array(classes)
    split = Split(column="label", probabilities=shares, seed=seed)
    parts = stratify(array, split)
    together = np.concatenate(list(parts.values()))
    assert sorted(together.tolist()) == list(range(len(classes)))
    for name, share in zip(("validation", "test"), shares[1:], strict=True):
        assert len(parts[name]) == round(len(classes) * Fraction(repr(share)))
        for code, count in enumerate(counts):
            assert abs(np.sum(array[parts[name]] == code) - count * share) < 1
    for part in parts.values():
        assert set(array[part]) == set(classes)
        assert part.tolist() == sorted(part)
    again = stratify(array, split)
    assert all(np.array_equal(parts[name], again[name]) for name in parts)


def test_another_seed_gives_another_split() -> None:
    classes = np.repeat([0, 1], 50)
    first, second = (stratify(classes, Split(column="c", seed=seed))["test"] for seed in (0, 1))
    assert first.tolist() != second.tolist()


def test_other_classes_do_not_move_a_class() -> None:
    classes = np.array(["a"] * 40 + ["b"] * 40)
    longer = np.array(["a"] * 40 + ["b"] * 50)
    split = Split(column="c")
    before, after = (set(stratify(array, split)["test"].tolist()) for array in (classes, longer))
    assert {row for row in before if row < 40} == {row for row in after if row < 40}


def test_names_the_class_that_is_too_small() -> None:
    classes = np.array(["cat"] * 30 + ["dog"] * 9)
    with pytest.raises(DataRejected, match=r"class 'dog' of 'animal' has 9 rows; .* at least 10"):
        stratify(classes, Split(column="animal"))
