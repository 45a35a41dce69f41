"""The package's files beside the models: what a server, a caller and a reader need to know."""

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from modelyard.artifacts import Dataset, read_json, write_atomic, write_json
from modelyard.compression import onnx_file
from modelyard.compression.candidates import Judged
from modelyard.compression.export import OUTPUT
from modelyard.data.columns import SplitColumns
from modelyard.evaluation.metrics import DIGITS, TITLES
from modelyard.models.trained import Description
from modelyard.templates import render

MODEL = "model.onnx"
REFERENCE = "reference.onnx"
GOLDEN_ATOL = 1e-2
"""Another CPU's int8 kernels may round otherwise; a wrong file is off by far more."""


@dataclass(frozen=True)
class Facts:
    """What the package says about its model.

    ``trained`` and ``shipped`` are metrics on the test split (``metrics.Report.to_json``).
    """

    dataset: Dataset
    model: Description
    trained: dict[str, Any]
    shipped: dict[str, Any]
    judged: tuple[Judged, ...]
    chosen: str
    max_drop: float


def write(folder: Path, facts: Facts, golden: SplitColumns) -> None:
    """Write all files but the models, which must be there, and the manifest.

    Args:
        folder: The package folder.
        facts: What they say.
        golden: Validation rows whose answers a server must repeat before it serves the model.
    """
    dataset = facts.dataset
    description = read_json(dataset.path / "dataset.json")
    schema = _schema(dataset, description["target"])
    example = {"rows": json_rows(golden, slice(0, 1))}
    write_json(folder / "schema.json", schema)
    write_json(folder / "labels.json", list(dataset.labels))
    write_json(folder / "input_example.json", example)
    write_json(folder / "golden.json", _golden(folder / MODEL, golden))
    shutil.copyfile(dataset.path / "preprocessing.json", folder / "preprocessing.json")
    evaluation = {
        "trained": facts.trained,
        "shipped": facts.shipped,
        "candidates": [candidate_json(candidate) for candidate in facts.judged],
        "chosen": facts.chosen,
    }
    write_json(folder / "evaluation.json", evaluation)
    card = render(
        "model_card.md.j2",
        facts=facts,
        description=description,
        schema=schema,
        names=TITLES,
        size_bytes=(folder / MODEL).stat().st_size,
        reference_bytes=(folder / REFERENCE).stat().st_size,
    )
    write_atomic(folder / "MODEL_CARD.md", card.encode())


def candidate_json(candidate: Judged) -> dict[str, Any]:
    """A judged candidate without what differs from machine to machine."""
    comparison = candidate.comparison
    return {
        "name": candidate.name,
        "size_bytes": candidate.size_bytes,
        "validation_score": round(candidate.accuracy, DIGITS),
        "difference": round(comparison.difference, DIGITS),
        "low": round(comparison.low, DIGITS),
        "high": round(comparison.high, DIGITS),
        "within_budget": candidate.within_budget,
    }


def evenly(split: SplitColumns, count: int) -> SplitColumns:
    """At most ``count`` rows of a split, at even distances: the same ones every time."""
    chosen = np.unique(np.linspace(0, len(split.rows) - 1, min(count, len(split.rows))).astype(int))
    return SplitColumns(
        rows=split.rows[chosen],
        features={name: values[chosen] for name, values in split.features.items()},
        targets=split.targets[chosen],
    )


def json_rows(split: SplitColumns, chosen: slice) -> list[dict[str, Any]]:
    """Rows as a ``/predict`` body gives them: one object a row, features by name."""
    numbers = range(len(split.rows))[chosen]
    return [
        {name: values[number].tolist() for name, values in split.features.items()}
        for number in numbers
    ]


def _golden(model: Path, golden: SplitColumns) -> dict[str, Any]:
    """Requests of one row each, with the shipped file's answers."""
    requests = []
    for number in range(len(golden.rows)):
        one = slice(number, number + 1)
        feed = {name: values[one] for name, values in golden.features.items()}
        answers = onnx_file.answer(model, feed).astype(np.float64).round(DIGITS)
        requests.append({"rows": json_rows(golden, one), "probabilities": answers.tolist()})
    return {"atol": GOLDEN_ATOL, "requests": requests}


def _schema(dataset: Dataset, target: str) -> dict[str, Any]:
    inputs = [
        {"name": feature["name"], "dtype": "uint8", "shape": [-1, *_image_shape(feature)]}
        for feature in dataset.features
    ]
    output = {"name": OUTPUT, "dtype": "float32", "shape": [-1, len(dataset.labels)]}
    return {"task": dataset.task, "inputs": inputs, "outputs": [output], "target": target}


def _image_shape(feature: dict[str, Any]) -> list[int]:
    """A grey image has no channel axis."""
    size = [feature["height"], feature["width"]]
    return size if feature["channels"] == 1 else [*size, feature["channels"]]
