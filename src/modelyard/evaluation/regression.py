"""Metrics of predicted numbers, as functions of row weights."""

from dataclasses import dataclass

import numpy as np

from modelyard.evaluation.bootstrap import bootstrap_intervals, num_resamples
from modelyard.evaluation.report import Report

# The last part of a name gives the axes of an array: b resamples, n rows.

QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)


@dataclass(frozen=True)
class Spread:
    """How errors are spread: a share of the rows has an error (prediction - target) up to this."""

    share: float
    error: float
    absolute: float


@dataclass(frozen=True)
class RegressionReport(Report):
    """Metrics in the target's unit, and the spread of the errors.

    ``typical_error`` is the mean distance of train's targets from their median, for which skill is
    zero.
    """

    typical_error: float
    spread: tuple[Spread, ...]


def measure_numbers(
    predictions: np.ndarray,
    targets: np.ndarray,
    typical_error: float,
    bootstrap: int,
    confidence: float,
    seed: int,
) -> RegressionReport:
    """Score predictions against targets.

    ``skill`` is ``1 - MAE / typical_error``: 1 is perfect, 0 as good as train's median for every
    row. R2 is 1 - (squared error) / (squared distance from the mean), undefined where all targets
    are equal. MAPE is there only where no target is 0.

    Args:
        predictions: float [N] or [N, 1].
        targets: float [N].
        typical_error: Mean distance of train's targets from their median, above 0.
        bootstrap: Number of resamples; of very many rows fewer are drawn.
        confidence: Of the intervals, between 0 and 1.
        seed: Of the resampling.

    Raises:
        ValueError: shapes do not fit, there are no rows, or a value is not a finite number.
    """
    predicted_n = np.asarray(predictions, dtype=np.float64)
    predicted_n = predicted_n[:, 0] if predicted_n.ndim == 2 else predicted_n
    targets_n = np.asarray(targets, dtype=np.float64)
    if targets_n.ndim != 1 or predicted_n.shape != targets_n.shape or not targets_n.size:
        raise ValueError(
            f"predictions {np.shape(predictions)} do not fit targets {targets_n.shape};"
            " give [N] twice with N >= 1"
        )
    if not (np.isfinite(predicted_n).all() and np.isfinite(targets_n).all()):
        raise ValueError("predictions or targets hold a value that is not a finite number")
    num_rows = targets_n.size
    resamples = num_resamples(num_rows, bootstrap)
    scorer = _Scorer(predicted_n, targets_n, typical_error)
    return RegressionReport(
        rows=num_rows,
        confidence=confidence,
        bootstrap=resamples,
        metrics=bootstrap_intervals(scorer, num_rows, resamples, confidence, seed),
        typical_error=typical_error,
        spread=_spread(predicted_n - targets_n),
    )


class _Scorer:
    """The metrics of fixed predictions as functions of row weights."""

    def __init__(
        self, predicted_n: np.ndarray, targets_n: np.ndarray, typical_error: float
    ) -> None:
        self._typical_error = typical_error
        self._distance_n = np.abs(predicted_n - targets_n)
        self._square_n = self._distance_n**2
        # From one of them: the digits that large targets share would drown their differences.
        self._centred_n = targets_n - targets_n[0]
        # Equal ones differ from their mean by rounding alone.
        self._no_variance = (1e-12 * float(np.abs(self._centred_n).max())) ** 2
        self._share_n = None
        if targets_n.all():
            self._share_n = self._distance_n / np.abs(targets_n)

    def __call__(self, weights_bn: np.ndarray) -> dict[str, np.ndarray]:
        """Each metric [B] for each row of weights [B, N]."""
        total_b = weights_bn.sum(axis=1)
        mae_b = weights_bn @ self._distance_n / total_b
        mse_b = weights_bn @ self._square_n / total_b
        mean_b = weights_bn @ self._centred_n / total_b
        distance_bn = self._centred_n - mean_b[:, None]
        variance_b = np.einsum("bn,bn,bn->b", weights_bn, distance_bn, distance_bn) / total_b
        varied_b = variance_b > self._no_variance
        lost_b = np.divide(mse_b, variance_b, out=np.full_like(mse_b, np.nan), where=varied_b)
        metrics = {
            "skill": 1 - mae_b / self._typical_error,
            "mae": mae_b,
            "rmse": np.sqrt(mse_b),
            "r2": 1 - lost_b,
        }
        if self._share_n is not None:
            metrics["mape"] = weights_bn @ self._share_n / total_b
        return metrics


def _spread(errors_n: np.ndarray) -> tuple[Spread, ...]:
    signed, absolute = np.quantile(errors_n, QUANTILES), np.quantile(np.abs(errors_n), QUANTILES)
    return tuple(
        Spread(share, float(signed[index]), float(absolute[index]))
        for index, share in enumerate(QUANTILES)
    )
