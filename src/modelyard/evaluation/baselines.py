"""The stage ``baselines``: what scikit-learn's models reach on the same split."""

import base64
import logging
from dataclasses import dataclass
from typing import Any

import numpy as np

from modelyard.artifacts import Dataset, Layout, write_json
from modelyard.data.columns import SplitColumns, read_split
from modelyard.data.outputs import disk_errors
from modelyard.data.preprocessing import Preprocessing
from modelyard.evaluation import estimators
from modelyard.evaluation.metrics import measure
from modelyard.evaluation.report import rounded
from modelyard.evaluation.tasks import Scoring
from modelyard.params import EvaluateParams

MAX_FIT_ROWS = 50_000
"""Train rows that a baseline is fitted on; of more, as many at even distances."""
MAX_PAIRED_ROWS = 10_000
"""Test rows whose scores are kept for the paired comparison, at even distances."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Baseline:
    """A baseline on the test rows.

    ``metrics`` by name, each with ``value``, ``low`` and ``high``; ``scores`` float64 [R], the
    score of each of ``paired_rows``; ``rows`` and ``columns`` are what it was fitted on.
    """

    name: str
    title: str
    rows: int
    columns: int
    metrics: dict[str, dict[str, float | None]]
    scores: np.ndarray

    def to_json(self) -> dict[str, Any]:
        """As JSON, scores as text."""
        return {**vars(self), "scores": _encode(self.scores)}

    @classmethod
    def from_json(cls, tree: dict[str, Any]) -> "Baseline":
        """Read ``to_json``'s tree."""
        return cls(**{**tree, "scores": _decode(tree["scores"])})


def baselines(layout: Layout, params: EvaluateParams) -> None:
    """Fit the baselines on train and measure them on test.

    Writes ``metrics/baselines.json``; without ``evaluate.baselines`` it says so.

    Args:
        layout: The project's folders.
        params: The section ``evaluate``.

    Raises:
        WorkspaceError: there is no dataset, or no space to write.
    """
    found = _fit_all(layout, params) if params.baselines else []
    with disk_errors(layout.metrics("baselines")):
        write_json(layout.metrics("baselines"), {"baselines": [item.to_json() for item in found]})


def paired_rows(num_rows: int) -> np.ndarray:
    """Positions of the test rows whose scores are kept."""
    return _evenly(num_rows, MAX_PAIRED_ROWS)


def _fit_all(layout: Layout, params: EvaluateParams) -> list[Baseline]:
    dataset = Dataset.read(layout.dataset)
    preprocessing = Preprocessing.read(layout.dataset / "preprocessing.json")
    scoring = Scoring.read(dataset)
    train = _some(read_split(dataset, "train"), MAX_FIT_ROWS)
    validation = _some(read_split(dataset, "validation"), MAX_FIT_ROWS)
    test = read_split(dataset, "test")
    train_rows = estimators.prepare(preprocessing, train.features)
    test_rows = estimators.prepare(preprocessing, test.features)
    found = []
    for name in dict.fromkeys(params.baselines):
        if name == "linear":
            fitted = estimators.fit_linear(
                train_rows, train.targets, dataset.task, dataset.num_outputs
            )
        else:
            fitted = estimators.fit_boosting(
                train_rows,
                train.targets,
                estimators.prepare(preprocessing, validation.features),
                validation.targets,
                dataset.task,
                dataset.num_outputs,
            )
        answers = fitted.answer(test_rows)
        report = measure(answers, test.targets, dataset.labels, scoring, params)
        found.append(
            Baseline(
                name=name,
                title=_title(name, dataset.task),
                rows=len(train.rows),
                columns=fitted.num_columns,
                metrics=rounded({key: vars(item) for key, item in report.metrics.items()}),
                scores=scoring.scores(answers, test.targets)[paired_rows(len(test.rows))],
            )
        )
        _log.info("%s: test %s %.4f", name, scoring.metric, report.metrics[scoring.metric].value)
    return found


def _title(name: str, task: str) -> str:
    if name == "boosting":
        return "gradient boosting"
    return "ridge regression" if task == "regression" else "logistic regression"


def _some(split: SplitColumns, most: int) -> SplitColumns:
    chosen = _evenly(len(split.rows), most)
    if chosen.size == len(split.rows):
        return split
    return SplitColumns(
        rows=split.rows[chosen],
        features={name: values[chosen] for name, values in split.features.items()},
        targets=split.targets[chosen],
    )


def _evenly(num_rows: int, most: int) -> np.ndarray:
    return np.unique(np.linspace(0, num_rows - 1, min(num_rows, most)).astype(np.int64))


def _encode(scores: np.ndarray) -> dict[str, Any]:
    """Scores as text: a bit a row where all are 0 or 1, else little-endian float32, in base64."""
    bits = ((scores == 0) | (scores == 1)).all()
    content = np.packbits(scores > 0).tobytes() if bits else scores.astype("<f4").tobytes()
    text = base64.b64encode(content).decode("ascii")
    return {"rows": len(scores), "encoding": "bits" if bits else "float32", "base64": text}


def _decode(tree: dict[str, Any]) -> np.ndarray:
    content = base64.b64decode(tree["base64"])
    if tree["encoding"] == "bits":
        bits = np.unpackbits(np.frombuffer(content, np.uint8), count=tree["rows"])
        return bits.astype(np.float64)
    return np.frombuffer(content, "<f4").astype(np.float64)
