"""An example of a factory of your own: a network that mixes the patches of an image."""

from torch import Tensor, nn


class PatchMlp(nn.Module):
    """Embeds each patch, mixes patches, averages them.

    Maps float32 [N, C, H, W] to logits float32 [N, num_classes].
    """

    def __init__(
        self, input_shape: tuple[int, int, int], num_classes: int, patch: int, width: int
    ) -> None:
        super().__init__()
        channels, height, wide = input_shape
        num_patches = (height // patch) * (wide // patch)
        self.patches = nn.Conv2d(channels, width, kernel_size=patch, stride=patch)
        self.mix = nn.Linear(num_patches, num_patches)
        self.norm = nn.LayerNorm(width)
        self.head = nn.Sequential(nn.Linear(width, width), nn.GELU(), nn.Linear(width, num_classes))

    def forward(self, images_NCHW: Tensor) -> Tensor:  # noqa: N803 the axes are part of the name
        """Logits of a batch."""
        patches_NEP = self.patches(images_NCHW).flatten(2)  # noqa: N806
        mixed_NPE = (patches_NEP + self.mix(patches_NEP)).transpose(1, 2)  # noqa: N806
        return self.head(self.norm(mixed_NPE).mean(1))


def patch_mlp(
    input_shape: tuple[int, int, int], num_classes: int, patch: int = 7, width: int = 64
) -> nn.Module:
    """Build the network; ``patch`` and ``width`` come from ``model.args``.

    Args:
        input_shape: Channels, height, width of the images, from the dataset.
        num_classes: Number of classes, from the dataset.
        patch: Height and width of a patch, pixels.
        width: Numbers that describe a patch.
    """
    return PatchMlp(input_shape, num_classes, patch, width)
