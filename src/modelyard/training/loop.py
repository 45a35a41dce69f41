"""One epoch of training and one pass over the validation split, for one worker among several."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from modelyard.artifacts import Dataset
from modelyard.data.columns import iterate_features, read_targets
from modelyard.data.prepared import Prepared
from modelyard.data.preprocessing import Preprocessing
from modelyard.errors import TrainingFailed
from modelyard.params import TrainParams
from modelyard.training import sampler
from modelyard.training.losses import Criterion
from modelyard.training.mesh import Mesh
from modelyard.training.optimizers import set_learning_rate
from modelyard.training.schedules import learning_rate
from modelyard.training.scores import Scores

_VALIDATION_ROWS = 512
_VALIDATION_VALUES = 16_000_000
"""Of features at once, 64 MB."""


@dataclass(frozen=True)
class Batches:
    """A split in memory, prepared once; rows become tensors when needed.

    ``targets``: int64 [N], float32 [N, K] of labels, or float32 [N, 1], scaled.
    """

    prepared: Prepared
    targets: np.ndarray
    input_shape: tuple[int, ...]
    device: torch.device

    @property
    def num_rows(self) -> int:
        """Rows of the split."""
        return len(self.targets)

    def take(self, rows: np.ndarray) -> tuple[Tensor, Tensor]:
        """Features float32 [n, *input_shape] and targets of positions ``rows``."""
        features = torch.from_numpy(self.prepared.take(rows))
        targets = torch.from_numpy(self.targets[rows])
        return features.to(self.device), targets.to(self.device)


def read_batches(
    dataset: Dataset, split: str, preprocessing: Preprocessing, device: torch.device
) -> Batches:
    """Read a split and prepare it.

    Raises:
        WorkspaceError: the split's file is missing, damaged, or not the one that ``dataset.json``
            describes.
    """
    targets = read_targets(dataset, split)
    if preprocessing.target is not None:
        scaled = (targets - preprocessing.target.mean) / preprocessing.target.std
        targets = scaled[:, np.newaxis]
    if targets.ndim == 2:
        targets = targets.astype(np.float32)
    columns = iterate_features(dataset.split(split), dataset.features)
    prepared = preprocessing.prepare(columns, len(targets))
    return Batches(prepared, targets, preprocessing.input_shape, device)


@dataclass(frozen=True)
class Trainer:
    """What an epoch needs; ``parallel`` is the network that averages gradients over workers."""

    network: nn.Module
    parallel: nn.Module
    criterion: Criterion
    scores: Scores
    optimizer: torch.optim.Optimizer
    params: TrainParams
    mesh: Mesh

    def train_epoch(
        self, split: Batches, epoch: int, report: Callable[[int, float, float], None]
    ) -> tuple[float, float]:
        """Train on every row once.

        Args:
            split: The training rows.
            epoch: From 1.
            report: Called on each step with the global step, this worker's mean loss, and the
                learning rate.

        Returns:
            The mean loss over all rows of all workers, and the last step's learning rate.

        Raises:
            TrainingFailed: the loss is not finite.
        """
        self.parallel.train()
        batch_size = self.params.batch_size
        order = sampler.epoch_order(split.num_rows, self.params.seed, epoch)
        steps = sampler.num_steps(split.num_rows, batch_size)
        total, lr = 0.0, 0.0
        for step in range(steps):
            share = sampler.share(order, step, batch_size, self.mesh.rank, self.mesh.size)
            global_step = (epoch - 1) * steps + step
            lr = self._learning_rate(global_step, steps)
            loss = self._step(split, share, lr)
            if not math.isfinite(loss):
                raise _diverged(loss, f"in epoch {epoch}, step {step + 1}", self.params)
            total += loss
            report(global_step, loss / max(1.0, float(share.weights.sum())), lr)
        (total,) = self.mesh.sum(total)
        return total / split.num_rows, lr

    def _learning_rate(self, global_step: int, steps_per_epoch: int) -> float:
        return learning_rate(
            self.params.schedule,
            self.params.optimizer.lr,
            global_step,
            steps_per_epoch * self.params.epochs,
            steps_per_epoch,
        )

    def _step(self, split: Batches, share: sampler.Share, lr: float) -> float:
        """Follow the gradient of the global batch's mean loss; gives this worker's summed loss."""
        features, targets = split.take(share.rows)
        weights = torch.from_numpy(share.weights).to(features.device)
        loss = (self.criterion(self.parallel(features), targets) * weights).sum()
        value = loss.item()
        if not math.isfinite(value):
            return value
        self.optimizer.zero_grad()
        # The gradients are averaged over workers, each of which may hold another number of rows.
        (loss * (self.mesh.size / share.num_global)).backward()
        if self.params.optimizer.clip_norm is not None:
            nn.utils.clip_grad_norm_(self.network.parameters(), self.params.optimizer.clip_norm)
        set_learning_rate(self.optimizer, lr)
        self.optimizer.step()
        return value

    @torch.no_grad()
    def validate(self, split: Batches, epoch: int) -> tuple[float, float]:
        """Mean loss and score over the split, each row counted once; equal on every worker.

        Raises:
            TrainingFailed: the loss is not finite.
        """
        self.network.eval()
        loss, score = 0.0, 0.0
        most = min(_VALIDATION_ROWS, max(1, _VALIDATION_VALUES // math.prod(split.input_shape)))
        for rows in sampler.validation_shares(split.num_rows, most, self.mesh.rank, self.mesh.size):
            features, targets = split.take(rows)
            logits = self.network(features)
            loss += self.criterion(logits, targets).double().sum().item()
            score += self.scores(logits, targets).sum().item()
        loss, score = self.mesh.sum(loss, score)
        if not math.isfinite(loss):
            raise _diverged(loss, f"on the validation split after epoch {epoch}", self.params)
        return loss / split.num_rows, score / split.num_rows


def _diverged(loss: float, place: str, params: TrainParams) -> TrainingFailed:
    return TrainingFailed(
        f"the loss is {loss} {place}: the training diverged",
        f"Lower train.optimizer.lr (now {params.optimizer.lr:g}), give train.schedule.warmup, "
        "or set train.optimizer.clip_norm.",
    )
