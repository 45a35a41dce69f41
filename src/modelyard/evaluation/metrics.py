"""Metrics of a classifier, each with a bootstrap interval.

Every metric is written over row weights [B, N], so that one pass scores all bootstrap resamples at
once (a resample is how often each row was drawn) and the point estimate is the resample that draws
each row once.
"""

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from modelyard.evaluation.intervals import Interval, wilson

# The last part of a name gives the axes of an array: b resamples, n rows, k classes, m bins,
# p rows of one class.

NUM_BINS = 15
CHUNK = 4_000_000
"""Weights held in memory at once (resamples x rows), 32 MB."""
DIGITS = 6
"""Of the metrics in JSON."""

TITLES = {
    "accuracy": "accuracy",
    "precision": "precision (macro)",
    "recall": "recall (macro)",
    "f1": "F1 (macro)",
    "roc_auc": "ROC-AUC (one against the rest)",
    "log_loss": "log-loss",
    "ece": "expected calibration error",
}
"""The metrics by name, and what reports call them."""


@dataclass(frozen=True)
class ClassScore:
    """One row of the per-class table; ``support`` counts its rows among the targets."""

    label: str
    precision: float
    recall: float
    f1: float
    support: int


@dataclass(frozen=True)
class Bin:
    """One bar of the reliability diagram: rows whose highest probability lies in (low, high]."""

    low: float
    high: float
    rows: int
    confidence: float
    accuracy: float


@dataclass(frozen=True)
class Report:
    """What a set of predictions is worth: ``metrics`` by name (``TITLES``), by class, in bins."""

    rows: int
    confidence: float
    bootstrap: int
    metrics: dict[str, Interval]
    classes: tuple[ClassScore, ...]
    confusion: tuple[tuple[int, ...], ...]
    """[K, K], rows are targets, columns are predictions."""
    bins: tuple[Bin, ...]

    def to_json(self) -> dict[str, Any]:
        """As JSON: the metrics by name at the top, beside the tables; floats rounded."""
        tree = asdict(self)
        return _rounded({**tree.pop("metrics"), **tree})


