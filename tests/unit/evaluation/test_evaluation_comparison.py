"""The paired comparison: its verdicts, its symmetry, and that small samples prove nothing."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binomtest, ttest_rel

from modelyard.evaluation.comparison import PairedComparison, compare_paired


def _compare(
    both: int, only_new: int, only_old: int, neither: int, margin: float = 0.02
) -> PairedComparison:
    new = [True] * (both + only_new) + [False] * (only_old + neither)
    old = [True] * both + [False] * only_new + [True] * only_old + [False] * neither
    return compare_paired(np.array(new), np.array(old), margin, 0.95)


@pytest.mark.parametrize(
    ("cells", "verdict"),
    [
        ((400, 40, 5, 55), "better"),
        ((490, 2, 2, 6), "not worse by more than margin"),
        ((400, 5, 40, 55), "worse"),
        ((450, 12, 15, 23), "not enough data to tell"),
        ((20, 0, 0, 0), "not enough data to tell"),
        ((500, 0, 0, 0), "not worse by more than margin"),
    ],
)
def test_verdicts(cells: tuple[int, int, int, int], verdict: str) -> None:
    comparison = _compare(*cells)
    assert comparison.verdict == verdict
    assert comparison.acceptable == (verdict in ("better", "not worse by more than margin"))


def test_equal_answers_of_few_rows_do_not_prove_equality() -> None:
    comparison = _compare(30, 0, 0, 5)
    assert comparison.difference == 0
    assert comparison.low < -0.05 < 0.05 < comparison.high
    assert comparison.p_value == 1


def test_a_small_certain_loss_within_the_margin_is_accepted() -> None:
    comparison = _compare(9900, 0, 50, 50)
    assert comparison.high < 0
    assert comparison.low > -0.02
    assert comparison.verdict == "not worse by more than margin"


pairs = st.lists(st.tuples(st.booleans(), st.booleans()), min_size=1, max_size=120)


@given(pairs)
def test_swapping_the_models_mirrors_the_answer(rows: list[tuple[bool, bool]]) -> None:
    new, old = (np.array(column) for column in zip(*rows, strict=True))
    forth, back = compare_paired(new, old, 0.02, 0.95), compare_paired(old, new, 0.02, 0.95)
    assert forth.difference == -back.difference
    assert (forth.low, forth.high) == pytest.approx((-back.high, -back.low), abs=1e-9)
    assert forth.p_value == pytest.approx(back.p_value)
    assert forth.low < forth.high


@given(pairs)
def test_difference_and_p_value(rows: list[tuple[bool, bool]]) -> None:
    new, old = (np.array(column) for column in zip(*rows, strict=True))
    comparison = compare_paired(new, old, 0.02, 0.95)
    assert comparison.difference == pytest.approx(new.mean() - old.mean())
    discordant = int((new != old).sum())
    if discordant:
        expected = binomtest(int((new & ~old).sum()), discordant, 0.5).pvalue
        assert comparison.p_value == pytest.approx(expected)


@pytest.mark.parametrize("shapes", [((3,), (4,)), ((0,), (0,)), ((2, 2), (2, 2))])
def test_rows_that_do_not_pair_are_refused(shapes: tuple[tuple[int, ...], tuple[int, ...]]) -> None:
    with pytest.raises(ValueError, match="same rows"):
        compare_paired(np.ones(shapes[0], bool), np.ones(shapes[1], bool), 0.02, 0.95)


def test_a_negative_margin_is_refused() -> None:
    with pytest.raises(ValueError, match=r"margin -0\.1"):
        compare_paired(np.ones(3, bool), np.ones(3, bool), -0.1, 0.95)


# ---- scores that are no shares


@st.composite
def scores(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray]:
    rows = draw(st.integers(2, 200))
    generator = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    old = generator.normal(size=rows)
    return old + generator.normal(size=rows) * draw(st.sampled_from([0.0, 0.01, 2.0])), old


@settings(max_examples=50, deadline=None)
@given(scores())
def test_means_are_compared_as_student_does(case: tuple[np.ndarray, np.ndarray]) -> None:
    new, old = case
    forth, back = compare_paired(new, old, 0.02, 0.95), compare_paired(old, new, 0.02, 0.95)
    assert forth.difference == pytest.approx(float(new.mean() - old.mean()), abs=1e-12)
    assert (forth.low, forth.high) == pytest.approx((-back.high, -back.low), abs=1e-12)
    assert forth.low < forth.difference < forth.high
    if np.array_equal(new, old):
        assert forth.p_value == 1
        return
    known = ttest_rel(new, old)
    assert forth.p_value == pytest.approx(known.pvalue, abs=1e-9)
    interval = known.confidence_interval(0.95)
    assert forth.low <= interval.low + 1e-9
    assert forth.high >= interval.high - 1e-9


def test_few_equal_scores_do_not_prove_equality() -> None:
    twenty = np.linspace(0.2, 0.9, 20)
    few, many = compare_paired(twenty, twenty, 0.01, 0.95), np.tile(twenty, 100)
    assert few.verdict == "not enough data to tell"
    assert compare_paired(many, many, 0.01, 0.95).verdict == "not worse by more than margin"
    one = compare_paired(np.array([0.9]), np.array([0.1]), 0.0, 0.95)
    assert one.verdict == "not enough data to tell"


@pytest.mark.parametrize(("shift", "verdict"), [(0.5, "better"), (-0.5, "worse")])
def test_a_clear_difference_of_means_is_told(shift: float, verdict: str) -> None:
    old = np.random.default_rng(0).normal(size=100)
    noise = np.random.default_rng(1).normal(size=100) * 0.3
    assert compare_paired(old + shift + noise, old, 0.02, 0.95).verdict == verdict
