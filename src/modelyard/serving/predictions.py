"""Answers with names: what a model's first output means by its task."""

from typing import Any

import numpy as np

from modelyard.serving.model import Model


def records(model: Model, outputs: np.ndarray) -> list[dict[str, Any]]:
    """One object a row of the model's first output, [rows, width].

    Classification gives ``label``, ``probability`` and ``probabilities`` by label; multi-label
    ``labels`` and ``probabilities``; regression ``prediction``.
    """
    return _RECORDS[model.task](model.labels, outputs)


def render_predictions(model: Model, outputs: np.ndarray) -> dict[str, Any]:
    """The answer of ``/predict`` for the model's first output, [rows, width]."""
    return {
        "model": model.name,
        "version": model.version,
        "predictions": records(model, outputs),
    }


def _classes(labels: tuple[str, ...], probabilities: np.ndarray) -> list[dict[str, Any]]:
    best = probabilities.argmax(axis=1).tolist()
    return [
        {
            "label": labels[index],
            "probability": row[index],
            "probabilities": dict(zip(labels, row, strict=True)),
        }
        for index, row in zip(best, probabilities.tolist(), strict=True)
    ]


def _several_labels(labels: tuple[str, ...], probabilities: np.ndarray) -> list[dict[str, Any]]:
    return [
        {
            "labels": [label for label, value in zip(labels, row, strict=True) if value > 0.5],
            "probabilities": dict(zip(labels, row, strict=True)),
        }
        for row in probabilities.tolist()
    ]


def _numbers(_: tuple[str, ...], predictions: np.ndarray) -> list[dict[str, Any]]:
    return [{"prediction": value} for value in predictions[:, 0].tolist()]


_RECORDS = {
    "classification": _classes,
    "multi-label": _several_labels,
    "regression": _numbers,
}
