"""Each kind of split, for any classes, groups, times and shares."""

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from modelyard.data import splits
from modelyard.data.splits import TEST, TRAIN, VALIDATION, positions
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
    parts = positions(splits.stratify(array, split))
    together = np.concatenate(list(parts.values()))
    assert sorted(together.tolist()) == list(range(len(classes)))
    for name, share in zip(("validation", "test"), shares[1:], strict=True):
        assert len(parts[name]) == round(len(classes) * Fraction(repr(share)))
        for code, count in enumerate(counts):
            assert abs(np.sum(array[parts[name]] == code) - count * share) < 1
    for part in parts.values():
        assert set(array[part]) == set(classes)
        assert part.tolist() == sorted(part)
    again = positions(splits.stratify(array, split))
    assert all(np.array_equal(parts[name], again[name]) for name in parts)


def test_another_seed_gives_another_split() -> None:
    classes = np.repeat([0, 1], 50)
    first, second = (
        positions(splits.stratify(classes, Split(column="c", seed=seed)))["test"] for seed in (0, 1)
    )
    assert first.tolist() != second.tolist()


def test_other_classes_do_not_move_a_class() -> None:
    classes = np.array(["a"] * 40 + ["b"] * 40)
    longer = np.array(["a"] * 40 + ["b"] * 50)
    split = Split(column="c")
    before, after = (
        set(positions(splits.stratify(array, split))["test"].tolist())
        for array in (classes, longer)
    )
    assert {row for row in before if row < 40} == {row for row in after if row < 40}


def test_names_the_class_that_is_too_small() -> None:
    classes = np.array(["cat"] * 30 + ["dog"] * 9)
    with pytest.raises(DataRejected, match=r"class 'dog' of 'animal' has 9 rows; .* at least 10"):
        splits.stratify(classes, Split(column="animal"))


@settings(max_examples=50, deadline=None)
@given(
    digests=st.lists(st.integers(0, 2**64 - 1), min_size=1, max_size=200),
    seed=st.integers(0, 3),
    shares=SHARES,
)
def test_equal_digests_go_to_one_part_whatever_else_there_is(
    digests: list[int], seed: int, shares: tuple[float, float, float]
) -> None:
    split = Split(type="hash", probabilities=shares, seed=seed)
    array = np.array(digests, np.uint64)
    parts = splits.by_hash(array, split)
    twice = splits.by_hash(np.concatenate([array[::-1], array]), split)
    assert twice[len(array) :].tolist() == parts.tolist() == twice[: len(array)][::-1].tolist()


def test_a_hash_split_keeps_the_shares_and_the_seed_matters() -> None:
    digests = np.random.default_rng(0).integers(0, 2**64, 100_000, np.uint64)
    split = Split(type="hash", probabilities=(0.7, 0.1, 0.2))
    parts = splits.by_hash(digests, split)
    assert np.bincount(parts) / len(parts) == pytest.approx([0.7, 0.1, 0.2], abs=0.005)
    other = splits.by_hash(digests, split.model_copy(update={"seed": 1}))
    assert np.mean(parts == other) < 0.6
    # On every machine the same: what was once train must not become test.
    assert splits.by_hash(np.arange(12, dtype=np.uint64), split).tolist() == [
        2,
        0,
        0,
        0,
        0,
        0,
        1,
        0,
        0,
        0,
        0,
        0,
    ]


def test_a_split_without_a_row_is_named() -> None:
    split = Split(type="hash")
    with pytest.raises(DataRejected, match=r"validation has no row, of 3 in all .*\(hash\)"):
        splits.refuse_empty(np.array([0, 2, 0], np.int8), split)
    splits.refuse_empty(np.array([0, 2, 1], np.int8), split)


@settings(max_examples=50, deadline=None)
@given(
    sizes=st.lists(st.integers(1, 20), min_size=30, max_size=60),
    seed=st.integers(0, 3),
    order=st.randoms(use_true_random=False),
)
def test_groups_stay_together_and_shares_are_close(
    sizes: list[int], seed: int, order: "np.random.Generator"
) -> None:
    groups = [group for group, size in enumerate(sizes) for _ in range(size)]
    order.shuffle(groups)
    array = np.array(groups)
    split = Split(type="group", column="g", probabilities=(0.6, 0.2, 0.2), seed=seed)
    parts = splits.by_group(array, split)
    assert all(len(set(parts[array == group].tolist())) == 1 for group in range(len(sizes)))
    counts = np.bincount(parts, minlength=3)
    assert np.abs(counts - np.array([0.6, 0.2, 0.2]) * len(array)).max() <= max(sizes)
    assert parts.tolist() == splits.by_group(array, split).tolist()


