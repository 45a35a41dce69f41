"""Probabilities of a network: batched, on one thread, the caller's threads left as they were."""

import numpy as np
import pytest
import torch
from torch import nn

from modelyard.evaluation import predict as module
from modelyard.evaluation.predict import predict


class _Watching(nn.Module):
    """Gives its input as logits and notes batch sizes and threads."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[tuple[int, int]] = []

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        self.seen.append((len(features), torch.get_num_threads()))
        return features.flatten(1)


def test_batches_give_softmax_of_the_logits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "BATCH", 4)
    features = np.random.default_rng(0).normal(size=(10, 3, 1, 1)).astype(np.float32)
    network = _Watching()
    probabilities = predict(network, features)
    raised = np.exp(features[:, :, 0, 0])
    assert probabilities.dtype == np.float32
    assert np.allclose(probabilities, raised / raised.sum(axis=1, keepdims=True), atol=1e-6)
    assert network.seen == [(4, 1), (4, 1), (2, 1)]


def test_threads_are_restored_after_an_error() -> None:
    class Broken(nn.Module):
        def forward(self, features: torch.Tensor) -> torch.Tensor:
            raise RuntimeError("no")

    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        with pytest.raises(RuntimeError, match="no"):
            predict(Broken(), np.zeros((2, 3, 1, 1), np.float32))
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)
