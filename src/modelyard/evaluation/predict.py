"""Answers of a trained network, the same bits whatever the number of cores."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import numpy as np

from modelyard.data.preprocessing import BLOCK_ROWS, Preprocessing
from modelyard.evaluation.tasks import to_answers

if TYPE_CHECKING:
    from torch import nn

BATCH = BLOCK_ROWS
"""Rows a call of the network: blocks of prepared rows hold whole batches."""


def predict(
    module: "nn.Module", preprocessing: Preprocessing, rows: dict[str, np.ndarray], task: str
) -> np.ndarray:
    """What a network answers to raw rows.

    Args:
        module: Maps float32 [N, *input_shape] to outputs [N, K]; in evaluation mode.
        preprocessing: Fitted on the train split.
        rows: Raw columns by feature name, [N, ...] each.
        task: Of the dataset.

    Returns:
        Probabilities float32 [N, K], or predictions float32 [N, 1] in the target's unit.
    """
    parts = [outputs(module, block) for block in preprocessing.blocks(rows)]
    return to_answers(task, np.concatenate(parts), preprocessing.target)


def outputs(module: "nn.Module", features: np.ndarray) -> np.ndarray:
    """The network's outputs float32 [N, K] for prepared rows float32 [N, *input_shape]."""
    import torch

    with torch.inference_mode(), _one_thread():
        parts = [
            module(torch.from_numpy(features[start : start + BATCH])).float()
            for start in range(0, len(features), BATCH)
        ]
        return torch.cat(parts).numpy()


@contextmanager
def _one_thread() -> Iterator[None]:
    """The last bit of a sum depends on how many threads share it; one thread has one order."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
