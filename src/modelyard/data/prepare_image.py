"""Images: fitted scaling of each channel.

A channel becomes ``x * scale + bias`` with scale = 1 / (255 std) and bias = -mean / std, that is
``(x / 255 - mean) / std``. Axes: N rows, C channels, H height, W width.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Self

import numpy as np

from modelyard.data.onnx_nodes import Nodes


@dataclass(frozen=True)
class Image:
    """``scale`` and ``bias`` have one value a channel, for pixels from 0 to 255."""

    name: str
    height: int
    width: int
    scale: tuple[float, ...]
    bias: tuple[float, ...]

    @classmethod
    def fit(cls, feature: dict[str, Any], batches: Iterable[np.ndarray]) -> Self:
        """Fit on uint8 [n,H,W] (grey) or [n,H,W,3], rows of train alone.

        Mean and variance come from exact integer sums, so that they are the same on every machine.
        A channel of one single value is centred and not stretched.
        """
        counts = np.zeros((feature["channels"], 256), np.int64)
        for batch in batches:
            for channel, plane in enumerate(np.moveaxis(_with_channels(batch), 3, 0)):
                counts[channel] += np.bincount(plane.ravel(), minlength=256)
        scale, bias = [], []
        for numbers in counts.tolist():
            total, first, second = (
                sum(count * value**power for value, count in enumerate(numbers))
                for power in (0, 1, 2)
            )
            mean = first / total
            variance = (second * total - first * first) / total**2
            std = variance**0.5 if variance > 0 else 255.0
            scale.append(1 / std)
            bias.append(-mean / std)
        return cls(feature["name"], feature["height"], feature["width"], tuple(scale), tuple(bias))

    @property
    def shape(self) -> tuple[int, int, int]:
        """(C, H, W) of one row as the network sees it."""
        return len(self.scale), self.height, self.width

    def transform(self, pixels: np.ndarray) -> np.ndarray:
        """Scale uint8 [N,H,W] (grey) or [N,H,W,3] to float32 [N,C,H,W]."""
        image_nchw = _with_channels(pixels).transpose(0, 3, 1, 2).astype(np.float32, order="C")
        image_nchw *= _per_channel(self.scale)
        image_nchw += _per_channel(self.bias)
        return image_nchw

    def add_to(self, graph: Nodes) -> str:
        """The same as nodes; their input is named as the feature."""
        colour = () if len(self.scale) == 1 else (len(self.scale),)
        pixels = graph.input(self.name, np.uint8, self.height, self.width, *colour)
        planes = (
            graph.add("Transpose", pixels, perm=[0, 3, 1, 2]) if colour else graph.as_column(pixels)
        )
        scaled = graph.add(
            "Mul", graph.cast(planes, np.float32), graph.constant(_per_channel(self.scale))
        )
        return graph.add("Add", scaled, graph.constant(_per_channel(self.bias)))


def _with_channels(image: np.ndarray) -> np.ndarray:
    """[N,H,W] or [N,H,W,C] as [N,H,W,C]."""
    assert image.dtype == np.uint8, image.dtype
    return image[..., np.newaxis] if image.ndim == 3 else image


def _per_channel(values: tuple[float, ...]) -> np.ndarray:
    return np.array(values, dtype=np.float32).reshape(-1, 1, 1)
