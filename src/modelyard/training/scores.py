"""The task's main metric of each row, from logits (see ``artifacts.MAIN_METRIC``)."""

from collections.abc import Callable

import torch
from torch import Tensor

from modelyard.data.preprocessing import Target

Scores = Callable[[Tensor, Tensor], Tensor]
"""From logits [N, K] and targets as the loss takes them to scores float64 [N], at best 1."""


def make_scores(task: str, target: Target | None) -> Scores:
    """The scores of a task; ``target`` is that of regression.

    Classification: whether the class is right. Multi-label: labels in common over labels in either,
    1 where there are none; a label is given where its probability is above a half. Regression:
    1 - |error| / the error of train's median.
    """
    if task == "classification":
        return _accuracy
    if task == "multi-label":
        return _jaccard
    assert target is not None
    unit = target.std / target.typical_error
    return lambda logits, targets: 1 - (logits - targets)[:, 0].double().abs() * unit


def _accuracy(logits: Tensor, targets: Tensor) -> Tensor:
    return (logits.argmax(dim=1) == targets).double()


def _jaccard(logits: Tensor, targets: Tensor) -> Tensor:
    given, due = torch.sigmoid(logits) > 0.5, targets > 0
    common, either = (given & due).sum(dim=1).double(), (given | due).sum(dim=1).double()
    return torch.where(either > 0, common / either.clamp(min=1), 1.0)
