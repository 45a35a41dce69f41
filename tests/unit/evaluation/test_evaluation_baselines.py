"""scikit-learn's models: forms of answers, wide and sparse rows, and how they are reported."""

import json
from typing import Any, cast

import numpy as np
import pytest
from scipy import sparse
from threadpoolctl import threadpool_limits

from modelyard.artifacts import Layout, read_json, write_json
from modelyard.data import preprocessing as preprocessing_module
from modelyard.data.prepare_table import Category, Number
from modelyard.data.preprocessing import Preprocessing
from modelyard.errors import WorkspaceError
from modelyard.evaluation import baselines as stage
from modelyard.evaluation import estimators
from modelyard.evaluation.baselines import Baseline, baselines, paired_rows
from modelyard.evaluation.comparison import PairedComparison
from modelyard.evaluation.estimators import Fitted, Matrix, fit_boosting, fit_linear, prepare
from modelyard.evaluation.page import standing
from modelyard.evaluation.rivals import Rival, read_rivals
from modelyard.evaluation.tasks import Scoring
from modelyard.params import EvaluateParams

CLASSES = Scoring("classification", "accuracy")
KNOWN: dict[str, dict[str, float | None]] = {"accuracy": {"value": 0.5, "low": 0.4, "high": 0.6}}


def _rows(seed: int, rows: int = 200, columns: int = 6) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(rows, columns)).astype(np.float32)


def _targets(task: str, values: np.ndarray) -> np.ndarray:
    """What the first columns say: a number, one of three classes, any of two labels."""
    if task == "regression":
        return 100 + 20 * values[:, 0].astype(np.float64)
    if task == "multi-label":
        return (values[:, :2] > 0).astype(np.uint8)
    return values[:, :3].argmax(axis=1).astype(np.int64)


def _fit(name: str, task: str, values: np.ndarray, targets: np.ndarray) -> Fitted:
    matrix, width = Matrix(values, ()), {"classification": 3, "multi-label": 2}.get(task, 1)
    if name == "linear":
        return fit_linear(matrix, targets, task, width)
    return fit_boosting(matrix, targets, matrix, targets, task, width)


@pytest.mark.parametrize("name", ["linear", "boosting"])
@pytest.mark.parametrize("task", ["classification", "multi-label", "regression"])
def test_answers_have_the_form_of_the_task(name: str, task: str) -> None:
    values, fresh = _rows(0), _rows(1)
    fitted = _fit(name, task, values, _targets(task, values))
    answers = fitted.answer(Matrix(fresh, ()))
    metric = {"classification": "accuracy", "multi-label": "jaccard", "regression": "skill"}[task]
    scores = Scoring(task, metric, 16.0).scores(answers, _targets(task, fresh))
    assert answers.dtype == np.float64
    assert scores.mean() > 0.75
    assert fitted.num_columns == 6
    if task == "classification":
        assert np.allclose(answers.sum(axis=1), 1)


@pytest.mark.parametrize("name", ["linear", "boosting"])
def test_threads_do_not_change_a_bit(name: str) -> None:
    values = _rows(2, columns=40)
    targets = _targets("classification", values)
    with threadpool_limits(2):
        two = _fit(name, "classification", values, targets).answer(Matrix(values, ()))
    with threadpool_limits(1):
        one = _fit(name, "classification", values, targets).answer(Matrix(values, ()))
    assert one.tobytes() == two.tobytes()


@pytest.mark.parametrize("name", ["linear", "boosting"])
def test_sparse_rows_are_answered_as_dense_ones(name: str) -> None:
    values = _rows(3, columns=30) * (np.random.default_rng(0).random((200, 30)) < 0.2)
    targets = _targets("regression", values)
    dense = _fit(name, "regression", values, targets).answer(Matrix(values, ()))
    thin = sparse.csr_matrix(values)
    found = _fit(name, "regression", cast("Any", thin), targets).answer(Matrix(thin, ()))
    assert np.allclose(dense, found, atol=0.05)