def measure(
    probabilities: np.ndarray,
    targets: np.ndarray,
    labels: tuple[str, ...],
    bootstrap: int,
    confidence: float,
    seed: int,
) -> Report:
    """Score predictions against targets.

    Precision, recall and F1 are macro averages over the classes that occur among targets or
    predictions, as in scikit-learn. ROC-AUC is the macro average of one class against the rest
    (Mann-Whitney, ties count half) over the classes that have rows on both sides; NaN is reported
    as null. Log-loss is in nats with probabilities clipped at float32's epsilon. ECE has 15 bins of
    equal width (Guo et al., "On calibration of modern neural networks", ICML 2017, section 2).
    Intervals are bootstrap percentiles (Efron 1979); where no resample differs, that of accuracy is
    Wilson's.

    Args:
        probabilities: float [N, K], rows sum to 1.
        targets: int [N], class indices below K.
        labels: K names.
        bootstrap: Number of resamples.
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
    point = {name: float(value[0]) for name, value in scorer(np.ones((1, num_rows))).items()}
    chunks = [scorer(weights_bn) for weights_bn in _resamples(num_rows, bootstrap, seed)]
    metrics = {}
    for name in TITLES:
        draws_b = np.concatenate([chunk[name] for chunk in chunks])
        metrics[name] = _percentile_interval(point[name], draws_b, confidence)
    accuracy = metrics["accuracy"]
    if accuracy.low == accuracy.high:
        metrics["accuracy"] = wilson(round(accuracy.value * num_rows), num_rows, confidence)
    confusion_kk = _confusion(targets, scorer.predicted_n, len(labels))
    return Report(
        rows=num_rows,
        confidence=confidence,
        bootstrap=bootstrap,
        metrics=metrics,
        classes=_per_class(confusion_kk, labels),
        confusion=tuple(tuple(int(cell) for cell in row) for row in confusion_kk),
        bins=_reliability(scorer),
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
        self._probabilities_nk = probabilities_nk

    def __call__(self, weights_bn: np.ndarray) -> dict[str, np.ndarray]:
        """Each metric [B] of ``TITLES`` for each row of weights [B, N]."""
        total_b = weights_bn.sum(axis=1)
        support_bk = weights_bn @ self._is_target_nk
        predicted_bk = weights_bn @ self._is_predicted_nk
        hits_bk = weights_bn @ (self._is_target_nk * self._is_predicted_nk)
        occurs_bk = support_bk + predicted_bk > 0
        return {
            "accuracy": hits_bk.sum(axis=1) / total_b,
            "precision": _macro(_ratio(hits_bk, predicted_bk), occurs_bk),
            "recall": _macro(_ratio(hits_bk, support_bk), occurs_bk),
            "f1": _macro(_ratio(2 * hits_bk, support_bk + predicted_bk), occurs_bk),
            "roc_auc": self._roc_auc(weights_bn, support_bk, total_b),
            "log_loss": weights_bn @ self._loss_n / total_b,
            "ece": np.abs(weights_bn @ self._gap_nm).sum(axis=1) / total_b,
        }

    def _roc_auc(
        self,
        weights_bn: np.ndarray,
        support_bk: np.ndarray,
        total_b: np.ndarray,
    ) -> np.ndarray:
        """Share of pairs (row of the class, row of another) ranked right, macro over classes."""
        areas_bk = np.zeros_like(support_bk)
        for k in range(support_bk.shape[1]):
            order_n = np.argsort(self._probabilities_nk[:, k], kind="stable")
            score_n = self._probabilities_nk[order_n, k]
            is_class_n = self._is_target_nk[order_n, k] > 0
            rivals_bn = np.where(is_class_n, 0.0, weights_bn[:, order_n])
            up_to_bn = np.zeros((len(weights_bn), score_n.size + 1))
            np.cumsum(rivals_bn, axis=1, out=up_to_bn[:, 1:])
            first_p = np.searchsorted(score_n, score_n[is_class_n], side="left")
            last_p = np.searchsorted(score_n, score_n[is_class_n], side="right")
            below_bp = (up_to_bn[:, first_p] + up_to_bn[:, last_p]) / 2
            areas_bk[:, k] = np.einsum("bp,bp->b", weights_bn[:, order_n[is_class_n]], below_bp)
        pairs_bk = support_bk * (total_b[:, None] - support_bk)
        return _macro(_ratio(areas_bk, pairs_bk), pairs_bk > 0)


def _resamples(num_rows: int, bootstrap: int, seed: int) -> Iterator[np.ndarray]:
    """How often each row was drawn, float [b, n], chunk by chunk up to ``bootstrap`` resamples."""
    generator = np.random.default_rng(seed)
    size = max(1, CHUNK // num_rows)
    for start in range(0, bootstrap, size):
        count = min(size, bootstrap - start)
        drawn = generator.integers(0, num_rows, (count, num_rows))
        drawn += np.arange(count)[:, None] * num_rows
        counts = np.bincount(drawn.ravel(), minlength=count * num_rows)
        yield counts.reshape(count, num_rows).astype(np.float64)


def _percentile_interval(value: float, draws_b: np.ndarray, confidence: float) -> Interval:
    known = draws_b[~np.isnan(draws_b)]
    if not known.size:
        return Interval(value, float("nan"), float("nan"))
    tail = (1 - confidence) / 2
    low, high = np.quantile(known, [tail, 1 - tail])
    return Interval(value, float(low), float(high))


def _ratio(numerator: np.ndarray, denominator: np.ndarray) -> np.ndarray:
    """Elementwise quotient, 0 where the denominator is 0 (scikit-learn's ``zero_division=0``)."""
    return np.divide(numerator, denominator, out=np.zeros_like(numerator), where=denominator > 0)


def _macro(values_bk: np.ndarray, counted_bk: np.ndarray) -> np.ndarray:
    """Mean over the classes that count, NaN where none does."""
    num_b = counted_bk.sum(axis=1)
    sums_b = np.where(counted_bk, values_bk, 0.0).sum(axis=1)
    return np.divide(sums_b, num_b, out=np.full_like(sums_b, np.nan), where=num_b > 0)


def _confusion(targets: np.ndarray, predicted: np.ndarray, num_classes: int) -> np.ndarray:
    flat = np.bincount(targets * num_classes + predicted, minlength=num_classes**2)
    return flat.reshape(num_classes, num_classes)


def _per_class(confusion_kk: np.ndarray, labels: tuple[str, ...]) -> tuple[ClassScore, ...]:
    hits_k = np.diag(confusion_kk).astype(np.float64)
    support_k, predicted_k = confusion_kk.sum(axis=1), confusion_kk.sum(axis=0)
    precision_k, recall_k = _ratio(hits_k, predicted_k), _ratio(hits_k, support_k)
    f1_k = _ratio(2 * hits_k, support_k + predicted_k)
    return tuple(
        ClassScore(
            label, float(precision_k[k]), float(recall_k[k]), float(f1_k[k]), int(support_k[k])
        )
        for k, label in enumerate(labels)
    )


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
    tolerance = 1e-3  # float16 answers
    if not ((probabilities >= -tolerance) & (probabilities <= 1 + tolerance)).all():
        raise ValueError("probabilities hold a value that is not a finite number of [0, 1]")


def _rounded(tree: Any) -> Any:
    if isinstance(tree, dict):
        return {key: _rounded(value) for key, value in tree.items()}
    if isinstance(tree, list | tuple):
        return [_rounded(value) for value in tree]
    if isinstance(tree, float):
        return None if np.isnan(tree) else round(tree, DIGITS)
    return tree
