"""The stage compress: from the trained network to the package that is registered and served."""

import logging
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from modelyard.artifacts import (
    Dataset,
    Layout,
    ModelPackage,
    TrainedModel,
    read_json,
    write_json,
)
from modelyard.compression import onnx_file, package_files
from modelyard.compression.candidates import (
    REFERENCE,
    Candidate,
    Ingredients,
    Judged,
    candidates,
    judge,
)
from modelyard.compression.export import INPUT, export
from modelyard.compression.select import select
from modelyard.data.columns import SplitColumns, read_split
from modelyard.data.outputs import disk_errors, replaced_folder
from modelyard.data.preprocessing import Preprocessing
from modelyard.errors import ModelyardError, WorkspaceError
from modelyard.evaluation import metrics
from modelyard.evaluation.latency import measure_latency
from modelyard.evaluation.predict import predict
from modelyard.models import trained as trained_folder
from modelyard.package.manifest import write_manifest
from modelyard.params import CompressParams, EvaluateParams

if TYPE_CHECKING:
    from onnx import ModelProto

EXPORT_ATOL = 1e-3
"""How far a probability of the exported fp32 file may lie from the network's; usual is 1e-6."""

_log = logging.getLogger(__name__)


def compress(
    layout: Layout, params: CompressParams, evaluate: EvaluateParams, measurements: Path
) -> ModelPackage:
    """Export the trained network, judge the candidates on validation rows, and package the best.

    The chosen file alone is then measured on the test split: no choice is made there. Writes
    ``layout.package`` and ``metrics/compress.json``; latencies go to ``measurements`` only, for
    they differ from run to run.

    Args:
        layout: The project's folders.
        params: The section ``compress``.
        evaluate: The section ``evaluate``, for the intervals.
        measurements: Folder of latencies by file and machine.

    Returns:
        The package and its digest.

    Raises:
        WorkspaceError: an earlier stage's result is missing, or there is no space to write.
        ModelyardError: the network cannot be exported, or the exported one answers otherwise.
    """
    dataset, trained = Dataset.read(layout.dataset), TrainedModel(layout.trained)
    trained_metrics = _trained_metrics(layout)
    validation, test = read_split(dataset, "validation"), read_split(dataset, "test")
    with (
        replaced_folder(layout.package) as folder,
        tempfile.TemporaryDirectory(prefix="modelyard-") as work,
    ):
        files, judged = _candidates(
            layout, dataset, trained, validation, params, evaluate.confidence, Path(work)
        )
        latency = measure_latency(files, measurements)
        medians = {name: measurement.p50_ms for name, measurement in latency.items()}
        chosen = select(judged, medians, params.objective)
        _log.info("of %s, %s ships", ", ".join(files), chosen)
        shutil.copyfile(files[chosen], folder / package_files.MODEL)
        shutil.copyfile(files[REFERENCE], folder / package_files.REFERENCE)
        shipped = _measure(folder / package_files.MODEL, test, dataset, evaluate)
        result = {
            "chosen": chosen,
            "candidates": [package_files.candidate_json(candidate) for candidate in judged],
            "test": shipped,
        }
        package_files.write(
            folder,
            package_files.Facts(
                dataset=dataset,
                model=trained_folder.describe(trained),
                trained=trained_metrics,
                shipped=shipped,
                judged=tuple(judged),
                chosen=chosen,
                max_drop=params.max_drop,
            ),
            package_files.evenly(validation, params.golden_rows),
        )
        digest = write_manifest(folder)
    with disk_errors(layout.metrics("compress")):
        write_json(layout.metrics("compress"), result)
    return ModelPackage(layout.package, digest)


def _trained_metrics(layout: Layout) -> dict[str, object]:
    try:
        return read_json(layout.metrics("evaluate"))
    except FileNotFoundError:
        raise WorkspaceError(
            f"there is no {layout.metrics('evaluate')}", "Run the stage evaluate first."
        ) from None


def _candidates(
    layout: Layout,
    dataset: Dataset,
    trained: TrainedModel,
    validation: SplitColumns,
    params: CompressParams,
    confidence: float,
    work: Path,
) -> tuple[dict[str, Path], list[Judged]]:
    """Build every candidate's file in ``work`` and judge it."""
    preprocessing = Preprocessing.read(layout.dataset / "preprocessing.json")
    module = trained_folder.load(trained, layout.root)
    probabilities = predict(module, preprocessing.transform(validation.features))
    network = export(module, preprocessing.input_shape)
    calibration = package_files.evenly(read_split(dataset, "train"), params.calibration_rows)
    ingredients = Ingredients(network, preprocessing.transform(calibration.features))
    files, judged = {}, []
    trained_correct = probabilities.argmax(axis=1) == validation.targets
    for candidate in candidates(params.candidates, network):
        file = work / f"{candidate.name}.onnx"
        _build(candidate, ingredients, preprocessing, file)
        if candidate.name == REFERENCE:
            _check_export(file, validation, probabilities)
        files[candidate.name] = file
        judged.append(
            judge(
                candidate.name,
                file,
                validation.features,
                validation.targets,
                trained_correct,
                params.max_drop,
                confidence,
            )
        )
    return files, judged


def _build(
    candidate: Candidate, ingredients: Ingredients, preprocessing: Preprocessing, file: Path
) -> None:
    """Write the candidate with preprocessing in front: raw rows in, probabilities out."""
    graph = candidate.build(ingredients)
    front = preprocessing.onnx_model(_opset(graph), graph.ir_version)
    onnx_file.save(onnx_file.joined(front, graph, INPUT), file)


def _opset(model: "ModelProto") -> int:
    return next(entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx"))


def _check_export(file: Path, validation: SplitColumns, probabilities: np.ndarray) -> None:
    """Refuse an export that answers otherwise than the network: all else is measured from it."""
    gap = np.abs(onnx_file.answer(file, validation.features) - probabilities).max()
    if not gap <= EXPORT_ATOL:
        raise ModelyardError(
            f"the exported network's probabilities differ from the trained one's by {gap:.2g}",
            "It may branch on values or keep state, which an export freezes; change its factory.",
        )


def _measure(
    file: Path, test: SplitColumns, dataset: Dataset, evaluate: EvaluateParams
) -> dict[str, object]:
    return metrics.measure(
        onnx_file.answer(file, test.features),
        test.targets,
        dataset.labels,
        bootstrap=evaluate.bootstrap,
        confidence=evaluate.confidence,
        seed=evaluate.seed,
    ).to_json()
