"""Score intervals for proportions.

A bootstrap cannot look beyond what it has seen: where every row agrees it answers an interval
without width. The two intervals here keep a width there, so small samples do not pass for
certainty.
"""

import math
from dataclasses import dataclass
from statistics import NormalDist

STEPS = 60
"""Halvings of an interval no longer than 2: the limit is exact to the last bit of a double."""


@dataclass(frozen=True)
class Interval:
    """A point estimate ``value`` and the ends ``low`` and ``high`` of its confidence interval."""

    value: float
    low: float
    high: float


def wilson(successes: int, trials: int, confidence: float) -> Interval:
    """The score interval of one proportion.

    Wilson, "Probable inference, the law of succession, and statistical inference", JASA 22 (1927).

    Args:
        successes: How many of the ``trials`` succeeded.
        trials: At least 1.
        confidence: Between 0 and 1, for instance 0.95.
    """
    assert 0 <= successes <= trials > 0, (successes, trials)
    z2 = normal_quantile(confidence) ** 2
    share = successes / trials
    middle = share + z2 / (2 * trials)
    half = math.sqrt(z2 * (share * (1 - share) + z2 / (4 * trials)) / trials)
    scale = 1 + z2 / trials
    low = 0.0 if successes == 0 else max(0.0, (middle - half) / scale)
    high = 1.0 if successes == trials else min(1.0, (middle + half) / scale)
    return Interval(share, low, high)


def tango(only_first: int, only_second: int, trials: int, confidence: float) -> Interval:
    """The score interval of the difference of two proportions measured on the same rows.

    Tango, "Equivalence test and confidence interval for the difference in proportions for the
    paired-sample design", Statistics in Medicine 17 (1998), equations 4 to 6. Without discordant
    rows it is ``z^2 / (n + z^2)`` on each side.

    Args:
        only_first: Rows where only the first succeeded.
        only_second: Rows where only the second succeeded.
        trials: All rows, concordant ones included; at least 1.
        confidence: Between 0 and 1, for instance 0.95.
    """
    assert min(only_first, only_second) >= 0, (only_first, only_second)
    assert only_first + only_second <= trials > 0, (only_first, only_second, trials)
    z = normal_quantile(confidence)
    estimate = (only_first - only_second) / trials
    low = _solve(only_first, only_second, trials, z, -1.0, estimate)
    high = _solve(only_first, only_second, trials, -z, estimate, 1.0)
    return Interval(estimate, low, high)


def normal_quantile(confidence: float) -> float:
    """The two-sided standard normal quantile: 1.96 for 0.95."""
    assert 0 < confidence < 1, confidence
    return NormalDist().inv_cdf(0.5 + confidence / 2)


def _score(only_first: int, only_second: int, trials: int, difference: float) -> float:
    """Tango's statistic if the true difference were ``difference``; it falls as that rises."""
    a = 2 * trials
    b = -only_first - only_second + (2 * trials - only_first + only_second) * difference
    c = -only_second * difference * (1 - difference)
    share = max(0.0, (math.sqrt(max(0.0, b * b - 4 * a * c)) - b) / (2 * a))
    variance = trials * (2 * share + difference * (1 - difference))
    distance = only_first - only_second - trials * difference
    if variance <= 0:
        return math.copysign(math.inf, distance) if distance else 0.0
    return distance / math.sqrt(variance)


def _solve(
    only_first: int, only_second: int, trials: int, target: float, below: float, above: float
) -> float:
    for _ in range(STEPS):
        middle = (below + above) / 2
        if _score(only_first, only_second, trials, middle) > target:
            below = middle
        else:
            above = middle
    return (below + above) / 2