def test_many_groups_are_shared_out_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(splits, "_FEW_GROUPS", 5)
    groups = np.repeat(np.arange(1000), np.arange(1000) % 7 + 1)
    split = Split(type="group", column="g", probabilities=(0.8, 0.1, 0.1))
    counts = np.bincount(splits.by_group(groups, split))
    assert counts / len(groups) == pytest.approx([0.8, 0.1, 0.1], abs=0.01)


def test_two_groups_cannot_divide() -> None:
    with pytest.raises(DataRejected, match="column 'g' has 2 different values"):
        splits.by_group(np.array([0, 1, 1]), Split(type="group", column="g"))


def test_the_newest_rows_are_the_test_and_equal_times_stay_together() -> None:
    times = np.array([5, 1, 2, 3, 4, 6, 7, 8, 9, 9], "datetime64[D]")
    split = Split(type="datetime", column="day")
    parts = splits.by_time(times, split)
    assert parts.tolist() == [TRAIN] * 7 + [VALIDATION, TEST, TEST]
    for part, later in ((TRAIN, VALIDATION), (VALIDATION, TEST)):
        assert times[parts == part].max() < times[parts == later].min()
    assert parts[8] == parts[9]


def test_too_few_times_are_named() -> None:
    with pytest.raises(DataRejected, match="column 'day' has 1 different times"):
        splits.by_time(np.zeros(10, "datetime64[D]"), Split(type="datetime", column="day"))


def test_a_fixed_split_is_taken_and_validation_carved_out_of_train() -> None:
    names = ["Train", "test"]
    codes = np.array([0] * 80 + [1] * 20)
    classes = np.arange(100) % 4
    split = Split(type="fixed", column="part", validation=0.25)
    parts = splits.fixed(codes, names, split, classes)
    assert (parts[80:] == TEST).all()
    assert np.bincount(classes[parts == VALIDATION]).tolist() == [5, 5, 5, 5]
    named = splits.fixed(np.array([0, 1, 2]), ["test", "train", "val"], split, np.zeros(3, int))
    assert named.tolist() == [TEST, TRAIN, VALIDATION]


def test_a_fixed_split_with_names_of_its_own() -> None:
    split = Split(type="fixed", column="part", names={"train": ["a", "b"], "test": ["c"]})
    parts = splits.fixed(np.arange(20) % 3, ["a", "b", "c"], split, np.zeros(20, int))
    assert set(np.flatnonzero(parts == TEST)) == set(range(2, 20, 3))
    assert np.count_nonzero(parts == VALIDATION) == 1
    with pytest.raises(DataRejected, match=r"'d' \(1 rows\) names no split; known: a, b, c"):
        splits.fixed(np.arange(4), ["a", "b", "c", "d"], split, np.zeros(4, int))
    with pytest.raises(DataRejected, match="column 'part' names no row for test"):
        splits.fixed(np.zeros(4, int), ["a"], split, np.zeros(4, int))


def test_a_single_row_of_a_class_stays_in_train() -> None:
    codes = np.array([0] * 12 + [1] * 3)
    classes = np.array([0] * 11 + [1] + [0] * 3)
    split = Split(type="fixed", column="part", validation=0.5)
    parts = splits.fixed(codes, ["train", "test"], split, classes)
    assert parts[11] == TRAIN


def test_numbers_are_stratified_by_tenths_or_fewer() -> None:
    values = np.random.default_rng(0).normal(size=1000).round(1)
    codes = splits.tenths(values, Split(column="y"))
    assert np.bincount(codes).tolist() == [100] * 10
    assert values[codes == 0].max() <= values[codes == 1].min()
    few = splits.tenths(values[:25], Split(column="y"))
    assert np.bincount(few).tolist() == [13, 12]
    assert set(splits.stratify(few, Split(column="y")).tolist()) == {TRAIN, VALIDATION, TEST}


def test_a_class_that_train_does_not_have_is_named_with_its_count() -> None:
    codes, parts = np.array([0, 0, 1, 1]), np.array([TRAIN, VALIDATION, TEST, TEST])
    with pytest.raises(DataRejected, match="class 'b' of 'kind' has no row in train, of 2 in all"):
        splits.refuse_absent(codes, ["a", "b"], parts, "kind", everywhere=False)
    splits.refuse_absent(np.array([0, 1, 0, 0]), ["a", "b"], np.array([0, 0, 1, 2]), "k", False)
    with pytest.raises(DataRejected, match="class 'b' of 'k' has no row in validation"):
        splits.refuse_absent(np.array([0, 1, 0, 0]), ["a", "b"], np.array([0, 0, 1, 2]), "k", True)
