"""Measuring answers of any task: its metrics, each with a bootstrap interval."""

import numpy as np

from modelyard.evaluation.classification import measure_classes
from modelyard.evaluation.multi_label import measure_labels
from modelyard.evaluation.regression import measure_numbers
from modelyard.evaluation.report import Report
from modelyard.evaluation.tasks import Scoring
from modelyard.params import EvaluateParams

TITLES = {
    "accuracy": "accuracy",
    "jaccard": "Jaccard index",
    "skill": "skill",
    "mae": "mean absolute error",
    "rmse": "root mean squared error",
    "r2": "R²",
    "mape": "mean absolute percentage error",
    "precision": "precision (macro)",
    "recall": "recall (macro)",
    "f1_micro": "F1 (micro)",
    "f1": "F1 (macro)",
    "exact_match": "rows with all labels right",
    "hamming_loss": "Hamming loss",
    "roc_auc": "ROC-AUC (one against the rest)",
    "pr_auc": "PR-AUC (average precision)",
    "log_loss": "log-loss",
    "brier": "Brier score",
    "ece": "expected calibration error",
}
"""The metrics by name, and what reports call them."""

FIGURES = {
    "selection_rate": "selection rate",
    "true_positive_rate": "true positive rate",
    "false_positive_rate": "false positive rate",
}
"""What reports call the rates of groups."""

TILES = {
    "classification": ("accuracy", "f1", "roc_auc", "ece"),
    "multi-label": ("jaccard", "f1_micro", "f1", "hamming_loss"),
    "regression": ("skill", "mae", "rmse", "r2"),
}
"""The metrics at the top of a report, by task."""


def measure(
    answers: np.ndarray,
    targets: np.ndarray,
    labels: tuple[str, ...],
    scoring: Scoring,
    params: EvaluateParams,
) -> Report:
    """Score answers against targets by the metrics of the task.

    Args:
        answers: Probabilities float [N, K], or predictions float [N, 1].
        targets: int64 [N], uint8 [N, K], or float64 [N].
        labels: K names, none for regression.
        scoring: Of the dataset.
        params: Resamples, level and seed of the intervals.

    Returns:
        The task's report: ``ClassificationReport``, ``MultiLabelReport`` or ``RegressionReport``.

    Raises:
        ValueError: shapes do not fit, there are no rows, or a value is not possible.
    """
    draws = {"bootstrap": params.bootstrap, "confidence": params.confidence, "seed": params.seed}
    if scoring.task == "regression":
        return measure_numbers(answers, targets, scoring.typical_error, **draws)
    if scoring.task == "multi-label":
        return measure_labels(answers, targets, labels, **draws)
    return measure_classes(answers, targets, labels, **draws)
