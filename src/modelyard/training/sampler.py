"""Which rows a worker sees: a function of seed, epoch, step and rank, with no state to save.

The order of the global batches is the same for any number of workers; a training can resume with
another number.
"""

from dataclasses import dataclass

import numpy as np

# Batch norm cannot train on a single row, so a worker gets at least two; those added count with
# weight 0.
MIN_ROWS = 2


@dataclass(frozen=True)
class Share:
    """One worker's part of a global batch.

    Args:
        rows: int64 [n], positions in the split.
        weights: float32 [n], 1 for the worker's own rows, 0 for rows that only fill up.
        num_global: Number of rows of the global batch.
    """

    rows: np.ndarray
    weights: np.ndarray
    num_global: int


def epoch_order(num_rows: int, seed: int, epoch: int) -> np.ndarray:
    """The shuffled positions of an epoch, int64 [num_rows], the same on every worker."""
    return np.random.default_rng([seed, epoch]).permutation(num_rows)


def num_steps(num_rows: int, batch_size: int) -> int:
    """Global batches in an epoch; the last one may be smaller."""
    return -(-num_rows // batch_size)


def share(order: np.ndarray, step: int, batch_size: int, rank: int, size: int) -> Share:
    """The part of worker ``rank`` of ``size`` in global batch ``step`` of an epoch."""
    batch = order[step * batch_size : (step + 1) * batch_size]
    own = batch[rank::size]
    filling = np.resize(batch, max(0, MIN_ROWS - len(own)))
    weights = np.concatenate([np.ones(len(own)), np.zeros(len(filling))]).astype(np.float32)
    return Share(np.concatenate([own, filling]), weights, len(batch))


def validation_shares(num_rows: int, batch_rows: int, rank: int, size: int) -> list[np.ndarray]:
    """The batches of worker ``rank`` over a split: each row belongs to exactly one worker."""
    own = np.arange(rank, num_rows, size)
    return [own[start : start + batch_rows] for start in range(0, len(own), batch_rows)]