def test_wide_rows_keep_the_columns_that_tell_most(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(estimators, "MAX_BOOSTING_COLUMNS", 20)
    monkeypatch.setattr(estimators, "LINEAR_WORK", 1)
    values = _rows(4, columns=60)
    values[:, 7] = 0
    order = np.random.default_rng(1).permutation(60)
    targets = _targets("classification", values)
    for name, columns in (("linear", 16), ("boosting", 20)):
        fitted = _fit(name, "classification", values[:, order], targets)
        assert fitted.num_columns == columns
        answers = fitted.answer(Matrix(values[:, order], ()))
        assert CLASSES.scores(answers, targets).mean() > 0.9


def test_classes_that_train_or_validation_lack() -> None:
    values = _rows(5)
    targets = np.where(values[:, 0] > 0, 2, 0).astype(np.int64)
    every, width = Matrix(values, ()), 3
    for fitted in (
        fit_linear(every, targets, "classification", width),
        fit_boosting(every, targets, every, np.full(200, 1), "classification", width),
        fit_boosting(every, targets, every, targets, "classification", width),
    ):
        answers = fitted.answer(every)
        assert (answers[:, 1] == 0).all()
        assert (answers.argmax(axis=1) == targets).mean() > 0.9
    labels = np.stack([targets > 0, np.ones(200)], axis=1).astype(np.uint8)
    answers = fit_linear(every, labels, "multi-label", 2).answer(every)
    assert (answers[:, 1] == 1).all()


def test_places_of_categories_become_columns() -> None:
    numbers = Number("size", 0.0, None, None, 0.0, 1.0, indicate=False)
    city = Category("city", ("Bern", "Oslo", "Köln"), 4)
    preprocessing = Preprocessing((numbers, city))
    names = np.array(["Bern", "Oslo", "Köln", "", "Rome"] * 40, dtype=object)
    rows = prepare(preprocessing, {"size": np.zeros(200), "city": names})
    assert rows.cardinalities == (5,)
    target = np.array([10.0, 30.0, 20.0, 0.0, 0.0] * 40)
    answers = fit_linear(rows, target, "regression", 1).answer(rows)
    assert np.abs(answers[:, 0] - target).max() < 1


def test_rows_are_prepared_in_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    city = Category("city", tuple("abcdefgh"), None)
    rows = {"city": np.array(list("abcdefgh") * 5, dtype=object)}
    whole = prepare(Preprocessing((city,)), rows)
    monkeypatch.setattr(preprocessing_module, "BLOCK_ROWS", 7)
    monkeypatch.setattr(preprocessing_module, "BLOCK_BYTES", 0)
    parts = prepare(Preprocessing((city,)), rows)
    assert sparse.issparse(parts.values)
    assert np.array_equal(whole.values.toarray(), parts.values.toarray())
    assert whole.values.toarray().sum() == 40


# ---- as they are reported


@pytest.mark.parametrize("scores", [np.array([0.0, 1, 1, 0, 1, 1, 1, 0, 1]), np.array([0.25, -3])])
def test_scores_come_back_from_json(scores: np.ndarray) -> None:
    baseline = Baseline("linear", "logistic regression", 5, 3, KNOWN, scores)
    again = Baseline.from_json(json.loads(json.dumps(baseline.to_json())))
    assert np.array_equal(again.scores, scores)
    assert again.metrics == KNOWN


def test_without_baselines_the_stage_says_so(tmp_path: Any) -> None:
    layout = Layout(tmp_path)
    baselines(layout, EvaluateParams(folds=0))
    assert read_json(layout.metrics("baselines")) == {"baselines": []}


def test_of_many_rows_some_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stage, "MAX_PAIRED_ROWS", 10)
    assert paired_rows(7).tolist() == list(range(7))
    kept = paired_rows(1000)
    assert (len(kept), kept[0], kept[-1]) == (10, 0, 999)


def _project(tmp_path: Any, *scores: tuple[str, np.ndarray]) -> Layout:
    layout = Layout(tmp_path)
    items = [Baseline(name, name, 9, 3, KNOWN, found).to_json() for name, found in scores]
    write_json(layout.metrics("baselines"), {"baselines": items})
    return layout


def test_who_is_better_is_told(tmp_path: Any) -> None:
    network = np.array([1.0] * 60 + [0.0] * 40)
    layout = _project(
        tmp_path,
        ("worse", np.array([1.0] * 20 + [0.0] * 80)),
        ("better", np.array([1.0] * 95 + [0.0] * 5)),
        ("even", np.array([1.0] * 58 + [0.0] * 40 + [1.0] * 2)),
    )
    rivals = read_rivals(layout, network, CLASSES, 0.95)
    assert [rival.outcome for rival in rivals] == ["network", "baseline", "open"]
    tree = rivals[1].to_json()
    assert (tree["better"], tree["difference"]["value"]) == ("baseline", -0.35)
    kind, text = standing(rivals)
    assert kind == "bad"
    assert text.startswith("The network loses: better does better")
    assert standing(rivals[2:])[0] == "note"
    assert standing((rivals[0], rivals[2]))[1].endswith("from even. It is better than worse.")
    assert standing(rivals[:1]) == ("ok", "The network is better than worse on the same test rows.")


def test_baselines_of_other_rows_are_refused(tmp_path: Any) -> None:
    layout = _project(tmp_path, ("linear", np.ones(5)))
    with pytest.raises(WorkspaceError, match="is about 5 test rows, but there are 6"):
        read_rivals(layout, np.ones(6), CLASSES, 0.95)
    layout.metrics("baselines").unlink()
    with pytest.raises(WorkspaceError, match=r"there is no .*baselines\.json"):
        read_rivals(layout, np.ones(6), CLASSES, 0.95)


def test_an_interval_that_touches_zero_decides_nothing() -> None:
    baseline = Baseline("linear", "ridge", 9, 3, KNOWN, np.ones(3))
    open_ = PairedComparison(0.1, 0.0, 0.2, 0.05, "not worse by more than margin")
    assert Rival(baseline, open_, "accuracy").outcome == "open"
