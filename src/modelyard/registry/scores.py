"""What packages answer to the same rows, scored alike whatever the order of their labels."""

from typing import TYPE_CHECKING

import numpy as np

from modelyard.artifacts import Dataset
from modelyard.errors import PackageError
from modelyard.package import PackageReader
from modelyard.package.reader import Schema, TensorSpec

if TYPE_CHECKING:
    from modelyard.data.columns import SplitColumns
    from modelyard.evaluation.tasks import Scoring

_BATCH = 256


def check_fits(reader: PackageReader, dataset: Dataset, version: int) -> None:
    """Refuse a package that cannot answer the dataset's rows.

    Raises:
        PackageError: it is for another task, or takes a column that the dataset does not have.
    """
    known = {feature["name"]: feature["type"] for feature in dataset.features}
    other = [
        spec
        for spec in reader.schema.inputs
        if spec.name not in known or spec.type not in ("", known[spec.name])
    ]
    if reader.schema.task != dataset.task:
        problem = f"is for task {reader.schema.task}, the dataset here for {dataset.task}"
    elif other:
        kind = f" of type {other[0].type}" if other[0].type else ""
        problem = f"takes {other[0].name!r}{kind}, which the dataset here does not have"
    else:
        return
    raise PackageError(
        f"version {version} {problem}",
        "Judge it in the project that made it, or check out the dataset that it was made of.",
    )


def same_interface(first: Schema, second: Schema) -> bool:
    """Whether one can take the other's place: what they say of values, as a range, may differ."""
    pairs = zip((*first.inputs, *first.outputs), (*second.inputs, *second.outputs), strict=False)
    return (
        first.task == second.task
        and (len(first.inputs), len(first.outputs)) == (len(second.inputs), len(second.outputs))
        and all(_are_alike(one, other) for one, other in pairs)
    )


def _are_alike(first: TensorSpec, second: TensorSpec) -> bool:
    if (first.name, first.dtype, first.shape) != (second.name, second.dtype, second.shape):
        return False
    # Packages of earlier versions do not say of what type a feature was.
    return first.type == second.type or not (first.type and second.type)


def score_package(
    reader: PackageReader, rows: "SplitColumns", labels: tuple[str, ...], scoring: "Scoring"
) -> np.ndarray:
    """The shipped file's score of each row, float64 [N].

    Args:
        reader: The package.
        rows: The test split.
        labels: The dataset's, in its order.
        scoring: Of the dataset.
    """
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(
        str(reader.model), options, providers=["CPUExecutionProvider"]
    )
    inputs = {spec.name: rows.features[spec.name] for spec in reader.schema.inputs}
    output = reader.schema.outputs[0].name
    parts = []
    for start in range(0, len(rows.rows), _BATCH):
        feed = {key: column[start : start + _BATCH] for key, column in inputs.items()}
        parts.append(np.asarray(session.run([output], feed)[0]))
    answers, targets = _aligned(np.concatenate(parts), reader.labels, rows.targets, labels)
    return scoring.scores(answers, targets)


def _aligned(
    answers: np.ndarray, given: tuple[str, ...], targets: np.ndarray, labels: tuple[str, ...]
) -> tuple[np.ndarray, np.ndarray]:
    """Answers and targets over the same labels: the dataset's, then those that it does not know."""
    if given == labels:
        return answers, targets
    every = (*labels, *(label for label in given if label not in labels))
    spread = np.full((len(answers), len(every)), -1.0)
    spread[:, [every.index(label) for label in given]] = answers
    if targets.ndim == 2:
        unknown = np.zeros((len(targets), len(every) - len(labels)), targets.dtype)
        targets = np.concatenate([targets, unknown], axis=1)
    return spread, targets
