"""Is the new model better than the old one, on the same rows, and how sure is that?

Two means measured apart hide that most rows are easy for both; a paired comparison looks only at
where they differ.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np

from modelyard.evaluation.bootstrap import is_binary
from modelyard.evaluation.intervals import normal_quantile, tango

Verdict = Literal["better", "not worse by more than margin", "worse", "not enough data to tell"]


@dataclass(frozen=True)
class PairedComparison:
    """Mean score of the new model minus that of the old one, on the same rows.

    ``low`` and ``high`` bound the difference, ``p_value`` is two-sided for "no difference":
    McNemar's exact one for scores of 0 and 1, Student's for others.
    """

    difference: float
    low: float
    high: float
    p_value: float
    verdict: Verdict

    @property
    def acceptable(self) -> bool:
        """Whether the interval rules out a loss of more than the margin."""
        return self.verdict in ("better", "not worse by more than margin")


def compare_paired(
    scores_new: np.ndarray, scores_old: np.ndarray, margin: float, confidence: float
) -> PairedComparison:
    """Compare two models by their scores of the same rows.

    Where every score is 0 or 1, the interval is Tango's score interval for paired proportions (see
    ``intervals.tango``): free of resampling noise and never without width, so that twenty rows
    without a difference do not prove one of zero. Else it is Student's for the mean of the rows'
    differences, and never narrower than Tango's without discordant rows is, ``z^2 / (n + z^2)`` on
    each side, in standard deviations of the scores: that keeps a width where no row differs.

    The verdict is the first that holds: "better" (the whole interval is above 0), "not worse by
    more than margin" (it is at or above ``-margin``: non-inferiority), "worse" (all of it is below
    0), else "not enough data to tell".

    Args:
        scores_new: bool or float [N], the new model's score of each row (``tasks.Scoring``).
        scores_old: The same of the old model on the same rows in the same order.
        margin: The largest loss of mean score that is accepted, at least 0.
        confidence: Of the interval, between 0 and 1.

    Raises:
        ValueError: the two differ in shape, are empty, or the margin is negative.
    """
    new, old = np.asarray(scores_new, np.float64), np.asarray(scores_old, np.float64)
    if new.shape != old.shape or new.ndim != 1 or new.size == 0:
        raise ValueError(
            f"a paired comparison needs the same rows twice, got shapes {new.shape} and {old.shape}"
        )
    if margin < 0:
        raise ValueError(f"margin {margin:g} is negative; give the largest loss that is accepted")
    compare = _of_shares if is_binary(new) and is_binary(old) else _of_means
    difference, low, high, p_value = compare(new, old, confidence)
    return PairedComparison(difference, low, high, p_value, _verdict(low, high, margin))


def _of_shares(
    new: np.ndarray, old: np.ndarray, confidence: float
) -> tuple[float, float, float, float]:
    only_new = int(np.count_nonzero(new > old))
    only_old = int(np.count_nonzero(old > new))
    interval = tango(only_new, only_old, new.size, confidence)
    return interval.value, interval.low, interval.high, _mcnemar_exact(only_new, only_old)


def _of_means(
    new: np.ndarray, old: np.ndarray, confidence: float
) -> tuple[float, float, float, float]:
    from scipy.special import stdtr, stdtrit

    change, rows = new - old, new.size
    difference = float(change.mean())
    z2 = normal_quantile(confidence) ** 2
    spread = float(np.concatenate([new, old]).std())
    half, p_value = spread * z2 / (rows + z2), 1.0
    if rows == 1:
        half += abs(difference)
    else:
        error = float(change.std(ddof=1)) / rows**0.5
        half = max(half, float(stdtrit(rows - 1, 0.5 + confidence / 2)) * error)
        if error > 0:
            p_value = 2 * float(stdtr(rows - 1, -abs(difference) / error))
        elif difference:
            p_value = 0.0
    return difference, difference - half, difference + half, p_value


def _verdict(low: float, high: float, margin: float) -> Verdict:
    if low > 0:
        return "better"
    if low >= -margin:
        return "not worse by more than margin"
    if high < 0:
        return "worse"
    return "not enough data to tell"


def _mcnemar_exact(only_new: int, only_old: int) -> float:
    """The two-sided sign test on the discordant rows (McNemar 1947, in its exact binomial form)."""
    from scipy.special import bdtr

    discordant = only_new + only_old
    if discordant == 0:
        return 1.0
    return min(1.0, 2 * float(bdtr(min(only_new, only_old), discordant, 0.5)))
