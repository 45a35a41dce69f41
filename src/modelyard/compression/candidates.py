"""What could be shipped in place of the trained network, and how each is judged.

A candidate is a name and a way to build an ONNX graph from ``Ingredients``. Precision is one axis;
pruned, distilled or searched structures become candidates by a build function of their own, and are
judged by the same ``judge``.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from modelyard.artifacts import sha256_file
from modelyard.compression import blockwise, quantize
from modelyard.compression.onnx_file import answer
from modelyard.data.columns import SplitColumns
from modelyard.evaluation.comparison import PairedComparison, compare_paired
from modelyard.evaluation.tasks import Scoring

if TYPE_CHECKING:
    from onnx import ModelProto

REFERENCE = "fp32"
"""The candidate of full precision: ships when no other is within ``max_drop``."""


@dataclass(frozen=True)
class Ingredients:
    """What candidates are built from.

    ``network`` maps ``features`` to ``network_outputs`` in fp32; ``calibration`` gives float32 [R,
    *input_shape], preprocessed rows of the train split, for which few candidates ask.
    """

    network: "ModelProto"
    calibration: Callable[[], np.ndarray]


@dataclass(frozen=True)
class Candidate:
    """A name and how to build its features-to-outputs graph."""

    name: str
    build: Callable[[Ingredients], "ModelProto"]


@dataclass(frozen=True)
class Judged:
    """A candidate's file, measured on validation rows against the trained network on the same rows.

    ``score`` is the task's main metric; ``comparison`` is the candidate's minus the trained
    network's, paired (see ``compare_paired``).
    """

    name: str
    sha256: str
    size_bytes: int
    score: float
    comparison: PairedComparison
    within_budget: bool


def candidates(names: tuple[str, ...], network: "ModelProto") -> tuple[Candidate, ...]:
    """The candidates that ``compress.candidates`` asks for, suited to the network.

    ``int8`` is static for a network with convolutions and dynamic for any other. Where convolutions
    and dense layers meet, ``int8-dense`` is a second form of it that leaves the convolutions in
    float32: in a small network the dense layers are most of the file, and convolutions of few
    channels run faster in ONNX Runtime's blocked float32 kernels than in its int8 ones.
    """
    convolutions = quantize.has_convolutions(network)
    known = [Candidate(REFERENCE, _fp32), Candidate("fp16", _fp16)]
    known.append(Candidate("int8", _int8_static if convolutions else _int8_dynamic))
    if convolutions and blockwise.has_dense_layers(network):
        known.append(Candidate("int8-dense", _int8_dense))
    return tuple(candidate for candidate in known if candidate.name.partition("-")[0] in names)


def judge(
    name: str,
    file: Path,
    rows: SplitColumns,
    trained_scores: np.ndarray,
    scoring: Scoring,
    max_drop: float,
    confidence: float,
) -> Judged:
    """Measure a candidate's file on the validation rows.

    It is within budget when its point estimate of the score's change is at least ``-max_drop``.
    The estimate, not the interval's lower end: a few hundred rows cannot show that a loss is below
    one point even where there is none, so a bound on the end would ship fp32 whatever the
    candidates are worth. The interval stands in the report, and the gate, on rows that no choice
    was made on, asks for the end.

    Args:
        name: The candidate's.
        file: Its ONNX file, from raw rows to answers.
        rows: The validation split.
        trained_scores: float64 [N], the trained network's score of each row.
        scoring: Of the dataset.
        max_drop: Score that may be lost.
        confidence: Of the reported interval.
    """
    scores = scoring.scores(answer(file, rows.features), rows.targets)
    comparison = compare_paired(scores, trained_scores, max_drop, confidence)
    return Judged(
        name=name,
        sha256=sha256_file(file),
        size_bytes=file.stat().st_size,
        score=float(scores.mean()),
        comparison=comparison,
        within_budget=comparison.difference >= -max_drop,
    )


def _fp32(ingredients: Ingredients) -> "ModelProto":
    return ingredients.network


def _fp16(ingredients: Ingredients) -> "ModelProto":
    return quantize.to_fp16(ingredients.network)


def _int8_static(ingredients: Ingredients) -> "ModelProto":
    return quantize.to_int8_static(ingredients.network, ingredients.calibration())


def _int8_dense(ingredients: Ingredients) -> "ModelProto":
    return blockwise.to_int8_blockwise(ingredients.network)


def _int8_dynamic(ingredients: Ingredients) -> "ModelProto":
    return quantize.to_int8_dynamic(ingredients.network)
