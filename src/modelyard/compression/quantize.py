"""The exported graph in lower precision: fp16, and int8 in the form that suits the network.

Each function takes features-to-outputs graphs (see ``export``) and leaves its argument as it is.
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
    from onnx import ModelProto, NodeProto

CALIBRATION_BATCH = 32
DENSE = ("Gemm", "MatMul")
LOOKUP = "Gather"
_MOVES = ("Slice", "Gather", "Reshape", "Flatten", "Squeeze", "Unsqueeze", "Split", "Identity")
"""Operators whose output holds values of their input as they were."""


def has_convolutions(model: "ModelProto") -> bool:
    """Whether the graph holds a convolution."""
    return any(node.op_type in ("Conv", "ConvTranspose") for node in model.graph.node)


def to_fp16(model: "ModelProto") -> "ModelProto":
    """Weights and arithmetic in float16; input and output stay float32.

    So do places of categories on their way from the input to a table: float16 counts to 2,048.
    """
    from onnxruntime.transformers import float16

    with _quiet():
        half = float16.convert_float_to_float16(
            _copy(model),
            keep_io_types=True,
        )
    _keep_places(half, model)
    _sort_nodes(half)
    return stripped(half)


def to_int8_static(model: "ModelProto", features: np.ndarray) -> "ModelProto":
    """Weights and activations in int8, ranges fixed by calibration (QDQ), for convolutions.

    Activations are uint8 and weights int8 per output channel: other pairs miss the VNNI kernels of
    ONNX Runtime.

    Args:
        model: The fp32 graph.
        features: float32 [R, *input_shape], calibration rows of the train split.
    """
    from onnxruntime import quantization

    def run(target: str) -> None:
        quantization.quantize_static(
            _copy(model),
            target,
            _reader(model.graph.input[0].name, features),
            quant_format=quantization.QuantFormat.QDQ,
            activation_type=quantization.QuantType.QUInt8,
            weight_type=quantization.QuantType.QInt8,
            per_channel=True,
        )

    return _quantized(run)


def to_int8_dynamic(model: "ModelProto") -> "ModelProto":
    """Weights of dense layers in int8 per channel, their inputs quantized as they come.

    Tables of vectors are in int8, too. Other operators are left out: ONNX Runtime's dynamic
    convolutions are several times slower than float32. The inputs of a batch share their scale, so
    an answer varies with its neighbours, by less than the rounding itself.
    """
    from onnxruntime import quantization

    def run(target: str) -> None:
        quantization.quantize_dynamic(
            _copy(model),
            target,
            op_types_to_quantize=[*DENSE, LOOKUP],
            per_channel=True,
            weight_type=quantization.QuantType.QInt8,
            nodes_to_exclude=_without_table(model),
        )

    return _quantized(run)


def _without_table(model: "ModelProto") -> list[str]:
    """Names of the look-ups in anything but a constant table of float32 vectors."""
    from onnx import TensorProto

    tables = {
        item.name
        for item in model.graph.initializer
        if item.data_type == TensorProto.FLOAT and len(item.dims) == 2
    }
    return [
        node.name
        for node in model.graph.node
        if node.op_type == LOOKUP and node.input[0] not in tables
    ]


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


def _keep_places(half: "ModelProto", model: "ModelProto") -> None:
    """Let integers that the network reads from its input come from the float32 input itself.

    Args:
        half: The converted model, which is changed.
        model: What it was made of.
    """
    from onnx import TensorProto

    made = {name: node for node in model.graph.node for name in node.output}
    inputs = {item.name for item in model.graph.input}
    copies: dict[str, NodeProto] = {}

    def exact(tensor: str) -> str | None:
        """The tensor as float32 in ``half``, or None where it is more than moved input."""
        if tensor in inputs:
            return tensor
        node = made.get(tensor)
        if node is None or node.op_type not in _MOVES:
            return None
        source = exact(node.input[0])
        if source is None:
            return None
        copy = type(node).FromString(node.SerializeToString())
        copy.name, copy.input[0] = f"{node.name}_exact", source
        copy.output[:] = [f"{name}_exact" for name in node.output]
        copies[node.name] = copy
        return f"{tensor}_exact"

    for node in half.graph.node:
        targets = [item.i for item in node.attribute if item.name == "to"]
        if node.op_type == "Cast" and targets in ([TensorProto.INT64], [TensorProto.INT32]):
            node.input[0] = exact(node.input[0]) or node.input[0]
    half.graph.node.extend(copies.values())
    _drop_unread(half)


def _drop_unread(model: "ModelProto") -> None:
    """Remove the nodes whose outputs nobody reads."""
    graph = model.graph
    while True:
        read = {name for node in graph.node for name in node.input}
        read |= {item.name for item in graph.output}
        unread = [node for node in graph.node if read.isdisjoint(node.output)]
        if not unread:
            return
        for node in unread:
            graph.node.remove(node)


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
