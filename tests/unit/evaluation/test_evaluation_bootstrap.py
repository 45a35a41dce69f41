"""Resampling: how much of it, and the interval of a mean score."""

import numpy as np
import pytest
from scipy.stats import bootstrap as reference

from modelyard.evaluation.bootstrap import num_resamples, score_interval
from modelyard.evaluation.intervals import wilson


@pytest.mark.parametrize(
    ("rows", "width", "resamples"),
    [(500, 10, 1000), (10_000, 2, 1000), (100_000, 2, 250), (10_000_000, 1, 100)],
)
def test_many_rows_are_drawn_less_often(rows: int, width: int, resamples: int) -> None:
    assert num_resamples(rows, 1000, width) == resamples


def test_shares_have_wilsons_interval() -> None:
    assert score_interval(np.array([1.0, 0, 1, 1]), 100, 0.95, 0) == wilson(3, 4, 0.95)


def test_other_means_have_the_bootstraps_interval() -> None:
    scores = np.random.default_rng(0).gamma(2.0, size=300)
    found = score_interval(scores, 4000, 0.95, seed=0)
    known = reference((scores,), np.mean, method="percentile", n_resamples=4000, rng=1)
    assert found.value == pytest.approx(scores.mean())
    expected = known.confidence_interval
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high), abs=0.02)
