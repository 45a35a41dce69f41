"""Score intervals against published figures and against their definition."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize_scalar

from modelyard.evaluation.intervals import normal_quantile, tango, wilson


@pytest.mark.parametrize(
    ("successes", "trials", "low", "high"),
    [
        (81, 263, 0.2553, 0.3662),
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0.0, 0.1611),
        (1, 29, 0.0061, 0.1718),
    ],
)
def test_wilson_gives_the_published_limits(
    successes: int, trials: int, low: float, high: float
) -> None:
    """Newcombe, "Two-sided confidence intervals for the single proportion" (1998), table I."""
    interval = wilson(successes, trials, 0.95)
    assert interval.value == successes / trials
    assert (interval.low, interval.high) == pytest.approx((low, high), abs=5e-5)


@given(st.integers(1, 2000), st.sampled_from([0.8, 0.95, 0.99]))
def test_tango_without_discordant_rows_keeps_a_width(trials: int, confidence: float) -> None:
    interval = tango(0, 0, trials, confidence)
    z2 = normal_quantile(confidence) ** 2
    assert interval.value == 0
    assert interval.high == pytest.approx(z2 / (trials + z2), abs=1e-9)
    assert interval.low == pytest.approx(-interval.high, abs=1e-9)


counts = st.tuples(st.integers(0, 30), st.integers(0, 30), st.integers(0, 200)).filter(
    lambda cells: sum(cells) > 0
)


@given(counts)
def test_tango_is_antisymmetric_and_holds_the_estimate(cells: tuple[int, int, int]) -> None:
    first, second, concordant = cells
    trials = first + second + concordant
    interval, mirrored = tango(first, second, trials, 0.95), tango(second, first, trials, 0.95)
    assert -1 <= interval.low <= interval.value <= interval.high <= 1
    assert (mirrored.low, mirrored.high) == pytest.approx((-interval.high, -interval.low), abs=1e-9)


@settings(max_examples=30, deadline=None)
@given(st.tuples(st.integers(1, 12), st.integers(1, 12), st.integers(5, 80)))
def test_tango_limits_solve_the_score_equation(cells: tuple[int, int, int]) -> None:
    """The constrained likelihood is maximized numerically here, by formula there."""
    first, second, concordant = cells
    trials = first + second + concordant
    z = normal_quantile(0.95)
    interval = tango(first, second, trials, 0.95)
    for limit, sign in ((interval.low, 1), (interval.high, -1)):
        share = _constrained_share(first, second, concordant, limit)
        variance = trials * (2 * share + limit - limit**2)
        score = (first - second - trials * limit) / math.sqrt(variance)
        assert score == pytest.approx(sign * z, abs=2e-3)


def _constrained_share(first: int, second: int, concordant: int, difference: float) -> float:
    """The likeliest share of ``second`` cells when the shares differ by ``difference``."""

    def minus_log_likelihood(share: float) -> float:
        cells = [share + difference, share, 1 - 2 * share - difference]
        with np.errstate(divide="ignore", invalid="ignore"):
            return float(-np.dot([first, second, concordant], np.log(cells)))

    low, high = max(0.0, -difference) + 1e-12, (1 - difference) / 2 - 1e-12
    found = minimize_scalar(
        minus_log_likelihood, bounds=(low, high), method="bounded", options={"xatol": 1e-12}
    )
    return float(found.x)  # pyright: ignore[reportAttributeAccessIssue]
