"""Metrics of a classifier, as functions of row weights (see ``bootstrap``)."""

from dataclasses import dataclass

import numpy as np

from modelyard.evaluation.bootstrap import (
    bootstrap_intervals,
    macro,
    never_certain,
    num_resamples,
    ratio,
)
from modelyard.evaluation.ranking import Ranking
from modelyard.evaluation.report import ClassScore, Report, check_probabilities

# The last part of a name gives the axes of an array: b resamples, n rows, k classes, m bins.

NUM_BINS = 15


@dataclass(frozen=True)
class Bin:
    """One bar of the reliability diagram: rows whose highest probability lies in (low, high]."""

    low: float
    high: float
    rows: int
    confidence: float
    accuracy: float


@dataclass(frozen=True)
class ClassificationReport(Report):
    """Metrics, by class, in bins; ``confusion`` is [K, K], rows are targets.

    ``positive`` is the class that PR-AUC and Brier score are of, the second of two; else None.
    """

    classes: tuple[ClassScore, ...]
    confusion: tuple[tuple[int, ...], ...]
    bins: tuple[Bin, ...]
    positive: str | None


def measure_classes(
    probabilities: np.ndarray,
    targets: np.ndarray,
    labels: tuple[str, ...],
    bootstrap: int,
    confidence: float,
    seed: int,
) -> ClassificationReport:
    """Score predictions against targets.

    Precision, recall and F1 are macro averages over the classes that occur among targets or
    predictions, as in scikit-learn. ROC-AUC is the macro average of one class against the rest
    (Mann-Whitney, ties count half) over the classes that have rows on both sides; NaN is reported
    as null. Log-loss is in nats with probabilities clipped at float32's epsilon. ECE has 15 bins of
    equal width (Guo et al., "On calibration of modern neural networks", ICML 2017, section 2). With
    two classes there are PR-AUC (average precision) and Brier score of the second of them, too.
    Intervals are bootstrap percentiles; where no resample differs, that of accuracy is Wilson's.

    Args:
        probabilities: float [N, K], rows sum to 1.
        targets: int [N], class indices below K.
        labels: K names.
        bootstrap: Number of resamples; of very many rows fewer are drawn.
        confidence: Of the intervals, between 0 and 1.
        seed: Of the resampling.

    Raises:
        ValueError: shapes do not fit, there are no rows, or a probability is not a finite number of
            [0, 1].
    """
    probabilities = np.asarray(probabilities, dtype=np.float64)
    targets = np.asarray(targets, dtype=np.int64)
    _check(probabilities, targets, labels)
    scorer = _Scorer(probabilities, targets)
    num_rows = targets.size
    resamples = num_resamples(num_rows, bootstrap, len(labels))
    metrics = bootstrap_intervals(scorer, num_rows, resamples, confidence, seed)
    accuracy = never_certain(metrics["accuracy"], scorer.correct_n, confidence)
    confusion_kk = _confusion(targets, scorer.predicted_n, len(labels))
    return ClassificationReport(
        rows=num_rows,
        confidence=confidence,
        bootstrap=resamples,
        metrics=metrics | {"accuracy": accuracy},
        classes=_per_class(confusion_kk, labels),
        confusion=tuple(tuple(int(cell) for cell in row) for row in confusion_kk),
        bins=_reliability(scorer),
        positive=labels[1] if len(labels) == 2 else None,
    )


