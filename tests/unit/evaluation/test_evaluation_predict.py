"""Answers of a network: batched, on one thread, the caller's threads left as they were."""

import numpy as np
import pytest
import torch
from torch import nn

from modelyard.data import preprocessing as preprocessing_module
from modelyard.data.prepare_table import Number
from modelyard.data.preprocessing import Preprocessing, Target
from modelyard.evaluation import predict as module
from modelyard.evaluation.predict import outputs, predict


class _Watching(nn.Module):
    """Gives its input as logits and notes batch sizes and threads."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[tuple[int, int]] = []

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        self.seen.append((len(features), torch.get_num_threads()))
        return features.flatten(1)


def test_batches_give_the_networks_outputs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "BATCH", 4)
    features = np.random.default_rng(0).normal(size=(10, 3, 1, 1)).astype(np.float32)
    network = _Watching()
    found = outputs(network, features)
    assert found.dtype == np.float32
    assert np.array_equal(found, features[:, :, 0, 0])
    assert network.seen == [(4, 1), (4, 1), (2, 1)]


def test_raw_rows_are_prepared_in_blocks_and_answered_in_their_unit(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(preprocessing_module, "BLOCK_ROWS", 4)
    monkeypatch.setattr(preprocessing_module, "BLOCK_BYTES", 4 * 4)
    number = Number("size", 0.0, None, None, 10.0, 2.0, indicate=False)
    preprocessing = Preprocessing((number,), Target(100.0, 5.0, 100.0, 4.0))
    network = _Watching()
    found = predict(network, preprocessing, {"size": np.arange(10.0)}, "regression")
    assert found.shape == (10, 1)
    assert np.allclose(found[:, 0], 100 + 5 * (np.arange(10) - 10) / 2)
    assert [rows for rows, _ in network.seen] == [4, 4, 2]


def test_threads_are_restored_after_an_error() -> None:
    class Broken(nn.Module):
        def forward(self, features: torch.Tensor) -> torch.Tensor:
            raise RuntimeError("no")

    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        with pytest.raises(RuntimeError, match="no"):
            outputs(Broken(), np.zeros((2, 3, 1, 1), np.float32))
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)
