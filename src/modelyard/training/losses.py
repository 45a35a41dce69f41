"""What is minimized, row by row: a row weighs the same in a whole batch and in a split one."""

from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from modelyard.params import Loss


class Criterion(Protocol):
    """A loss without reduction."""

    def __call__(self, logits: Tensor, targets: Tensor) -> Tensor:
        """Losses [N] of logits [N, num_outputs]."""
        ...


@dataclass(frozen=True)
class OneOfClasses:
    """Cross-entropy, or the focal loss, for class indices int64 [N].

    Args:
        params: Which of them.
        class_weights: float32 [num_classes], or none; balanced ones have mean 1 over the training
            rows, so a mean over rows stays a mean and needs no second sum.
    """

    params: Loss
    class_weights: Tensor | None

    def __call__(self, logits: Tensor, targets: Tensor) -> Tensor:
        """Losses [N]."""
        losses = functional.cross_entropy(
            logits,
            targets,
            weight=self.class_weights,
            label_smoothing=self.params.label_smoothing,
            reduction="none",
        )
        if self.params.name == "focal":
            # Lin et al., Focal Loss for Dense Object Detection (2017), equation 4, with alpha =
            # class weights.
            own = functional.softmax(logits, dim=1).gather(1, targets[:, None])[:, 0]
            losses = losses * (1 - own).clamp(min=0) ** self.params.gamma
        return losses


@dataclass(frozen=True)
class AnyOfLabels:
    """Binary cross-entropy of 0 or 1 float32 [N, K], a mean over the labels.

    Args:
        params: How far labels are smoothed: 0 and 1 move towards a half.
        label_weights: float32 [2, K], those of an absent and of a given label, or none; balanced
            ones have mean 1 over the training rows.
    """

    params: Loss
    label_weights: Tensor | None

    def __call__(self, logits: Tensor, targets: Tensor) -> Tensor:
        """Losses [N]."""
        smoothing = self.params.label_smoothing
        soft = targets * (1 - smoothing) + smoothing / 2
        losses = functional.binary_cross_entropy_with_logits(logits, soft, reduction="none")
        if self.label_weights is not None:
            losses = losses * torch.where(targets > 0, self.label_weights[1], self.label_weights[0])
        return losses.mean(dim=1)


@dataclass(frozen=True)
class Number:
    """Squared, absolute or Huber's error of a scaled target, float32 [N, 1].

    Huber's (Robust Estimation of a Location Parameter, 1964) is half the square up to one
    deviation of the target, and linear beyond.
    """

    name: str

    def __call__(self, logits: Tensor, targets: Tensor) -> Tensor:
        """Losses [N]."""
        error = {"mae": functional.l1_loss, "huber": functional.huber_loss}
        losses = error.get(self.name, functional.mse_loss)(logits, targets, reduction="none")
        return losses[:, 0]


def make_criterion(
    params: Loss, task: str, targets: np.ndarray, num_outputs: int, device: torch.device
) -> Criterion:
    """The loss that ``params`` names.

    Balanced weights are rows / (classes x rows of the class); for each label of several, given and
    absent are the two classes.

    Args:
        params: The section ``train.loss``.
        task: Of the dataset.
        targets: Of the training rows: int64 [N], or [N, K], not zero where a label is given.
        num_outputs: Number of classes or labels.
        device: Where the logits will be.
    """
    if task == "regression":
        return Number(params.name)
    if task == "multi-label":
        given = np.count_nonzero(targets, axis=0)
        return AnyOfLabels(
            params, _balanced(params, np.stack([len(targets) - given, given]), device)
        )
    counts = np.bincount(targets, minlength=num_outputs)
    return OneOfClasses(params, _balanced(params, counts, device))


def _balanced(params: Loss, counts: np.ndarray, device: torch.device) -> Tensor | None:
    """Weights of classes of ``counts`` rows, along the first axis."""
    if params.class_weights == "none":
        return None
    weights = counts.sum(axis=0) / (len(counts) * np.maximum(counts, 1))
    return torch.from_numpy(weights.astype(np.float32)).to(device)
