"""What is fitted on train alone, once, and used twice: in training and in the served graph.

An image's channel becomes ``x * scale + bias`` with scale = 1 / (255 std) and bias = -mean / std,
that is ``(x / 255 - mean) / std``. Axes: N rows, C channels, H height, W width.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from modelyard.artifacts import read_json, write_json

if TYPE_CHECKING:
    import onnx

INPUT = "image"
OUTPUT = "features"
_BLOCK_ROWS = 4096


@dataclass(frozen=True)
class Preprocessing:
    """Fitted scaling of an image.

    ``scale`` and ``bias`` have one value a channel, for pixels from 0 to 255.
    """

    height: int
    width: int
    scale: tuple[float, ...]
    bias: tuple[float, ...]

    @classmethod
    def fit(cls, features: dict[str, np.ndarray]) -> Self:
        """Fit on ``features["image"]``, uint8 [N,H,W] (grey) or [N,H,W,3], rows of train alone.

        Mean and variance come from exact integer sums, so that they are the same on every machine.
        A channel of one single value is centred and not stretched.
        """
        image_nhwc = _with_channels(features[INPUT])
        scale, bias = [], []
        for channel in range(image_nhwc.shape[3]):
            counts = _histogram(image_nhwc[..., channel])
            total, first, second = (
                sum(count * value**power for value, count in enumerate(counts))
                for power in (0, 1, 2)
            )
            mean = first / total
            variance = (second * total - first * first) / total**2
            std = variance**0.5 if variance > 0 else 255.0
            scale.append(1 / std)
            bias.append(-mean / std)
        return cls(image_nhwc.shape[1], image_nhwc.shape[2], tuple(scale), tuple(bias))

    @classmethod
    def read(cls, path: Path) -> Self:
        """Read what ``write`` wrote."""
        tree = read_json(path)
        return cls(tree["height"], tree["width"], tuple(tree["scale"]), tuple(tree["bias"]))

    def write(self, path: Path) -> None:
        """Write ``preprocessing.json``."""
        tree: dict[str, Any] = {"kind": "image", "height": self.height, "width": self.width}
        write_json(path, tree | {"scale": list(self.scale), "bias": list(self.bias)})

    @property
    def channels(self) -> int:
        """1 (grey) or 3."""
        return len(self.scale)

    @property
    def input_shape(self) -> tuple[int, int, int]:
        """(C, H, W) of one row as the network sees it."""
        return self.channels, self.height, self.width

    def transform(self, rows: dict[str, np.ndarray]) -> np.ndarray:
        """Scale ``rows["image"]``, uint8 [N,H,W] (grey) or [N,H,W,3], to float32 [N,C,H,W]."""
        image_nchw = _with_channels(rows[INPUT]).transpose(0, 3, 1, 2).astype(np.float32, order="C")
        image_nchw *= _per_channel(self.scale)
        image_nchw += _per_channel(self.bias)
        return image_nchw

    def onnx_model(self, opset: int, ir_version: int) -> "onnx.ModelProto":
        """The same as ``transform`` as a graph.

        Input ``image`` is uint8 [batch,H,W] (grey) or [batch,H,W,3], output ``features`` float32
        [batch,C,H,W].
        """
        from onnx import TensorProto, checker, helper, numpy_helper

        grey = self.channels == 1
        given = ["batch", self.height, self.width] + ([] if grey else [self.channels])
        constants = [
            numpy_helper.from_array(_per_channel(self.scale), "preprocess_scale"),
            numpy_helper.from_array(_per_channel(self.bias), "preprocess_bias"),
        ]
        if grey:
            constants.append(numpy_helper.from_array(np.array([1], np.int64), "preprocess_axes"))
            first = helper.make_node(
                "Unsqueeze", [INPUT, "preprocess_axes"], ["preprocess_planes"], "preprocess_axis"
            )
        else:
            first = helper.make_node(
                "Transpose", [INPUT], ["preprocess_planes"], "preprocess_axis", perm=[0, 3, 1, 2]
            )
        nodes = [
            first,
            helper.make_node(
                "Cast",
                ["preprocess_planes"],
                ["preprocess_float"],
                "preprocess_cast",
                to=TensorProto.FLOAT,
            ),
            helper.make_node(
                "Mul",
                ["preprocess_float", "preprocess_scale"],
                ["preprocess_scaled"],
                "preprocess_mul",
            ),
            helper.make_node(
                "Add", ["preprocess_scaled", "preprocess_bias"], [OUTPUT], "preprocess_add"
            ),
        ]
        graph = helper.make_graph(
            nodes,
            "preprocessing",
            [helper.make_tensor_value_info(INPUT, TensorProto.UINT8, given)],
            [
                helper.make_tensor_value_info(
                    OUTPUT, TensorProto.FLOAT, ["batch", *self.input_shape]
                )
            ],
            constants,
        )
        model = helper.make_model(
            graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=ir_version
        )
        checker.check_model(model)
        return model


def _with_channels(image: np.ndarray) -> np.ndarray:
    """[N,H,W] or [N,H,W,C] as [N,H,W,C]."""
    assert image.dtype == np.uint8, image.dtype
    return image[..., np.newaxis] if image.ndim == 3 else image


def _histogram(image_nhw: np.ndarray) -> list[int]:
    """How often each value from 0 to 255 occurs.

    In blocks, since bincount copies its input to int64.
    """
    counts = np.zeros(256, np.int64)
    for start in range(0, len(image_nhw), _BLOCK_ROWS):
        block = image_nhw[start : start + _BLOCK_ROWS].ravel()
        counts += np.bincount(block, minlength=256)
    return counts.tolist()


def _per_channel(values: tuple[float, ...]) -> np.ndarray:
    return np.array(values, dtype=np.float32).reshape(-1, 1, 1)
