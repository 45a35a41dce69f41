"""What the tasks do differently: a network's outputs as answers, and the score of each row.

Every comparison in the project is of these scores on the same rows; their mean is the task's main
metric (``artifacts.MAIN_METRIC``).
"""

from dataclasses import dataclass
from typing import Self

import numpy as np

from modelyard.artifacts import Dataset
from modelyard.data.preprocessing import Preprocessing, Target

# The last part of a name gives the axes of an array: n rows, k classes or labels.

THRESHOLD = 0.5
"""A label is given where its probability is above."""
NO_NUMBER = -1e6
"""The score of a regression's answer that is no finite number."""


@dataclass(frozen=True)
class Scoring:
    """How answers are scored.

    ``typical_error`` is the mean distance of train's targets from their median, in the target's
    unit, where the task is regression; else 1.
    """

    task: str
    metric: str
    typical_error: float = 1.0

    @classmethod
    def read(cls, dataset: Dataset) -> Self:
        """The scoring of a dataset, with what was fitted on its train split."""
        if dataset.task != "regression":
            return cls(dataset.task, dataset.main_metric)
        target = Preprocessing.read(dataset.path / "preprocessing.json").target
        assert target is not None, dataset.path
        return cls(dataset.task, dataset.main_metric, target.typical_error)

    def scores(self, answers: np.ndarray, targets: np.ndarray) -> np.ndarray:
        """The score of each row, float64 [N], at best 1; its mean is the main metric.

        Classification: 1 where the likeliest class is the target. Multi-label: labels in common
        over labels in either (Godbole and Sarawagi, "Discriminative methods for multi-labeled
        classification", PAKDD 2004, section 4), 1 where neither has one. Regression:
        ``1 - |answer - target| / typical_error``. A row whose answer is no number scores worst.

        Args:
            answers: Probabilities float [N, K], or predictions float [N, 1].
            targets: int64 [N], uint8 [N, K], or float64 [N].
        """
        finite_n = np.isfinite(answers).all(axis=1)
        if self.task == "classification":
            return (finite_n & (answers.argmax(axis=1) == targets)).astype(np.float64)
        if self.task == "multi-label":
            return np.where(finite_n, jaccard(answers > THRESHOLD, targets > 0), 0.0)
        with np.errstate(invalid="ignore"):
            errors_n = np.abs(answers[:, 0].astype(np.float64) - targets)
        return np.where(finite_n, 1 - errors_n / self.typical_error, NO_NUMBER)


def to_answers(task: str, outputs: np.ndarray, target: Target | None) -> np.ndarray:
    """A network's raw outputs as what it answers.

    Args:
        task: Of the dataset.
        outputs: float32 [N, K]: logits of classes or labels; or [N, 1], a scaled target.
        target: How it was scaled, for regression.

    Returns:
        float32 [N, K], probabilities (rows sum to 1 where the classes exclude each other); or
        [N, 1], predictions in the target's unit.
    """
    if task == "regression":
        assert target is not None
        return outputs * np.float32(target.std) + np.float32(target.mean)
    if task == "multi-label":
        with np.errstate(over="ignore"):
            return np.float32(1) / (np.float32(1) + np.exp(-outputs))
    raised_nk = np.exp(outputs - outputs.max(axis=1, keepdims=True))
    return raised_nk / raised_nk.sum(axis=1, keepdims=True)


def jaccard(given_nk: np.ndarray, targets_nk: np.ndarray) -> np.ndarray:
    """Labels in common over labels in either, of each row, 1 where there are none; bool [N, K]."""
    common_n = (given_nk & targets_nk).sum(axis=1)
    either_n = (given_nk | targets_nk).sum(axis=1)
    return np.where(either_n > 0, common_n / np.maximum(either_n, 1), 1.0)
