"""A small convolutional network: quick on a CPU, and well quantized to static int8."""

from torch import Tensor, nn

from modelyard.models.arguments import CnnArguments, refuse


class Cnn(nn.Module):
    """Stages of 3x3 convolution, batch norm, ReLU and 2x2 max pooling, then one hidden layer.

    Maps float32 [N, C, H, W] to logits float32 [N, num_outputs].

    Raises:
        ParamsError: there are more stages than the image can be halved.
    """

    def __init__(
        self, input_shape: tuple[int, ...], num_outputs: int, arguments: CnnArguments
    ) -> None:
        super().__init__()
        features, height, width = input_shape
        most = min(height, width).bit_length() - 1
        if len(arguments.channels) > most:
            raise refuse(
                "channels",
                f"{len(arguments.channels)} stages halve an image of {height}x{width} below one "
                f"pixel; nearest: {list(arguments.channels[:most])}",
            )
        stages: list[nn.Module] = []
        for channels in arguments.channels:
            stages.append(
                nn.Conv2d(features, channels, 3, padding=1, bias=not arguments.batch_norm)
            )
            if arguments.batch_norm:
                stages.append(nn.BatchNorm2d(channels))
            stages += [nn.ReLU(), nn.MaxPool2d(2)]
            features, height, width = channels, height // 2, width // 2
        self.stages = nn.Sequential(*stages)
        head: list[nn.Module] = [
            nn.Flatten(),
            nn.Linear(features * height * width, arguments.hidden),
            nn.ReLU(),
        ]
        if arguments.dropout:
            head.append(nn.Dropout(arguments.dropout))
        head.append(nn.Linear(arguments.hidden, num_outputs))
        self.head = nn.Sequential(*head)

    def forward(self, images_NCHW: Tensor) -> Tensor:  # noqa: N803 the axes are part of the name
        """Logits of a batch."""
        return self.head(self.stages(images_NCHW))
