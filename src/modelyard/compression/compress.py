"""The stage compress: from the trained network to the package that is registered and served."""

import logging
import shutil
import tempfile
from dataclasses import dataclass
from functools import partial
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
from modelyard.compression.candidates import REFERENCE, Ingredients, Judged, candidates, judge
from modelyard.compression.export import INPUT, OUTPUT, export_program, to_onnx
from modelyard.compression.head import head_model
from modelyard.compression.select import select
from modelyard.data.columns import SplitColumns, read_split
from modelyard.data.outputs import disk_errors, replaced_folder
from modelyard.data.prepare_image import Image
from modelyard.data.prepare_table import Category, Number
from modelyard.data.preprocessing import Preprocessing
from modelyard.errors import ModelyardError, PackageError, WorkspaceError
from modelyard.evaluation.latency import measure_latency
from modelyard.evaluation.metrics import measure
from modelyard.evaluation.predict import predict
from modelyard.evaluation.tasks import Scoring
from modelyard.models import archive
from modelyard.models import trained as trained_folder
from modelyard.package.manifest import write_manifest
from modelyard.params import CompressParams, EvaluateParams

if TYPE_CHECKING:
    from onnx import ModelProto
    from torch import nn
    from torch.export import ExportedProgram

EXPORT_ATOL = 1e-3
"""How far an answer of the exported fp32 file may lie from the network's; usual is 1e-6.

Of a probability, or of a prediction in standard deviations of the target.
"""

_EXPLAINED = (Image, Number, Category)
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class _Network:
    """The trained network with what stands before and behind it."""

    module: "nn.Module"
    preprocessing: Preprocessing
    dataset: Dataset

    @classmethod
    def read(cls, layout: Layout, dataset: Dataset) -> "_Network":
        preprocessing = Preprocessing.read(layout.dataset / "preprocessing.json")
        module = trained_folder.load(TrainedModel(layout.trained), layout.root)
        return cls(module, preprocessing, dataset)

    @property
    def unit(self) -> float:
        """What a difference between answers is measured in."""
        target = self.preprocessing.target
        return 1.0 if target is None else target.std

    def answer(self, rows: SplitColumns) -> np.ndarray:
        return predict(self.module, self.preprocessing, rows.features, self.dataset.task)

    def calibration(self, rows: int) -> np.ndarray:
        """Prepared rows of the train split, at even distances."""
        train = package_files.evenly(read_split(self.dataset, "train"), rows)
        return self.preprocessing.transform(train.features)

    def whole(self, graph: "ModelProto") -> "ModelProto":
        """The graph with preprocessing before and the task's head behind: raw rows to answers."""
        opset = next(item.version for item in graph.opset_import if item.domain in ("", "ai.onnx"))
        front = self.preprocessing.onnx_model(opset, graph.ir_version)
        head = head_model(
            self.dataset.task,
            self.preprocessing.target,
            self.dataset.num_outputs,
            opset,
            graph.ir_version,
        )
        return onnx_file.joined(onnx_file.joined(front, graph, INPUT), head, OUTPUT)

    def check_export(self, file: Path, rows: SplitColumns, answers: np.ndarray) -> None:
        """Refuse an export that answers otherwise than the network: all else is measured from it.

        Raises:
            ModelyardError: it does.
        """
        self._check_gap(onnx_file.answer(file, rows.features), answers)

    def archive(self, program: "ExportedProgram", folder: Path, rows: SplitColumns) -> None:
        """Add the network itself to a package of a table or images, for explanations.

        A network that no archive can hold is left out.

        Raises:
            ModelyardError: what was written answers otherwise than the network.
        """
        if not any(isinstance(part, _EXPLAINED) for part in self.preprocessing.parts):
            return
        file = folder / archive.ARCHIVE
        try:
            archive.write(program, file)
        except PackageError as error:
            _log.warning("answers cannot be explained: %s", error.message)
            return
        task = self.dataset.task
        found = predict(archive.read(file), self.preprocessing, rows.features, task)
        self._check_gap(found, self.answer(rows))

    def _check_gap(self, found: np.ndarray, answers: np.ndarray) -> None:
        gap = np.abs(found - answers).max() / self.unit
        if not gap <= EXPORT_ATOL:
            raise ModelyardError(
                f"the exported network's answers differ from the trained one's by {gap:.2g}"
                + (" standard deviations of the target" if self.preprocessing.target else ""),
                "It may branch on values or keep state, which an export freezes;"
                " change its factory.",
            )


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
    trained_metrics, scoring = _trained_metrics(layout), Scoring.read(dataset)
    validation, test = read_split(dataset, "validation"), read_split(dataset, "test")
    network = _Network.read(layout, dataset)
    golden = package_files.evenly(validation, params.golden_rows)
    with (
        replaced_folder(layout.package) as folder,
        tempfile.TemporaryDirectory(prefix="modelyard-") as work,
    ):
        program = export_program(network.module, network.preprocessing.input_shape)
        network.archive(program, folder, golden)
        graph = to_onnx(program, type(network.module).__name__)
        files, judged = _candidates(
            network, graph, scoring, validation, params, evaluate.confidence, Path(work)
        )
        latency = measure_latency(files, measurements, validation.features)
        medians = {name: measurement.p50_ms for name, measurement in latency.items()}
        chosen = select(judged, medians, params.objective)
        _log.info("of %s, %s ships", ", ".join(files), chosen)
        shutil.copyfile(files[chosen], folder / package_files.MODEL)
        shutil.copyfile(files[REFERENCE], folder / package_files.REFERENCE)
        answers = onnx_file.answer(folder / package_files.MODEL, test.features)
        shipped = measure(answers, test.targets, dataset.labels, scoring, evaluate).to_json()
        result = {
            "chosen": chosen,
            "candidates": [package_files.candidate_json(candidate) for candidate in judged],
            "test": shipped,
        }
        facts = package_files.Facts(
            dataset=dataset,
            model=trained_folder.describe(trained),
            trained=trained_metrics,
            shipped=shipped,
            judged=tuple(judged),
            chosen=chosen,
            max_drop=params.max_drop,
            unit=network.unit,
        )
        package_files.write(folder, facts, golden)
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
    network: _Network,
    graph: "ModelProto",
    scoring: Scoring,
    validation: SplitColumns,
    params: CompressParams,
    confidence: float,
    work: Path,
) -> tuple[dict[str, Path], list[Judged]]:
    """Build every candidate's file in ``work`` and judge it."""
    answers = network.answer(validation)
    ingredients = Ingredients(graph, partial(network.calibration, params.calibration_rows))
    files, judged = {}, []
    trained_scores = scoring.scores(answers, validation.targets)
    for candidate in candidates(params.candidates, graph):
        file = work / f"{candidate.name}.onnx"
        onnx_file.save(network.whole(candidate.build(ingredients)), file)
        if candidate.name == REFERENCE:
            network.check_export(file, validation, answers)
        files[candidate.name] = file
        judged.append(
            judge(
                candidate.name,
                file,
                validation,
                trained_scores,
                scoring,
                params.max_drop,
                confidence,
            )
        )
    return files, judged
