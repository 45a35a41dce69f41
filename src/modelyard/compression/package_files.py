"""The package's files beside the models: what a server, a caller and a reader need to know."""

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from modelyard.artifacts import Dataset, read_json, write_atomic, write_json
from modelyard.compression import onnx_file
from modelyard.compression.candidates import Judged
from modelyard.compression.head import ANSWERS
from modelyard.data.columns import SplitColumns
from modelyard.evaluation.metrics import FIGURES, TITLES
from modelyard.evaluation.report import DIGITS, show
from modelyard.models.archive import ARCHIVE
from modelyard.models.trained import Description
from modelyard.package.scalars import SCALARS, from_tensor
from modelyard.templates import render

MODEL = "model.onnx"
REFERENCE = "reference.onnx"
GOLDEN_ATOL = 1e-2
"""Another CPU's int8 kernels may round otherwise; a wrong file is off by far more.

Of a probability, or of a prediction in standard deviations of the target.
"""
DTYPES = {"image": "uint8", "audio": "int16", "category": "string", "text": "string"}
"""The type of a graph's input by that of the feature; all others are float64."""
HINTS = ("required", "enum", "minimum", "maximum", "sample_rate", "fit")
"""What dataset.json may say of a feature that is of use to a caller."""


@dataclass(frozen=True)
class Facts:
    """What the package says about its model.

    ``trained`` and ``shipped`` are metrics on the test split (``Report.to_json``). ``unit`` is what
    a difference between answers is measured in: 1, or the target's standard deviation.
    """

    dataset: Dataset
    model: Description
    trained: dict[str, Any]
    shipped: dict[str, Any]
    judged: tuple[Judged, ...]
    chosen: str
    max_drop: float
    unit: float


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
    types = {feature["name"]: feature["type"] for feature in dataset.features}
    write_json(folder / "schema.json", schema)
    write_json(folder / "labels.json", list(dataset.labels))
    write_json(folder / "input_example.json", {"rows": json_rows(golden, slice(0, 1), types)})
    requests = _golden(folder / MODEL, golden, types, schema["outputs"][0]["name"])
    atol = GOLDEN_ATOL * facts.unit
    write_json(folder / "golden.json", {"atol": atol, "requests": requests})
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
        metric=dataset.main_metric,
        target=", ".join(_listed(description["target"])),
        names=TITLES | FIGURES,
        show=show,
        size_bytes=(folder / MODEL).stat().st_size,
        reference_bytes=(folder / REFERENCE).stat().st_size,
        archived=(folder / ARCHIVE).is_file(),
    )
    write_atomic(folder / "MODEL_CARD.md", card.encode())


def candidate_json(candidate: Judged) -> dict[str, Any]:
    """A judged candidate without what differs from machine to machine."""
    comparison = candidate.comparison
    return {
        "name": candidate.name,
        "size_bytes": candidate.size_bytes,
        "within_budget": candidate.within_budget,
        # 0.0 added to a rounded -0.0 is 0.0.
        "validation_score": round(candidate.score, DIGITS) + 0.0,
        "difference": round(comparison.difference, DIGITS) + 0.0,
        "low": round(comparison.low, DIGITS),
        "high": round(comparison.high, DIGITS),
    }


def evenly(split: SplitColumns, count: int) -> SplitColumns:
    """At most ``count`` rows of a split, at even distances: the same ones every time."""
    chosen = np.unique(np.linspace(0, len(split.rows) - 1, min(count, len(split.rows))).astype(int))
    return SplitColumns(
        rows=split.rows[chosen],
        features={name: values[chosen] for name, values in split.features.items()},
        targets=split.targets[chosen],
    )


def json_rows(split: SplitColumns, chosen: slice, types: dict[str, str]) -> list[dict[str, Any]]:
    """Rows as a ``/predict`` body gives them: one object a row, features by name.

    Args:
        split: The rows.
        chosen: Which of them.
        types: Of the features by name.
    """
    return [
        {
            name: from_tensor(types[name], values[number])
            if types[name] in SCALARS
            else values[number].tolist()
            for name, values in split.features.items()
        }
        for number in range(len(split.rows))[chosen]
    ]


def _golden(
    model: Path, golden: SplitColumns, types: dict[str, str], output: str
) -> list[dict[str, Any]]:
    """Requests of one row each, with the shipped file's answers."""
    requests = []
    for number in range(len(golden.rows)):
        one = slice(number, number + 1)
        feed = {name: values[one] for name, values in golden.features.items()}
        answers = onnx_file.answer(model, feed).astype(np.float64)
        if output == "probabilities":
            answers = answers.round(DIGITS)
        requests.append({"rows": json_rows(golden, one, types), output: answers.tolist()})
    return requests


def _schema(dataset: Dataset, target: str | list[str]) -> dict[str, Any]:
    outputs = {
        "name": ANSWERS[dataset.task],
        "dtype": "float32",
        "shape": [-1, dataset.num_outputs],
    }
    inputs = [_input(feature) for feature in dataset.features]
    return {"task": dataset.task, "inputs": inputs, "outputs": [outputs], "target": target}


def _input(feature: dict[str, Any]) -> dict[str, Any]:
    kind = feature["type"]
    if kind == "image":
        # A grey image has no channel axis.
        colour = [] if feature["channels"] == 1 else [feature["channels"]]
        shape = [feature["height"], feature["width"], *colour]
    else:
        shape = [feature["samples"]] if kind == "audio" else []
    hints = {name: feature[name] for name in HINTS if feature.get(name) is not None}
    dtype = DTYPES.get(kind, "float64")
    return {"name": feature["name"], "dtype": dtype, "shape": [-1, *shape], "type": kind, **hints}


def _listed(target: str | list[str]) -> list[str]:
    return [target] if isinstance(target, str) else target
