"""What every task's report of a measurement has in common."""

import math
from dataclasses import asdict, dataclass
from typing import Any, Self

import numpy as np

from modelyard.evaluation.bootstrap import ratio
from modelyard.evaluation.intervals import Interval

DIGITS = 6
"""Significant digits after the point of the metrics in JSON."""


@dataclass(frozen=True)
class ClassScore:
    """One row of the table by class or label; ``support`` counts its rows among the targets."""

    label: str
    precision: float
    recall: float
    f1: float
    support: int

    @classmethod
    def table(
        cls,
        labels: tuple[str, ...],
        hits_k: np.ndarray,
        predicted_k: np.ndarray,
        support_k: np.ndarray,
    ) -> tuple[Self, ...]:
        """The rows of the table from counts [K]: right answers, answers, targets."""
        hits_k = hits_k.astype(np.float64)
        precision_k, recall_k = ratio(hits_k, predicted_k), ratio(hits_k, support_k)
        f1_k = ratio(2 * hits_k, support_k + predicted_k)
        return tuple(
            cls(label, float(precision_k[k]), float(recall_k[k]), float(f1_k[k]), int(support_k[k]))
            for k, label in enumerate(labels)
        )


@dataclass(frozen=True)
class Report:
    """What a set of answers is worth: ``metrics`` by name (``metrics.TITLES``)."""

    rows: int
    confidence: float
    bootstrap: int
    metrics: dict[str, Interval]

    def to_json(self) -> dict[str, Any]:
        """As JSON: the metrics by name at the top, beside the tables; floats rounded."""
        tree = asdict(self)
        return rounded({**tree.pop("metrics"), **tree})


def rounded(tree: Any) -> Any:
    """The same tree as JSON takes it: floats rounded, what is no finite number null."""
    if isinstance(tree, dict):
        return {key: rounded(value) for key, value in tree.items()}
    if isinstance(tree, list | tuple):
        return [rounded(value) for value in tree]
    if isinstance(tree, float):
        return round(tree, DIGITS) if np.isfinite(tree) else None
    return tree


def show(value: float | None) -> str:
    """A number as reports write it: four digits after the point, fewer of large ones."""
    if value is None or math.isnan(value):
        return "not defined"
    return f"{value:.4f}" if abs(value) < 100 else f"{value:,.1f}"


def check_probabilities(probabilities: np.ndarray) -> None:
    """Refuse what is no probability.

    Raises:
        ValueError: a value is not a finite number of [0, 1].
    """
    tolerance = 1e-3  # float16 answers
    if not ((probabilities >= -tolerance) & (probabilities <= 1 + tolerance)).all():
        raise ValueError("probabilities hold a value that is not a finite number of [0, 1]")
