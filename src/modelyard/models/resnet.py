"""ResNet for small images (He et al., Deep Residual Learning, 2015, section 4.2)."""

from torch import Tensor, nn

from modelyard.models.arguments import ResnetArguments


class BasicBlock(nn.Module):
    """Two 3x3 convolutions and a shortcut, which is a 1x1 convolution where the shape changes."""

    def __init__(self, features: int, channels: int, stride: int) -> None:
        super().__init__()
        self.residual = nn.Sequential(
            nn.Conv2d(features, channels, 3, stride=stride, padding=1, bias=False),
            nn.BatchNorm2d(channels),
            nn.ReLU(),
            nn.Conv2d(channels, channels, 3, padding=1, bias=False),
            nn.BatchNorm2d(channels),
        )
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or features != channels:
            self.shortcut = nn.Sequential(
                nn.Conv2d(features, channels, 1, stride=stride, bias=False),
                nn.BatchNorm2d(channels),
            )
        self.relu = nn.ReLU()

    def forward(self, maps_NCHW: Tensor) -> Tensor:  # noqa: N803 the axes are part of the name
        """Maps of the same height and width, or of half where ``stride`` is 2."""
        return self.relu(self.residual(maps_NCHW) + self.shortcut(maps_NCHW))


class Resnet(nn.Module):
    """A stem, three stages of ``(depth - 2) / 6`` basic blocks, average pooling.

    The stages have width, 2 x width and 4 x width channels.

    Maps float32 [N, C, H, W] to logits float32 [N, num_outputs].
    """

    def __init__(
        self, input_shape: tuple[int, ...], num_outputs: int, arguments: ResnetArguments
    ) -> None:
        super().__init__()
        features = arguments.width
        layers: list[nn.Module] = [
            nn.Conv2d(input_shape[0], features, 3, padding=1, bias=False),
            nn.BatchNorm2d(features),
            nn.ReLU(),
        ]
        for stage in range(3):
            channels = arguments.width * 2**stage
            for block in range((arguments.depth - 2) // 6):
                layers.append(BasicBlock(features, channels, 2 if stage and not block else 1))
                features = channels
        self.blocks = nn.Sequential(*layers)
        self.head = nn.Linear(features, num_outputs)

    def forward(self, images_NCHW: Tensor) -> Tensor:  # noqa: N803 the axes are part of the name
        """Logits of a batch."""
        return self.head(self.blocks(images_NCHW).mean((2, 3)))
