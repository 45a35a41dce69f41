"""Metrics of answers with any number of labels a row, as functions of row weights."""

from dataclasses import dataclass

import numpy as np

from modelyard.evaluation.bootstrap import (
    bootstrap_intervals,
    never_certain,
    num_resamples,
    ratio,
)
from modelyard.evaluation.ranking import Ranking
from modelyard.evaluation.report import ClassScore, Report, check_probabilities
from modelyard.evaluation.tasks import THRESHOLD, jaccard

# The last part of a name gives the axes of an array: b resamples, n rows, k labels.


@dataclass(frozen=True)
class MultiLabelReport(Report):
    """Metrics, and a table by label."""

    classes: tuple[ClassScore, ...]


def measure_labels(
    probabilities: np.ndarray,
    targets: np.ndarray,
    labels: tuple[str, ...],
    bootstrap: int,
    confidence: float,
    seed: int,
) -> MultiLabelReport:
    """Score labels, given where their probability is above a half, against targets.

    ``jaccard`` is the mean over rows (see ``tasks.Scoring``); ``exact_match`` the share of rows
    with all labels right; ``hamming_loss`` the share of wrong decisions of all rows and labels. F1
    is counted over all decisions (micro) and averaged over labels (macro), 0 for a label that is
    neither given nor due. ROC-AUC is averaged over the labels that some rows have and some not.
    Intervals are bootstrap percentiles; where all rows are right, that of ``jaccard`` is Wilson's.

    Args:
        probabilities: float [N, K].
        targets: 0 or 1 [N, K].
        labels: K names.
        bootstrap: Number of resamples; of very many rows fewer are drawn.
        confidence: Of the intervals, between 0 and 1.
        seed: Of the resampling.

    Raises:
        ValueError: shapes do not fit, there are no rows, or a probability is not a finite number of
            [0, 1].
    """
    probabilities = np.asarray(probabilities, dtype=np.float64)
    is_target_nk = np.asarray(targets) > 0
    if is_target_nk.ndim != 2 or not is_target_nk.size or probabilities.shape != is_target_nk.shape:
        raise ValueError(
            f"probabilities {probabilities.shape} do not fit targets {is_target_nk.shape};"
            f" give [N, {len(labels)}] twice with N >= 1"
        )
    check_probabilities(probabilities)
    given_nk = probabilities > THRESHOLD
    num_rows = len(is_target_nk)
    resamples = num_resamples(num_rows, bootstrap, len(labels))
    scorer = _Scorer(probabilities, given_nk, is_target_nk)
    metrics = bootstrap_intervals(scorer, num_rows, resamples, confidence, seed)
    found = never_certain(metrics["jaccard"], scorer.jaccard_n, confidence)
    return MultiLabelReport(
        rows=num_rows,
        confidence=confidence,
        bootstrap=resamples,
        metrics=metrics | {"jaccard": found},
        classes=ClassScore.table(
            labels,
            (given_nk & is_target_nk).sum(axis=0),
            given_nk.sum(axis=0),
            is_target_nk.sum(axis=0),
        ),
    )


class _Scorer:
    """The metrics of fixed answers as functions of row weights."""

    def __init__(
        self, probabilities_nk: np.ndarray, given_nk: np.ndarray, is_target_nk: np.ndarray
    ) -> None:
        wrong_nk = given_nk != is_target_nk
        self.jaccard_n = jaccard(given_nk, is_target_nk)
        self._exact_n = (~wrong_nk.any(axis=1)).astype(np.float64)
        self._wrong_n = wrong_nk.mean(axis=1)
        self._hits_nk = (given_nk & is_target_nk).astype(np.float64)
        self._both_nk = given_nk.astype(np.float64) + is_target_nk
        self._ranking = Ranking(probabilities_nk, is_target_nk.astype(np.float64))

    def __call__(self, weights_bn: np.ndarray) -> dict[str, np.ndarray]:
        """Each metric [B] for each row of weights [B, N]."""
        total_b = weights_bn.sum(axis=1)
        hits_bk, both_bk = weights_bn @ self._hits_nk, weights_bn @ self._both_nk
        return {
            "jaccard": weights_bn @ self.jaccard_n / total_b,
            "exact_match": weights_bn @ self._exact_n / total_b,
            "f1_micro": ratio(2 * hits_bk.sum(axis=1), both_bk.sum(axis=1)),
            "f1": ratio(2 * hits_bk, both_bk).mean(axis=1),
            "hamming_loss": weights_bn @ self._wrong_n / total_b,
            "roc_auc": self._ranking.roc_auc(weights_bn),
        }
