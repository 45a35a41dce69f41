"""Schedules, optimizers, and the choice of the epoch, each against its definition."""

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from modelyard.params import EarlyStopping, Optimizer, Schedule
from modelyard.training import EpochRecord
from modelyard.training.optimizers import (
    make_optimizer,
    optimizer_tensors,
    restore_optimizer,
    set_learning_rate,
)
from modelyard.training.schedules import learning_rate
from modelyard.training.selection import best_epoch, should_stop


def _history(losses: list[float], accuracies: list[float] | None = None) -> list[EpochRecord]:
    accuracies = accuracies or [0.0] * len(losses)
    pairs = zip(losses, accuracies, strict=True)
    return [EpochRecord(i, 1.0, loss, accuracy, 0.1) for i, (loss, accuracy) in enumerate(pairs, 1)]


@settings(max_examples=60, deadline=None)
@given(
    name=st.sampled_from(["constant", "cosine", "step", "one_cycle"]),
    warmup=st.sampled_from([0.0, 0.1, 0.5]),
    steps=st.integers(1, 40),
    epochs=st.integers(1, 12),
)
def test_learning_rates_stay_within_the_peak(
    name: Any, warmup: float, steps: int, epochs: int
) -> None:
    schedule, total = Schedule(name=name, warmup=warmup, step_epochs=3), steps * epochs
    rates = [learning_rate(schedule, 0.1, step, total, steps) for step in range(total)]
    assert all(0 < rate <= 0.1 for rate in rates)
    peak = rates.index(max(rates))
    assert rates[:peak] == sorted(rates[:peak])
    if name != "step":
        assert rates[peak:] == sorted(rates[peak:], reverse=True)
        # One cycle begins low, however short it is.
        rise = round((warmup or (0.3 if name == "one_cycle" else 0)) * total)
        assert peak == min(max(rise, name == "one_cycle"), total - 1)


def test_learning_rates_have_their_shape() -> None:
    step = Schedule(name="step", step_epochs=2, gamma=0.5)
    assert [learning_rate(step, 1.0, 3 * e, 18, 3) for e in range(6)] == [
        1,
        1,
        0.5,
        0.5,
        0.25,
        0.25,
    ]
    cosine = Schedule(name="cosine")
    assert learning_rate(cosine, 1.0, 50, 100, 10) == pytest.approx(0.5)
    parameters = [nn.Parameter(torch.zeros(1))]
    optimizer = torch.optim.SGD(parameters, lr=0.4)
    reference = torch.optim.lr_scheduler.OneCycleLR(optimizer, 0.4, total_steps=100)
    for number in range(100):
        ours = learning_rate(Schedule(name="one_cycle"), 0.4, number, 100, 10)
        assert ours == pytest.approx(reference.get_last_lr()[0], rel=0.2, abs=0.004)
        optimizer.step()
        if number < 99:
            reference.step()


@pytest.mark.parametrize("name", ["sgd", "adam", "adamw"])
def test_optimizer_state_survives_as_tensors(name: Any) -> None:
    def network() -> nn.Module:
        torch.manual_seed(1)
        return nn.Sequential(nn.Linear(4, 3), nn.Linear(3, 2))

    def step(model: nn.Module, optimizer: torch.optim.Optimizer) -> None:
        optimizer.zero_grad()
        model(torch.ones(5, 4)).square().sum().backward()
        optimizer.step()

    params = Optimizer(name=name, lr=0.05, weight_decay=0.1)
    one, two = network(), network()
    first, second = make_optimizer(params, one), make_optimizer(params, two)
    set_learning_rate(first, 0.02)
    step(one, first)
    two.load_state_dict(one.state_dict())
    copies = {key: tensor.clone() for key, tensor in optimizer_tensors(first).items()}
    restore_optimizer(second, copies)
    set_learning_rate(second, 0.02)
    step(one, first)
    step(two, second)
    for ours, theirs in zip(one.parameters(), two.parameters(), strict=True):
        assert torch.equal(ours, theirs)


def test_best_epoch_is_the_earliest_of_the_best() -> None:
    history = _history([3, 1, 2, 1], [0.1, 0.5, 0.9, 0.9])
    assert best_epoch(history, None) == 2
    assert best_epoch(history, EarlyStopping(metric="score")) == 3


@pytest.mark.parametrize(
    ("losses", "min_delta", "stops"),
    [
        ([5, 4, 3, 2], 0.0, False),
        ([2, 3, 3], 0.0, True),
        ([2, 3, 1.9], 0.0, False),
        ([2, 3, 1.9], 0.5, True),
        ([2], 0.0, False),
    ],
)
def test_stops_after_patience_without_improvement(
    losses: list[float], min_delta: float, stops: bool
) -> None:
    stopping = EarlyStopping(patience=2, min_delta=min_delta)
    assert should_stop(_history(losses), stopping) is stops
    assert should_stop(_history(losses), None) is False
