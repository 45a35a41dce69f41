"""Is the new model better than the old one, on the same rows, and how sure is that?

Two means measured apart hide that most rows are easy for both; a paired comparison looks only at
where they differ.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np

from modelyard.evaluation.intervals import tango

Verdict = Literal["better", "not worse by more than margin", "worse", "not enough data to tell"]


@dataclass(frozen=True)
class PairedComparison:
    """Accuracy of the new model minus that of the old one, on the same rows.

    ``low`` and ``high`` bound the difference, ``p_value`` is McNemar's exact two-sided one for "no
    difference".
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
    correct_new: np.ndarray, correct_old: np.ndarray, margin: float, confidence: float
) -> PairedComparison:
    """Compare two models by which of the same rows each got right.

    The interval is Tango's score interval for paired proportions (see ``intervals.tango``): free of
    resampling noise and never without width, so that twenty rows without a difference do not prove
    one of zero. The verdict is the first that holds: "better" (the whole interval is above 0), "not
    worse by more than margin" (it is at or above ``-margin``: non-inferiority), "worse" (all of it
    is below 0), else "not enough data to tell".

    Args:
        correct_new: bool [N], whether the new model's answer to each row was right.
        correct_old: bool [N], the same of the old model on the same rows in the same order.
        margin: The largest loss of accuracy that is accepted, at least 0.
        confidence: Of the interval, between 0 and 1.

    Raises:
        ValueError: the two differ in shape, are empty, or the margin is negative.
    """
    new, old = np.asarray(correct_new, dtype=bool), np.asarray(correct_old, dtype=bool)
    if new.shape != old.shape or new.ndim != 1 or new.size == 0:
        raise ValueError(
            f"a paired comparison needs the same rows twice, got shapes {new.shape} and {old.shape}"
        )
    if margin < 0:
        raise ValueError(f"margin {margin:g} is negative; give the largest loss that is accepted")
    only_new = int(np.count_nonzero(new & ~old))
    only_old = int(np.count_nonzero(old & ~new))
    interval = tango(only_new, only_old, new.size, confidence)
    return PairedComparison(
        difference=interval.value,
        low=interval.low,
        high=interval.high,
        p_value=_mcnemar_exact(only_new, only_old),
        verdict=_verdict(interval.low, interval.high, margin),
    )


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
