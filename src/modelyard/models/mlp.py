"""A multilayer perceptron over the flattened row."""

import math

from torch import Tensor, nn

from modelyard.models.arguments import MlpArguments


class Mlp(nn.Module):
    """Linear layers with ReLU, and batch norm and dropout if asked for.

    Maps float32 [N, ...] to logits float32 [N, num_outputs].
    """

    def __init__(
        self, input_shape: tuple[int, ...], num_outputs: int, arguments: MlpArguments
    ) -> None:
        super().__init__()
        features = math.prod(input_shape)
        layers: list[nn.Module] = [nn.Flatten()]
        for hidden in arguments.hidden:
            layers.append(nn.Linear(features, hidden, bias=not arguments.batch_norm))
            if arguments.batch_norm:
                layers.append(nn.BatchNorm1d(hidden))
            layers.append(nn.ReLU())
            if arguments.dropout:
                layers.append(nn.Dropout(arguments.dropout))
            features = hidden
        layers.append(nn.Linear(features, num_outputs))
        self.layers = nn.Sequential(*layers)

    def forward(self, rows: Tensor) -> Tensor:
        """Logits of a batch."""
        return self.layers(rows)
