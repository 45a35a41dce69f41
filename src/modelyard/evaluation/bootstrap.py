"""Bootstrap intervals of metrics that are written over row weights.

A resample is how often each row was drawn, so that one pass over weights [B, N] scores many
resamples at once, and the point estimate is the resample that draws each row once.
"""

from collections.abc import Callable, Iterator

import numpy as np

from modelyard.evaluation.intervals import Interval, wilson

# The last part of a name gives the axes of an array: b resamples, n rows.

CHUNK = 4_000_000
"""Weights held in memory at once (resamples x rows), 32 MB."""
MAX_WORK = 50_000_000
"""Rows x classes x resamples; the intervals of many rows are narrow, and need fewer resamples."""
LEAST = 100

Scorer = Callable[[np.ndarray], dict[str, np.ndarray]]
"""Metrics [B] by name for row weights [B, N]."""


def num_resamples(num_rows: int, wanted: int, width: int = 1) -> int:
    """How many of the ``wanted`` resamples are drawn: fewer, but at least 100, of many rows.

    ``width`` is the number of classes or labels.
    """
    return min(wanted, max(LEAST, MAX_WORK // (num_rows * width)))


def bootstrap_intervals(
    scorer: Scorer, num_rows: int, resamples: int, confidence: float, seed: int
) -> dict[str, Interval]:
    """Each metric with the percentile interval of the bootstrap (Efron 1979).

    Where a metric is not defined for any resample, the ends of its interval are NaN.

    Args:
        scorer: Gives the metrics of resamples.
        num_rows: At least 1.
        resamples: How many are drawn.
        confidence: Of the intervals, between 0 and 1.
        seed: Of the drawing.
    """
    point = {name: float(value[0]) for name, value in scorer(np.ones((1, num_rows))).items()}
    chunks = [scorer(weights_bn) for weights_bn in _draw(num_rows, resamples, seed)]
    return {
        name: percentiles(value, np.concatenate([chunk[name] for chunk in chunks]), confidence)
        for name, value in point.items()
    }


def never_certain(found: Interval, scores: np.ndarray, confidence: float) -> Interval:
    """The interval of a mean of scores; Wilson's where no resample of 0s and 1s differs."""
    if found.low < found.high or not is_binary(scores):
        return found
    return wilson(int(scores.sum()), scores.size, confidence)


def is_binary(scores: np.ndarray) -> bool:
    """Whether each of the scores [N] is 0 or 1."""
    return bool(((scores == 0) | (scores == 1)).all())


def score_interval(scores: np.ndarray, resamples: int, confidence: float, seed: int) -> Interval:
    """The mean of scores float64 [N] with its interval.

    It is Wilson's where every score is 0 or 1, and never without width; else the bootstrap's.
    """
    if is_binary(scores):
        return wilson(int(scores.sum()), scores.size, confidence)

    def mean(weights_bn: np.ndarray) -> dict[str, np.ndarray]:
        return {"score": weights_bn @ scores / weights_bn.sum(axis=1)}

    resamples = num_resamples(scores.size, resamples)
    return bootstrap_intervals(mean, scores.size, resamples, confidence, seed)["score"]


def percentiles(value: float, draws_b: np.ndarray, confidence: float) -> Interval:
    """The interval between the draws' percentiles; NaN among them are left out."""
    known = draws_b[~np.isnan(draws_b)]
    if not known.size:
        return Interval(value, float("nan"), float("nan"))
    tail = (1 - confidence) / 2
    low, high = np.quantile(known, [tail, 1 - tail])
    return Interval(value, float(low), float(high))


def ratio(numerator: np.ndarray, denominator: np.ndarray) -> np.ndarray:
    """Elementwise quotient, 0 where the denominator is 0 (scikit-learn's ``zero_division=0``)."""
    return np.divide(numerator, denominator, out=np.zeros_like(numerator), where=denominator > 0)


def macro(values_bk: np.ndarray, counted_bk: np.ndarray) -> np.ndarray:
    """Mean over the classes that count, NaN where none does."""
    num_b = counted_bk.sum(axis=1)
    sums_b = np.where(counted_bk, values_bk, 0.0).sum(axis=1)
    return np.divide(sums_b, num_b, out=np.full_like(sums_b, np.nan), where=num_b > 0)


def _draw(num_rows: int, resamples: int, seed: int) -> Iterator[np.ndarray]:
    """How often each row was drawn, float [b, n], chunk by chunk up to ``resamples``."""
    generator = np.random.default_rng(seed)
    size = max(1, CHUNK // num_rows)
    for start in range(0, resamples, size):
        count = min(size, resamples - start)
        drawn = generator.integers(0, num_rows, (count, num_rows))
        drawn += np.arange(count)[:, None] * num_rows
        counts = np.bincount(drawn.ravel(), minlength=count * num_rows)
        yield counts.reshape(count, num_rows).astype(np.float64)
