"""The stage evaluate: the trained network on the test split, which nothing before has seen."""

import logging
from pathlib import Path
from typing import Any

import numpy as np

from modelyard.artifacts import Dataset, Evaluation, Layout, TrainedModel, write_json
from modelyard.data.columns import SplitColumns, read_split
from modelyard.data.outputs import disk_errors, replaced_folder
from modelyard.data.preprocessing import Preprocessing
from modelyard.evaluation import page
from modelyard.evaluation.findings import Findings
from modelyard.evaluation.groups import measure_groups
from modelyard.evaluation.metrics import measure
from modelyard.evaluation.predict import predict
from modelyard.evaluation.rivals import read_folds, read_rivals
from modelyard.evaluation.tasks import Scoring
from modelyard.models import trained as trained_folder
from modelyard.params import EvaluateParams

_log = logging.getLogger(__name__)


def evaluate(layout: Layout, params: EvaluateParams) -> Evaluation:
    """Measure the trained network on the test split and write the report.

    Reads the dataset, the trained folder, and the metrics of baselines and cross_validate. Writes
    ``layout.evaluation`` (report.html, the pictures, predictions.parquet with columns row, target,
    and probabilities or prediction) and ``metrics/evaluate.json``.

    Args:
        layout: The project's folders.
        params: The section ``evaluate``.

    Returns:
        The report's folder and the metrics.

    Raises:
        WorkspaceError: an earlier stage's result is missing, or there is no space to write.
    """
    dataset, trained = Dataset.read(layout.dataset), TrainedModel(layout.trained)
    split, scoring = read_split(dataset, "test"), Scoring.read(dataset)
    preprocessing = Preprocessing.read(layout.dataset / "preprocessing.json")
    module = trained_folder.load(trained, layout.root)
    answers = predict(module, preprocessing, split.features, dataset.task)
    scores = scoring.scores(answers, split.targets)
    findings = Findings(
        scoring=scoring,
        report=measure(answers, split.targets, dataset.labels, scoring, params),
        groups=measure_groups(
            split.sensitive, answers, split.targets, dataset.labels, scoring, params
        ),
        rivals=read_rivals(layout, scores, scoring, params.confidence),
        folds=read_folds(layout),
    )
    _log.info("test %s %.4f on %d rows", scoring.metric, scores.mean(), len(scores))
    with replaced_folder(layout.evaluation) as folder:
        _write_predictions(folder / "predictions.parquet", split, answers)
        page.write(folder, findings, dataset, trained, answers, split.targets)
    with disk_errors(layout.metrics("evaluate")):
        write_json(layout.metrics("evaluate"), findings.to_json())
    return Evaluation(layout.evaluation, findings.to_json())


def _write_predictions(path: Path, split: SplitColumns, answers: np.ndarray) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    columns = {"row": pa.array(split.rows, pa.int64()), "target": _column(split.targets)}
    if split.targets.dtype.kind == "f":
        columns["prediction"] = pa.array(answers[:, 0], pa.float32())
    else:
        columns["probabilities"] = _column(answers.astype(np.float32))
    pq.write_table(pa.table(columns), path)


def _column(values: np.ndarray) -> Any:
    """A column of numbers, or of lists of one length for [N, K]."""
    import pyarrow as pa

    if values.ndim == 1:
        return pa.array(values)
    return pa.FixedSizeListArray.from_arrays(pa.array(values.ravel()), values.shape[1])
