"""Losses and scores of every task, each against its definition."""

import math
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional

from modelyard.artifacts import MAIN_METRIC
from modelyard.data.preprocessing import Target
from modelyard.evaluation.tasks import Scoring, to_answers
from modelyard.params import Loss
from modelyard.training.losses import Criterion, make_criterion
from modelyard.training.scores import make_scores

CPU = torch.device("cpu")
OUTPUTS = 3


def _criterion(targets: Tensor, task: str = "classification", **loss: Any) -> Criterion:
    return make_criterion(Loss(**loss), task, targets.numpy(), OUTPUTS, CPU)


def test_cross_entropy_has_torchs_mean() -> None:
    logits, targets = torch.randn(9, OUTPUTS), torch.randint(0, OUTPUTS, (9,))
    expected = functional.cross_entropy(logits, targets, label_smoothing=0.1)
    for name in ("auto", "cross_entropy"):
        losses = _criterion(targets, name=name, label_smoothing=0.1)(logits, targets)
        assert torch.allclose(losses.mean(), expected)


def test_balanced_classes_weigh_the_same_in_sum() -> None:
    targets = torch.tensor([0] * 12 + [1] * 3)
    losses = _criterion(targets, class_weights="balanced")(torch.zeros(15, OUTPUTS), targets)
    assert torch.allclose(losses[targets == 0].sum(), losses[targets == 1].sum())
    assert losses.isfinite().all()


@settings(max_examples=30, deadline=None)
@given(st.floats(0, 5))
def test_focal_is_cross_entropy_times_its_factor(gamma: float) -> None:
    logits, targets = torch.tensor([[2.0, 0.0], [0.0, 2.0]]), torch.tensor([0, 0])
    losses = _criterion(targets, name="focal", gamma=gamma)(logits, targets)
    for loss, own in zip(
        losses.tolist(), (1 / (1 + math.exp(-2)), 1 / (1 + math.exp(2))), strict=True
    ):
        assert loss == pytest.approx(-((1 - own) ** gamma) * math.log(own), rel=1e-4)


def test_binary_cross_entropy_is_the_mean_over_labels() -> None:
    logits, targets = torch.randn(9, OUTPUTS), torch.randint(0, 2, (9, OUTPUTS)).float()
    losses = _criterion(targets, "multi-label")(logits, targets)
    assert losses.shape == (9,)
    expected = functional.binary_cross_entropy_with_logits(logits, targets)
    assert torch.allclose(losses.mean(), expected)
    smooth = _criterion(targets, "multi-label", label_smoothing=0.2)(logits, targets)
    expected = functional.binary_cross_entropy_with_logits(logits, targets * 0.8 + 0.1)
    assert torch.allclose(smooth.mean(), expected)


def test_balanced_labels_weigh_the_same_given_and_absent() -> None:
    targets = torch.zeros(8, OUTPUTS)
    targets[:2, 0], targets[:5, 1] = 1, 1
    criterion = _criterion(targets, "multi-label", class_weights="balanced")
    for label in (0, 1):
        own = torch.zeros(8, OUTPUTS)
        own[:, [other for other in range(OUTPUTS) if other != label]] = -100.0
        at_zero = targets.clone()
        at_zero[:, [other for other in range(OUTPUTS) if other != label]] = 0
        losses = criterion(own, at_zero)
        is_given = targets[:, label] > 0
        assert torch.allclose(losses[is_given].sum(), losses[~is_given].sum(), rtol=1e-5)
    assert criterion(torch.zeros(8, OUTPUTS), targets).isfinite().all()


@pytest.mark.parametrize(
    ("name", "expected"), [("auto", 4.0), ("mse", 4.0), ("mae", 2.0), ("huber", 1.5)]
)
def test_errors_of_a_number(name: str, expected: float) -> None:
    targets = torch.tensor([[1.0], [0.25]])
    losses = _criterion(targets, "regression", name=name)(torch.tensor([[3.0], [0.25]]), targets)
    assert losses.tolist() == [expected, 0]


@pytest.mark.parametrize("task", sorted(MAIN_METRIC))
def test_scores_are_those_of_the_evaluation(task: str) -> None:
    generator = np.random.default_rng(3)
    logits = generator.normal(size=(50, OUTPUTS)).astype(np.float32)
    logits[:5] = 0  # a probability of exactly a half, and equal classes
    target = Target(mean=100.0, std=8.0, median=99.0, typical_error=5.0)
    seen: np.ndarray
    if task == "classification":
        seen = targets = generator.integers(0, OUTPUTS, 50)
    elif task == "multi-label":
        targets = generator.integers(0, 2, (50, OUTPUTS)).astype(np.uint8)
        seen = targets.astype(np.float32)
    else:
        logits, targets = logits[:, :1], generator.normal(100, 8, 50)
        seen = ((targets - target.mean) / target.std)[:, np.newaxis].astype(np.float32)
    ours = make_scores(task, target)(torch.from_numpy(logits), torch.from_numpy(seen))
    scoring = Scoring(task, MAIN_METRIC[task], target.typical_error)
    theirs = scoring.scores(to_answers(task, logits, target), targets)
    np.testing.assert_allclose(ours.numpy(), theirs, atol=1e-5)
