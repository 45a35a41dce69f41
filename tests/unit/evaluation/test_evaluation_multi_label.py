"""Metrics of labels against scikit-learn."""

from typing import cast

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as reference

from modelyard.evaluation import multi_label
from modelyard.evaluation.multi_label import MultiLabelReport, measure_labels

ZERO = cast("str", 0)


@st.composite
def answers(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray]:
    """Probabilities [N, K] with ties and values of exactly a half, and targets [N, K]."""
    shape = draw(st.integers(1, 30)), draw(st.integers(1, 5))
    generator = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    probabilities = generator.integers(0, 9, shape) / 8
    return probabilities, (generator.random(shape) < draw(st.floats(0, 1))).astype(np.uint8)


def _measure(probabilities: np.ndarray, targets: np.ndarray) -> MultiLabelReport:
    labels = tuple(f"label {k}" for k in range(targets.shape[1]))
    return measure_labels(probabilities, targets, labels, 100, 0.95, seed=0)


def _expected(probabilities: np.ndarray, targets: np.ndarray) -> dict[str, float]:
    given = (probabilities > 0.5).astype(int)
    common, either = (given & targets).sum(axis=1), (given | targets).sum(axis=1)
    areas = [
        reference.roc_auc_score(targets[:, k], probabilities[:, k])
        for k in range(targets.shape[1])
        if 0 < targets[:, k].sum() < len(targets)
    ]
    # scikit-learn takes a single label for a binary target.
    single = targets.shape[1] == 1
    hits = float((given & targets).sum())
    f1 = [
        reference.f1_score(targets[:, k], given[:, k], zero_division=ZERO)
        for k in range(targets.shape[1])
    ]
    jaccard = [c / e if e else 1.0 for c, e in zip(common, either, strict=True)]
    if not single and (either > 0).all():
        assert np.mean(jaccard) == pytest.approx(
            reference.jaccard_score(targets, given, average="samples")
        )
    total = float(given.sum() + targets.sum())
    return {
        "jaccard": float(np.mean(jaccard)),
        "exact_match": float((given == targets).all(axis=1).mean()),
        "f1_micro": 2 * hits / total if total else 0.0,
        "f1": float(np.mean(f1)),
        "hamming_loss": float(np.mean(given != targets)),
        "roc_auc": float(np.mean(areas)) if areas else float("nan"),
    }


@settings(max_examples=50, deadline=None)
@given(answers())
def test_point_estimates_agree_with_scikit_learn(case: tuple[np.ndarray, np.ndarray]) -> None:
    report = _measure(*case)
    found = {name: interval.value for name, interval in report.metrics.items()}
    assert found == pytest.approx(_expected(*case), abs=1e-9, nan_ok=True)
    for k, score in enumerate(report.classes):
        target, answer = case[1][:, k], case[0][:, k] > 0.5
        assert score.support == target.sum()
        for name in ("precision", "recall"):
            known = getattr(reference, f"{name}_score")(target, answer, zero_division=0)
            assert getattr(score, name) == pytest.approx(known)


@settings(max_examples=20, deadline=None)
@given(answers(), st.integers(0, 1000))
def test_weights_stand_for_repeated_rows(case: tuple[np.ndarray, np.ndarray], seed: int) -> None:
    probabilities, targets = case
    drawn = np.random.default_rng(seed).integers(0, len(targets), len(targets))
    weights = np.bincount(drawn, minlength=len(targets)).astype(np.float64)
    scorer = multi_label._Scorer(probabilities, probabilities > 0.5, targets > 0)
    for name, value in _expected(probabilities[drawn], targets[drawn]).items():
        assert scorer(weights[None])[name][0] == pytest.approx(value, abs=1e-9, nan_ok=True), name


def test_perfect_answers_still_have_an_interval() -> None:
    targets = np.tile(np.eye(4, dtype=np.uint8), (10, 1))
    report = _measure(targets.astype(float), targets)
    assert report.metrics["jaccard"].value == report.metrics["jaccard"].high == 1
    assert 0.9 < report.metrics["jaccard"].low < 0.95
    tree = report.to_json()
    assert tree["jaccard"]["value"] == 1
    assert [entry["label"] for entry in tree["classes"]] == [f"label {k}" for k in range(4)]


@pytest.mark.parametrize(
    ("probabilities", "targets", "problem"),
    [
        (np.ones((2, 3)), np.ones((2, 2)), "do not fit"),
        (np.ones((0, 3)), np.ones((0, 3)), "do not fit"),
        (np.ones(3), np.ones(3), "do not fit"),
        (np.full((2, 3), np.nan), np.ones((2, 3)), "finite"),
    ],
)
def test_what_cannot_be_measured_is_refused(
    probabilities: np.ndarray, targets: np.ndarray, problem: str
) -> None:
    with pytest.raises(ValueError, match=problem):
        measure_labels(probabilities, targets, ("a", "b", "c"), 100, 0.95, seed=0)
