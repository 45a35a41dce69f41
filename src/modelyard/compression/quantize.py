"""The exported graph in lower precision: fp16, and int8 in the form that suits the network.

Each function takes features-to-probabilities graphs (see ``export``) and leaves its argument as it
is.
"""

import logging
import tempfile
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from modelyard.compression.onnx_file import stripped

if TYPE_CHECKING:
    from onnx import ModelProto

CALIBRATION_BATCH = 32
DENSE = ("Gemm", "MatMul")


def has_convolutions(model: "ModelProto") -> bool:
    """Whether the graph holds a convolution."""
    return any(node.op_type in ("Conv", "ConvTranspose") for node in model.graph.node)


def to_fp16(model: "ModelProto") -> "ModelProto":
    """Weights and arithmetic in float16; input, softmax and output stay float32."""
    from onnxruntime.transformers import float16

    with _quiet():
        half = float16.convert_float_to_float16(
            _copy(model),
            keep_io_types=True,
            op_block_list=[*float16.DEFAULT_OP_BLOCK_LIST, "Softmax"],
        )
    _sort_nodes(half)
    return stripped(half)


def to_int8_static(model: "ModelProto", features: np.ndarray) -> "ModelProto":
    """Weights and activations in int8, ranges fixed by calibration (QDQ), for convolutions.

    Activations are uint8 and weights int8 per output channel: other pairs miss the VNNI kernels of
    ONNX Runtime. The softmax stays float32, so that probabilities are not rounded to 256 steps.

    Args:
        model: The fp32 graph.
        features: float32 [R, C, H, W], calibration rows of the train split.
    """
    from onnxruntime import quantization

    softmax = [node.name for node in model.graph.node if node.op_type == "Softmax"]

    def run(target: str) -> None:
        quantization.quantize_static(
            _copy(model),
            target,
            _reader(model.graph.input[0].name, features),
            quant_format=quantization.QuantFormat.QDQ,
            activation_type=quantization.QuantType.QUInt8,
            weight_type=quantization.QuantType.QInt8,
            per_channel=True,
            nodes_to_exclude=softmax,
        )

    return _quantized(run)


def to_int8_dynamic(model: "ModelProto") -> "ModelProto":
    """Weights of dense layers in int8 per channel, their inputs quantized as they come.

    Other operators are left out: ONNX Runtime's dynamic convolutions are several times slower than
    float32. The inputs of a batch share their scale, so an answer varies with its neighbours, by
    less than the rounding itself.
    """
    from onnxruntime import quantization

    def run(target: str) -> None:
        quantization.quantize_dynamic(
            _copy(model),
            target,
            op_types_to_quantize=list(DENSE),
            per_channel=True,
            weight_type=quantization.QuantType.QInt8,
        )

    return _quantized(run)


def _quantized(run: Callable[[str], None]) -> "ModelProto":
    """What ``run`` writes to the file that it is given; the quantizers know no other way out."""
    import onnx

    with tempfile.TemporaryDirectory(prefix="modelyard-") as folder, _quiet():
        target = Path(folder) / "model.onnx"
        run(str(target))
        return stripped(onnx.load(target))


def _reader(name: str, features: np.ndarray) -> Any:
    from onnxruntime.quantization import CalibrationDataReader

    class Reader(CalibrationDataReader):
        """Hands out the calibration rows batch by batch."""

        def __init__(self) -> None:
            starts = range(0, len(features), CALIBRATION_BATCH)
            self._batches = iter([features[start : start + CALIBRATION_BATCH] for start in starts])

        def get_next(self) -> Any:
            batch = next(self._batches, None)
            return None if batch is None else {name: batch}

    return Reader()


def _sort_nodes(model: "ModelProto") -> None:
    """Put each node after those that it reads from: the converter adds its casts at the end."""
    graph = model.graph
    known = {item.name for item in (*graph.input, *graph.initializer)} | {""}
    waiting, ordered = list(graph.node), []
    while waiting:
        ready = next(node for node in waiting if known.issuperset(node.input))
        waiting.remove(ready)
        known.update(ready.output)
        ordered.append(ready)
    del graph.node[:]
    graph.node.extend(ordered)


def _copy(model: "ModelProto") -> "ModelProto":
    copy = type(model)()
    copy.CopyFrom(model)
    return copy


@contextmanager
def _quiet() -> Iterator[None]:
    """Hold back the quantizers' advice, which they give by the root logger, and fp16's warnings.

    A root logger without handlers would get one on stderr with the first such record.
    """

    def keep(record: logging.LogRecord) -> bool:
        return record.levelno >= logging.ERROR or "onnxruntime" not in record.pathname

    root, nowhere = logging.getLogger(), logging.NullHandler()
    root.addFilter(keep)
    root.addHandler(nowhere)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        root.removeHandler(nowhere)
        root.removeFilter(keep)
