"""Areas under ROC and precision-recall curves over row weights.

Rows are sorted once, however many resamples are scored.
"""

from dataclasses import dataclass

import numpy as np

from modelyard.evaluation.bootstrap import macro, ratio

# The last part of a name gives the axes of an array: b resamples, n rows, k classes or labels,
# g groups of rows with equal probability.


class Ranking:
    """Probabilities [N, K] and which rows are of which class, float [N, K] of 0 and 1."""

    def __init__(self, probabilities_nk: np.ndarray, is_target_nk: np.ndarray) -> None:
        self._is_target_nk = is_target_nk
        self._columns = [
            _Sorted.of(scores_n, is_target_n)
            for scores_n, is_target_n in zip(probabilities_nk.T, is_target_nk.T, strict=True)
        ]
        self._mirrored = _are_mirrored(self._columns, probabilities_nk, is_target_nk)

    def roc_auc(self, weights_bn: np.ndarray) -> np.ndarray:
        """Share of pairs (row of the class, row of another) ranked right, macro over classes.

        Ties count half (Mann-Whitney); a class without rows on both sides does not count, and NaN
        is given where none does.
        """
        # What ranks one of two classes ranks the other as well, the other way round.
        columns = self._columns[-1:] if self._mirrored else self._columns
        support_bk = weights_bn @ self._is_target_nk[:, -len(columns) :]
        areas_bk = np.stack([column.area(weights_bn) for column in columns], axis=1)
        pairs_bk = support_bk * (weights_bn.sum(axis=1, keepdims=True) - support_bk)
        return macro(ratio(areas_bk, pairs_bk), pairs_bk > 0)

    def average_precision(self, weights_bn: np.ndarray, k: int) -> np.ndarray:
        """Precision averaged over the recall steps of class ``k``, NaN where it has no rows.

        As scikit-learn's ``average_precision_score``: the area is not interpolated, rows of equal
        probability are one step.
        """
        return self._columns[k].average_precision(weights_bn)


@dataclass(frozen=True)
class _Sorted:
    """Rows by ascending score of one class; ``ends`` are the last positions of equal ones."""

    order_n: np.ndarray
    is_target_n: np.ndarray
    ends_g: np.ndarray

    @classmethod
    def of(cls, scores_n: np.ndarray, is_target_n: np.ndarray) -> "_Sorted":
        order_n = np.argsort(scores_n, kind="stable")
        sorted_n = scores_n[order_n]
        ends_g = np.flatnonzero(np.append(sorted_n[1:] != sorted_n[:-1], True))
        return cls(order_n, is_target_n[order_n], ends_g)

    def sums(self, weights_bn: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Weight [B, G] of the class, and of all rows, in each group of equal scores."""
        sorted_bn = weights_bn[:, self.order_n]
        hits_bn = sorted_bn * self.is_target_n
        if self.ends_g.size == self.order_n.size:
            return hits_bn, sorted_bn
        starts_g = np.append(0, self.ends_g[:-1] + 1)
        return np.add.reduceat(hits_bn, starts_g, axis=1), np.add.reduceat(
            sorted_bn, starts_g, axis=1
        )

    def area(self, weights_bn: np.ndarray) -> np.ndarray:
        """Weight [B] of the pairs that are ranked right."""
        hits_bg, all_bg = self.sums(weights_bn)
        others_bg = all_bg - hits_bg
        below_bg = np.cumsum(others_bg, axis=1)
        below_bg -= others_bg / 2
        return np.einsum("bg,bg->b", hits_bg, below_bg)

    def average_precision(self, weights_bn: np.ndarray) -> np.ndarray:
        """As of ``Ranking``."""
        hits_bg, all_bg = self.sums(weights_bn)
        # From the highest score down.
        found_bg = np.cumsum(hits_bg[:, ::-1], axis=1)
        given_bg = np.cumsum(all_bg[:, ::-1], axis=1)
        areas_b = np.einsum("bg,bg->b", hits_bg[:, ::-1], ratio(found_bg, given_bg))
        total_b = found_bg[:, -1]
        return np.divide(areas_b, total_b, out=np.full_like(areas_b, np.nan), where=total_b > 0)


def _are_mirrored(
    columns: list[_Sorted], probabilities_nk: np.ndarray, is_target_nk: np.ndarray
) -> bool:
    """Whether there are two classes, one ranked exactly opposite to the other."""
    if len(columns) != 2 or (is_target_nk.sum(axis=1) != 1).any():
        return False
    falling_n = np.diff(probabilities_nk[columns[1].order_n, 0])
    rising_n = np.diff(probabilities_nk[columns[1].order_n, 1])
    return bool(((falling_n < 0) == (rising_n > 0)).all() and (falling_n <= 0).all())