class _Scorer:
    """The metrics of fixed predictions as functions of row weights."""

    def __init__(self, probabilities_nk: np.ndarray, targets_n: np.ndarray) -> None:
        num_rows, num_classes = probabilities_nk.shape
        self.predicted_n = probabilities_nk.argmax(axis=1)
        self.correct_n = self.predicted_n == targets_n
        self.confidence_n = probabilities_nk.max(axis=1)
        self.bin_n = np.clip(np.ceil(self.confidence_n * NUM_BINS).astype(int) - 1, 0, NUM_BINS - 1)
        classes_k = np.arange(num_classes)
        self._is_target_nk = (targets_n[:, None] == classes_k).astype(np.float64)
        self._is_predicted_nk = (self.predicted_n[:, None] == classes_k).astype(np.float64)
        chosen_n = probabilities_nk[np.arange(num_rows), targets_n]
        self._loss_n = -np.log(np.clip(chosen_n, np.finfo(np.float32).eps, 1.0))
        gap_n = self.correct_n - self.confidence_n
        self._gap_nm = (self.bin_n[:, None] == np.arange(NUM_BINS)) * gap_n[:, None]
        self._ranking = Ranking(probabilities_nk, self._is_target_nk)
        self._brier_n = None
        if num_classes == 2:
            self._brier_n = (probabilities_nk[:, 1] - self._is_target_nk[:, 1]) ** 2

    def __call__(self, weights_bn: np.ndarray) -> dict[str, np.ndarray]:
        """Each metric [B] for each row of weights [B, N]."""
        total_b = weights_bn.sum(axis=1)
        support_bk = weights_bn @ self._is_target_nk
        predicted_bk = weights_bn @ self._is_predicted_nk
        hits_bk = weights_bn @ (self._is_target_nk * self._is_predicted_nk)
        occurs_bk = support_bk + predicted_bk > 0
        metrics = {
            "accuracy": hits_bk.sum(axis=1) / total_b,
            "precision": macro(ratio(hits_bk, predicted_bk), occurs_bk),
            "recall": macro(ratio(hits_bk, support_bk), occurs_bk),
            "f1": macro(ratio(2 * hits_bk, support_bk + predicted_bk), occurs_bk),
            "roc_auc": self._ranking.roc_auc(weights_bn),
            "log_loss": weights_bn @ self._loss_n / total_b,
            "ece": np.abs(weights_bn @ self._gap_nm).sum(axis=1) / total_b,
        }
        if self._brier_n is not None:
            metrics["pr_auc"] = self._ranking.average_precision(weights_bn, 1)
            metrics["brier"] = weights_bn @ self._brier_n / total_b
        return metrics


def _confusion(targets: np.ndarray, predicted: np.ndarray, num_classes: int) -> np.ndarray:
    flat = np.bincount(targets * num_classes + predicted, minlength=num_classes**2)
    return flat.reshape(num_classes, num_classes)


def _per_class(confusion_kk: np.ndarray, labels: tuple[str, ...]) -> tuple[ClassScore, ...]:
    hits_k = np.diag(confusion_kk).astype(np.float64)
    support_k, predicted_k = confusion_kk.sum(axis=1), confusion_kk.sum(axis=0)
    return ClassScore.table(labels, hits_k, predicted_k, support_k)


def _reliability(scorer: _Scorer) -> tuple[Bin, ...]:
    rows_m = np.bincount(scorer.bin_n, minlength=NUM_BINS)
    confidence_m = np.bincount(scorer.bin_n, scorer.confidence_n, NUM_BINS)
    correct_m = np.bincount(scorer.bin_n, scorer.correct_n, NUM_BINS)
    return tuple(
        Bin(
            low=m / NUM_BINS,
            high=(m + 1) / NUM_BINS,
            rows=int(rows_m[m]),
            confidence=float(confidence_m[m] / max(1, rows_m[m])),
            accuracy=float(correct_m[m] / max(1, rows_m[m])),
        )
        for m in range(NUM_BINS)
    )


def _check(probabilities: np.ndarray, targets: np.ndarray, labels: tuple[str, ...]) -> None:
    shape = (targets.size, len(labels))
    if targets.ndim != 1 or probabilities.shape != shape or not targets.size:
        raise ValueError(
            f"probabilities {probabilities.shape} do not fit targets {targets.shape} and"
            f" {len(labels)} labels; give [N, {len(labels)}] and [N] with N >= 1"
        )
    if targets.min() < 0 or targets.max() >= len(labels):
        raise ValueError(
            f"targets lie in [{targets.min()}, {targets.max()}], but there are {len(labels)} labels"
        )
    check_probabilities(probabilities)
