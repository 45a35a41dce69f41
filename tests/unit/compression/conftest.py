"""Small networks and their exports, made once."""

import numpy as np
import onnx
import pytest
import torch
from torch import nn

from modelyard.compression.export import export

SHAPE = (1, 12, 12)


def make_cnn() -> nn.Module:
    torch.manual_seed(0)
    network = nn.Sequential(
        nn.Conv2d(1, 8, 3, padding=1),
        nn.BatchNorm2d(8),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(8, 16, 3, padding=1),
        nn.ReLU(),
        nn.Flatten(),
        nn.Dropout(0.5),
        nn.Linear(16 * 36, 40),
        nn.ReLU(),
        nn.Linear(40, 5),
    )
    for _ in range(3):
        network(torch.randn(8, *SHAPE))
    return network.eval()


def make_mlp() -> nn.Module:
    torch.manual_seed(1)
    return nn.Sequential(nn.Flatten(), nn.Linear(144, 50), nn.ReLU(), nn.Linear(50, 5)).eval()


@pytest.fixture(scope="session")
def cnn() -> nn.Module:
    return make_cnn()


@pytest.fixture(scope="session")
def cnn_graph(cnn: nn.Module) -> onnx.ModelProto:
    return export(cnn, SHAPE)


@pytest.fixture(scope="session")
def mlp_graph() -> onnx.ModelProto:
    return export(make_mlp(), SHAPE)


@pytest.fixture(scope="session")
def features() -> np.ndarray:
    return np.random.default_rng(0).normal(size=(64, *SHAPE)).astype(np.float32)
