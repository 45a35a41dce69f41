"""Which rows a fold holds out, stops by and trains on."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from modelyard.errors import ParamsError
from modelyard.training.cross_validate import mean_and_interval
from modelyard.training.folds import HELD, OUT, STOP, TRAIN, By, Keys, plan


def make(by: By, values: list[int] | np.ndarray, rows: np.ndarray | None = None) -> Keys:
    array = np.asarray(values)
    return Keys(by, array, np.arange(len(array)) if rows is None else rows)


@settings(max_examples=60, deadline=None)
@given(
    by=st.sampled_from(["rows", "class", "group"]),
    values=st.lists(st.integers(0, 30), min_size=60, max_size=200),
    folds=st.integers(2, 6),
    seed=st.integers(0, 2**32 - 1),
)
def test_each_row_is_held_out_once_and_groups_stay_together(
    by: By, values: list[int], folds: int, seed: int
) -> None:
    keys = make(by, values)
    if by == "group" and len(set(values)) < 40:
        keys = make(by, np.arange(len(values)) // 2)
    parts = plan(keys, folds, 0.2, seed)
    assert len(parts) == folds
    held = np.stack([part == HELD for part in parts])
    assert (held.sum(axis=0) == 1).all()
    for part in parts:
        assert set(part) == {HELD, STOP, TRAIN}
        if by == "group":
            for name in (HELD, STOP, TRAIN):
                inside = set(keys.values[part == name])
                assert not inside & set(keys.values[part != name])
    if by != "group":
        sizes = held.sum(axis=1)
        assert sizes.max() - sizes.min() <= 1
    if by == "class":
        for value in set(values):
            per_fold = held[:, keys.values == value].sum(axis=1)
            assert per_fold.max() - per_fold.min() <= 1


@settings(max_examples=40, deadline=None)
@given(
    times=st.lists(st.integers(0, 1000), min_size=80, max_size=200, unique=True),
    folds=st.integers(2, 5),
)
def test_by_time_nothing_is_learned_from_what_comes_after(times: list[int], folds: int) -> None:
    keys = make("time", times)
    before = -1
    for part in plan(keys, folds, 0.2, 0):
        first_held = keys.values[part == HELD].min()
        assert keys.values[part == TRAIN].max() < keys.values[part == STOP].min()
        assert keys.values[part == STOP].max() < first_held
        assert (keys.values[part == OUT] > keys.values[part == HELD].max()).all()
        assert first_held > before, "each fold is judged on later rows than the one before"
        before = first_held


def test_rows_of_one_time_stay_together() -> None:
    keys = make("time", np.repeat(np.arange(12), [1, 1, 1, 1, 60, 1, 1, 1, 1, 1, 1, 1]))
    for part in plan(keys, 2, 0.25, 0):
        for time in range(12):
            assert len(set(part[keys.values == time])) == 1


def test_folds_hang_from_positions_and_seed_alone() -> None:
    rows = np.arange(100) * 7
    keys = make("rows", rows, rows)
    first = plan(keys, 5, 0.1, 3)
    assert all((a == b).all() for a, b in zip(first, plan(keys, 5, 0.1, 3), strict=True))
    assert any((a != b).any() for a, b in zip(first, plan(keys, 5, 0.1, 4), strict=True))
    order = np.random.default_rng(0).permutation(100)
    moved = plan(make("rows", rows[order], rows[order]), 5, 0.1, 3)
    assert all((a[order] == b).all() for a, b in zip(first, moved, strict=True))


@pytest.mark.parametrize(
    ("by", "values", "said"),
    [
        ("rows", [1, 2, 3], "3 rows, and 5 parts"),
        ("group", [1, 1, 2, 2, 3, 3, 3], "3 groups, and 5 parts"),
        ("time", [1, 1, 2, 2, 3, 3, 3], "3 different times, and 6 parts"),
    ],
)
def test_too_few_are_refused(by: By, values: list[int], said: str) -> None:
    with pytest.raises(ParamsError, match=said) as refused:
        plan(make(by, values), 5, 0.2, 0)
    assert refused.value.remedy == "Lower evaluate.folds."


def test_the_interval_is_wider_than_that_of_independent_folds() -> None:
    scores = [0.9, 0.92, 0.88, 0.91, 0.89]
    found = mean_and_interval(scores, plan(make("rows", np.arange(100)), 5, 0.25, 0))
    assert found["mean"] == pytest.approx(0.9)
    # t(4, 0.975) = 2.776445; variance 0.00025 x (1/5 + 20/80).
    half = 2.776445 * (0.00025 * 0.45) ** 0.5
    assert found["low"] == pytest.approx(0.9 - half, abs=1e-6)
    assert found["high"] == pytest.approx(0.9 + half, abs=1e-6)
    assert mean_and_interval([1.0, 0.9], plan(make("rows", np.arange(9)), 2, 0.25, 0))["high"] == 1


def test_rows_that_a_fold_leaves_out_are_not_learned_from() -> None:
    parts = plan(make("time", np.arange(60)), 2, 0.25, 0)
    found = mean_and_interval([0.8, 0.9], parts)
    # t(1, 0.975) = 12.706205; variance 0.005 x (1/2 + 40/60): blocks of 20, learned 20 and 40.
    half = 12.706205 * (0.005 * (1 / 2 + 40 / 60)) ** 0.5
    assert found["low"] == pytest.approx(0.85 - half, abs=1e-5)
