"""A multilayer perceptron over the flattened image."""

from torch import Tensor, nn

from modelyard.models.arguments import MlpArguments


class Mlp(nn.Module):
    """Linear layers with ReLU, and batch norm and dropout if asked for.

    Maps float32 [N, C, H, W] to logits float32 [N, num_classes].
    """

    def __init__(
        self, input_shape: tuple[int, int, int], num_classes: int, arguments: MlpArguments
    ) -> None:
        super().__init__()
        channels, height, width = input_shape
        features = channels * height * width
        layers: list[nn.Module] = [nn.Flatten()]
        for hidden in arguments.hidden:
            layers.append(nn.Linear(features, hidden, bias=not arguments.batch_norm))
            if arguments.batch_norm:
                layers.append(nn.BatchNorm1d(hidden))
            layers.append(nn.ReLU())
            if arguments.dropout:
                layers.append(nn.Dropout(arguments.dropout))
            features = hidden
        layers.append(nn.Linear(features, num_classes))
        self.layers = nn.Sequential(*layers)

    def forward(self, images_NCHW: Tensor) -> Tensor:  # noqa: N803 the axes are part of the name
        """Logits of a batch."""
        return self.layers(images_NCHW)
