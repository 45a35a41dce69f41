"""Answers of a trained network: probabilities, the same bits whatever the number of cores."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from torch import nn

BATCH = 256


def predict(module: "nn.Module", features: np.ndarray) -> np.ndarray:
    """Class probabilities of a network that gives logits.

    Args:
        module: Maps float32 [N, C, H, W] to logits [N, K]; in evaluation mode.
        features: float32 [N, C, H, W].

    Returns:
        float32 [N, K], rows sum to 1.
    """
    import torch

    with torch.inference_mode(), _one_thread():
        parts = [
            torch.softmax(module(torch.from_numpy(features[start : start + BATCH])).float(), dim=1)
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
