"""A classifier's metrics against scikit-learn and plain loops, and explicit resampling."""

import json
from typing import cast

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as reference

from modelyard.evaluation import bootstrap as resampling
from modelyard.evaluation import classification
from modelyard.evaluation.classification import ClassificationReport, measure_classes


@st.composite
def predictions(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray]:
    """Probabilities [N, K] with many ties, and targets [N]."""
    num_classes = draw(st.integers(2, 5))
    num_rows = draw(st.integers(1, 40))
    seed = draw(st.integers(0, 2**32 - 1))
    levels = draw(st.sampled_from([3, 10, 1000]))
    generator = np.random.default_rng(seed)
    raw = generator.integers(1, levels + 1, (num_rows, num_classes)).astype(np.float64)
    return raw / raw.sum(axis=1, keepdims=True), generator.integers(0, num_classes, num_rows)


def _measure(
    probabilities: np.ndarray, targets: np.ndarray, bootstrap: int = 100
) -> ClassificationReport:
    labels = tuple(f"class {k}" for k in range(probabilities.shape[1]))
    return measure_classes(probabilities, targets, labels, bootstrap, 0.95, seed=0)


def _expected(probabilities: np.ndarray, targets: np.ndarray) -> dict[str, float]:
    """The metrics by scikit-learn, ROC-AUC over classes with rows on both sides, ECE by a loop."""
    num_classes = probabilities.shape[1]
    predicted = probabilities.argmax(axis=1)
    precision, recall, f1, _ = reference.precision_recall_fscore_support(
        targets, predicted, average="macro", zero_division=cast("str", 0)
    )
    areas = [
        reference.roc_auc_score(targets == k, probabilities[:, k])
        for k in range(num_classes)
        if 0 < (targets == k).sum() < len(targets)
    ]
    ece = 0.0
    for m in range(classification.NUM_BINS):
        confidence = probabilities.max(axis=1)
        inside = (confidence > m / classification.NUM_BINS) & (
            confidence <= (m + 1) / classification.NUM_BINS
        )
        if inside.any():
            gap = (predicted == targets)[inside].mean() - confidence[inside].mean()
            ece += inside.mean() * abs(gap)
    known = {
        "accuracy": float(reference.accuracy_score(targets, predicted)),
        "precision": float(precision),
        "recall": float(recall),
        "f1": float(f1),
        "roc_auc": float(np.mean(areas)) if areas else float("nan"),
        "log_loss": float(
            reference.log_loss(targets, probabilities, labels=list(range(num_classes)))
        ),
        "ece": ece,
    }
    if num_classes == 2:
        positive = targets == 1
        known["brier"] = float(np.mean((probabilities[:, 1] - positive) ** 2))
        known["pr_auc"] = float("nan")
        if positive.any():
            known["pr_auc"] = float(
                reference.average_precision_score(positive, probabilities[:, 1])
            )
    return known


@settings(max_examples=60, deadline=None)
@given(predictions())
def test_point_estimates_agree_with_scikit_learn(case: tuple[np.ndarray, np.ndarray]) -> None:
    report = _measure(*case)
    assert {name: interval.value for name, interval in report.metrics.items()} == pytest.approx(
        _expected(*case), abs=1e-9, nan_ok=True
    )


@settings(max_examples=30, deadline=None)
@given(predictions(), st.integers(0, 1000))
def test_weights_stand_for_repeated_rows(case: tuple[np.ndarray, np.ndarray], seed: int) -> None:
    probabilities, targets = case
    drawn = np.random.default_rng(seed).integers(0, len(targets), len(targets))
    weights = np.bincount(drawn, minlength=len(targets)).astype(np.float64)
    scores = classification._Scorer(probabilities, targets)(np.stack([weights, weights]))
    expected = _expected(probabilities[drawn], targets[drawn])
    for name, value in expected.items():
        assert scores[name][0] == pytest.approx(value, abs=1e-9, nan_ok=True), name
        assert scores[name][1] == pytest.approx(value, abs=1e-9, nan_ok=True), name


@settings(max_examples=30, deadline=None)
@given(predictions())
def test_tables_add_up(case: tuple[np.ndarray, np.ndarray]) -> None:
    probabilities, targets = case
    report = _measure(*case)
    predicted = probabilities.argmax(axis=1)
    expected = reference.confusion_matrix(targets, predicted, labels=range(probabilities.shape[1]))
    assert np.array_equal(report.confusion, expected)
    assert [score.support for score in report.classes] == expected.sum(axis=1).tolist()
    assert sum(bar.rows for bar in report.bins) == report.rows == len(targets)
    ece = sum(bar.rows * abs(bar.accuracy - bar.confidence) for bar in report.bins) / report.rows
    assert ece == pytest.approx(report.metrics["ece"].value, abs=1e-9)


