"""Metrics of numbers against scikit-learn."""

import json
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as reference

from modelyard.evaluation import regression
from modelyard.evaluation.regression import RegressionReport, measure_numbers


@st.composite
def predictions(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray]:
    """Predictions and targets [N] of any size and offset; some targets are 0."""
    rows = draw(st.integers(2, 40))
    generator = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    scale, offset = draw(st.sampled_from([1e-3, 1.0, 1e5])), draw(st.sampled_from([0.0, 1e4]))
    targets = generator.normal(size=rows) * scale + offset
    if draw(st.booleans()):
        targets[0] = 0
    return targets + generator.normal(size=rows) * scale, targets


def _measure(predicted: np.ndarray, targets: np.ndarray) -> RegressionReport:
    return measure_numbers(predicted, targets, 2.0, 100, 0.95, seed=0)


def _expected(predicted: np.ndarray, targets: np.ndarray) -> dict[str, float]:
    mae = float(reference.mean_absolute_error(targets, predicted))
    known = {
        "skill": 1 - mae / 2,
        "mae": mae,
        "rmse": float(reference.root_mean_squared_error(targets, predicted)),
        "r2": float(reference.r2_score(targets, predicted)),
    }
    if np.ptp(targets) == 0:
        known["r2"] = float("nan")
    return known


@settings(max_examples=50, deadline=None)
@given(predictions())
def test_point_estimates_agree_with_scikit_learn(case: tuple[np.ndarray, np.ndarray]) -> None:
    predicted, targets = case
    report = _measure(predicted[:, None], targets)
    found = {name: interval.value for name, interval in report.metrics.items()}
    known = _expected(predicted, targets)
    if targets.all():
        known["mape"] = float(reference.mean_absolute_percentage_error(targets, predicted))
    assert found == pytest.approx(known, rel=1e-6, abs=1e-9)
    assert ("mape" in found) == bool(targets.all())


@settings(max_examples=20, deadline=None)
@given(predictions(), st.integers(0, 1000))
def test_weights_stand_for_repeated_rows(case: tuple[np.ndarray, np.ndarray], seed: int) -> None:
    predicted, targets = case
    drawn = np.random.default_rng(seed).integers(0, len(targets), len(targets))
    if np.ptp(targets[drawn]) == 0:
        return
    weights = np.bincount(drawn, minlength=len(targets)).astype(np.float64)
    scores = regression._Scorer(predicted, targets, 2.0)(weights[None])
    for name, value in _expected(predicted[drawn], targets[drawn]).items():
        assert scores[name][0] == pytest.approx(value, rel=1e-6, abs=1e-9), name


def test_the_median_for_every_row_has_skill_zero() -> None:
    targets = np.arange(11.0)
    error = float(np.abs(targets - 5).mean())
    report = measure_numbers(np.full(11, 5.0), targets, error, 200, 0.95, seed=0)
    assert report.metrics["skill"].value == pytest.approx(0)
    assert report.metrics["skill"].low < 0 < report.metrics["skill"].high
    assert report.metrics["r2"].value == pytest.approx(0)
    assert [line.error for line in report.spread][2] == pytest.approx(0)


def test_equal_targets_have_no_r2() -> None:
    report = _measure(np.array([1.0, 2.0, 4.0]), np.array([3.0, 3.0, 3.0]))
    assert math.isnan(report.metrics["r2"].value)
    tree = json.loads(json.dumps(report.to_json(), allow_nan=False))
    assert tree["r2"] == {"value": None, "low": None, "high": None}
    assert tree["typical_error"] == 2


@pytest.mark.parametrize(
    ("predicted", "targets", "problem"),
    [
        (np.ones(2), np.ones(3), "do not fit"),
        (np.ones(0), np.ones(0), "do not fit"),
        (np.array([np.nan]), np.ones(1), "not a finite number"),
        (np.ones(1), np.array([np.inf]), "not a finite number"),
    ],
)
def test_what_cannot_be_measured_is_refused(
    predicted: np.ndarray, targets: np.ndarray, problem: str
) -> None:
    with pytest.raises(ValueError, match=problem):
        _measure(predicted, targets)
