"""What is minimized, row by row: a row weighs the same in a whole batch and in a split one."""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from modelyard.params import Loss


@dataclass(frozen=True)
class Criterion:
    """A loss without reduction.

    Args:
        params: Which loss.
        class_weights: float32 [num_classes], or none; balanced ones have mean 1 over the training
            rows, so a mean over rows stays a mean and needs no second sum.
    """

    params: Loss
    class_weights: Tensor | None

    def __call__(self, logits: Tensor, targets: Tensor) -> Tensor:
        """Losses of logits [N, num_classes] for class indices int64 [N]: [N]."""
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


def make_criterion(
    params: Loss, targets: Tensor, num_classes: int, device: torch.device
) -> Criterion:
    """The loss that ``params`` names; balanced weights are rows / (classes x rows of the class).

    Args:
        params: The section ``train.loss``.
        targets: int64 [N], the training rows' classes.
        num_classes: Number of classes.
        device: Where the logits will be.
    """
    if params.class_weights == "none":
        return Criterion(params, None)
    counts = torch.bincount(targets, minlength=num_classes).clamp(min=1)
    weights = len(targets) / (num_classes * counts.double())
    return Criterion(params, weights.float().to(device))