@settings(max_examples=20, deadline=None)
@given(predictions())
def test_the_order_of_rows_does_not_matter(case: tuple[np.ndarray, np.ndarray]) -> None:
    probabilities, targets = case
    reversed_report = _measure(probabilities[::-1], targets[::-1])
    for name, interval in _measure(*case).metrics.items():
        assert reversed_report.metrics[name].value == pytest.approx(interval.value, nan_ok=True)


def _sample(num_rows: int, num_classes: int = 4) -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(3)
    targets = generator.integers(0, num_classes, num_rows)
    logits = generator.normal(size=(num_rows, num_classes))
    logits[np.arange(num_rows), targets] += 1.5
    return np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True), targets


def test_intervals_hold_the_estimate_and_shrink_with_rows() -> None:
    few, many = _measure(*_sample(80), 500), _measure(*_sample(2000), 500)
    for name in ("accuracy", "recall", "f1", "roc_auc", "log_loss"):
        small, large = few.metrics[name], many.metrics[name]
        assert small.low < small.value < small.high
        assert large.high - large.low < (small.high - small.low) / 2


def test_the_accuracy_interval_is_that_of_the_binomial() -> None:
    """For a share the percentile bootstrap is known: quantiles of a binomial."""
    from scipy.stats import binom

    report = _measure(*_sample(400), 4000)
    accuracy = report.metrics["accuracy"]
    expected = binom.ppf([0.025, 0.975], 400, accuracy.value) / 400
    assert (accuracy.low, accuracy.high) == pytest.approx(tuple(expected), abs=0.005)


def test_equal_seeds_give_equal_reports_and_chunks_do_not_show(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    case = _sample(50)
    whole = _measure(*case, bootstrap=200)
    assert _measure(*case, bootstrap=200) == whole
    monkeypatch.setattr(resampling, "CHUNK", 50 * 7)
    assert _measure(*case, bootstrap=200) == whole
    labels = tuple("abcd")
    assert measure_classes(*case, labels, 200, 0.95, seed=1).metrics != whole.metrics


def test_perfect_answers_still_have_an_accuracy_interval() -> None:
    targets = np.arange(40) % 4
    report = _measure(np.eye(4)[targets], targets)
    accuracy = report.metrics["accuracy"]
    assert accuracy.value == accuracy.high == 1
    assert 0.9 < accuracy.low < 0.95
    assert report.metrics["roc_auc"].value == 1
    assert report.metrics["ece"].value == 0


def test_a_single_class_has_no_roc_auc() -> None:
    report = _measure(np.full((5, 2), 0.5), np.zeros(5, dtype=int))
    tree = json.loads(json.dumps(report.to_json(), allow_nan=False))
    assert tree["roc_auc"] == {"value": None, "low": None, "high": None}
    assert tree["accuracy"]["value"] == 1
    assert tree["rows"] == 5
    assert {"classes", "confusion", "bins", "confidence", "bootstrap"} < set(tree)


@pytest.mark.parametrize(
    ("probabilities", "targets", "problem"),
    [
        (np.ones((2, 3)) / 3, np.zeros(3, int), "do not fit"),
        (np.ones((2, 4)) / 4, np.zeros(2, int), "do not fit"),
        (np.ones((0, 3)), np.zeros(0, int), "do not fit"),
        (np.ones((2, 3)) / 3, np.array([0, 3]), "targets lie in"),
        (np.ones((2, 3)) / 3, np.array([-1, 0]), "targets lie in"),
        (np.full((2, 3), np.nan), np.zeros(2, int), "finite"),
        (np.full((2, 3), 2.0), np.zeros(2, int), "finite"),
    ],
)
def test_what_cannot_be_measured_is_refused(
    probabilities: np.ndarray, targets: np.ndarray, problem: str
) -> None:
    with pytest.raises(ValueError, match=problem):
        measure_classes(probabilities, targets, ("a", "b", "c"), 100, 0.95, seed=0)


@pytest.mark.parametrize(
    ("labels", "positive"), [(("leave", "stay"), "stay"), (("a", "b", "c"), None)]
)
def test_of_two_classes_the_one_that_metrics_are_of_is_named(
    labels: tuple[str, ...], positive: str | None
) -> None:
    probabilities = np.full((6, len(labels)), 1 / len(labels))
    targets = np.arange(6) % len(labels)
    report = measure_classes(probabilities, targets, labels, 100, 0.95, 0)
    assert report.to_json()["positive"] == positive
    assert ("pr_auc" in report.metrics) == (positive is not None)
