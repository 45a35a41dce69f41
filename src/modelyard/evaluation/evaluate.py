"""The stage evaluate: the trained network on the test split, which nothing before has seen."""

import logging
from pathlib import Path

import numpy as np

from modelyard.artifacts import Dataset, Evaluation, Layout, TrainedModel, read_json, write_json
from modelyard.data.columns import SplitColumns, read_split
from modelyard.data.outputs import disk_errors, replaced_folder
from modelyard.data.preprocessing import Preprocessing
from modelyard.evaluation import metrics, pictures
from modelyard.evaluation.predict import predict
from modelyard.models import trained as trained_folder
from modelyard.params import EvaluateParams
from modelyard.templates import render

_log = logging.getLogger(__name__)


def evaluate(layout: Layout, params: EvaluateParams) -> Evaluation:
    """Measure the trained network on the test split and write the report.

    Reads the dataset and the trained folder. Writes ``layout.evaluation`` (report.html, the
    pictures, predictions.parquet with columns row, target, probabilities) and
    ``metrics/evaluate.json``.

    Args:
        layout: The project's folders.
        params: The section ``evaluate``.

    Returns:
        The report's folder and the metrics.

    Raises:
        WorkspaceError: there is no trained model, or no space to write.
    """
    dataset, trained = Dataset.read(layout.dataset), TrainedModel(layout.trained)
    split = read_split(dataset, "test")
    preprocessing = Preprocessing.read(layout.dataset / "preprocessing.json")
    module = trained_folder.load(trained, layout.root)
    probabilities = predict(module, preprocessing.transform(split.features))
    report = metrics.measure(
        probabilities,
        split.targets,
        dataset.labels,
        bootstrap=params.bootstrap,
        confidence=params.confidence,
        seed=params.seed,
    )
    _log.info("test accuracy %.4f on %d rows", report.metrics["accuracy"].value, report.rows)
    with replaced_folder(layout.evaluation) as folder:
        _write_predictions(folder / "predictions.parquet", split, probabilities)
        _write_report(folder, report, dataset, trained)
    with disk_errors(layout.metrics("evaluate")):
        write_json(layout.metrics("evaluate"), report.to_json())
    return Evaluation(layout.evaluation, report.to_json())


def _write_predictions(path: Path, split: SplitColumns, probabilities: np.ndarray) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    flat = pa.array(probabilities.ravel(), pa.float32())
    table = pa.table(
        {
            "row": pa.array(split.rows, pa.int64()),
            "target": pa.array(split.targets, pa.int64()),
            "probabilities": pa.FixedSizeListArray.from_arrays(flat, probabilities.shape[1]),
        }
    )
    pq.write_table(table, path)


def _write_report(
    folder: Path, report: metrics.Report, dataset: Dataset, trained: TrainedModel
) -> None:
    description = trained_folder.describe(trained)
    images = {
        "confusion_matrix": pictures.confusion_matrix(report),
        "reliability": pictures.reliability(report),
        "history": pictures.history(
            read_json(trained.path / trained_folder.HISTORY), description.best_epoch
        ),
    }
    for name, image in images.items():
        (folder / f"{name}.png").write_bytes(image)
    page = render(
        "evaluation.html.j2",
        report=report,
        dataset=dataset,
        model=description,
        images=images,
        names=metrics.TITLES,
    )
    (folder / "report.html").write_text(page, encoding="utf-8")
