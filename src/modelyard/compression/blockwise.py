"""Dense layers with 8-bit weights in blocks, everything else in float32.

ONNX Runtime's ``MatMulNBits`` takes products of int8: weights have a scale each block of ``BLOCK``
inputs, and each row of activations is quantized block by block as it comes. So, unlike with dynamic
quantization over a whole tensor, an answer does not depend on the rows that share its batch.
"""

from typing import TYPE_CHECKING, Any

import numpy as np

from modelyard.compression.onnx_file import stripped

if TYPE_CHECKING:
    from onnx import ModelProto, NodeProto, TensorProto

# Axes: n outputs, k inputs, b blocks.

BLOCK = 128
DOMAIN = "com.microsoft"
INT8_COMPUTE = 4
"""``accuracy_level`` of MatMulNBits: activations may be quantized to int8."""
ZERO_POINT = 128
"""What MatMulNBits takes for zero in 8 bits when it is not told."""


def to_int8_blockwise(model: "ModelProto") -> "ModelProto":
    """The model with the weights of its dense layers in 8 bits.

    Args:
        model: The fp32 graph; it is left as it is.
    """
    from onnx import helper

    result = type(model)()
    result.CopyFrom(model)
    graph = result.graph
    constants = {item.name: item for item in graph.initializer}
    nodes = []
    for node in graph.node:
        if (weights := _weights(node, constants)) is None:
            nodes.append(node)
            continue
        codes, scales, product = _replacement(node, weights)
        graph.initializer.extend([codes, scales])
        nodes += product
    _replace(graph.node, nodes)
    read = {name for node in nodes for name in node.input}
    _replace(graph.initializer, [item for item in graph.initializer if item.name in read])
    result.opset_import.append(helper.make_opsetid(DOMAIN, 1))
    return stripped(result)


def has_dense_layers(model: "ModelProto") -> bool:
    """Whether the graph holds a layer that ``to_int8_blockwise`` changes."""
    constants = {item.name: item for item in model.graph.initializer}
    return any(_weights(node, constants) is not None for node in model.graph.node)


def _weights(node: "NodeProto", constants: dict[str, "TensorProto"]) -> np.ndarray | None:
    """The weight matrix [n, k] of a dense layer, or None for any other node."""
    from onnx import numpy_helper

    if node.op_type not in ("Gemm", "MatMul") or node.input[1] not in constants:
        return None
    settings = {
        item.name: item.f if item.name in ("alpha", "beta") else item.i for item in node.attribute
    }
    if settings.get("alpha", 1) != 1 or settings.get("beta", 1) != 1 or settings.get("transA", 0):
        return None
    weights = numpy_helper.to_array(constants[node.input[1]])
    if weights.ndim != 2 or weights.dtype != np.float32:
        return None
    return weights if settings.get("transB", 0) else weights.T


def _replacement(
    node: "NodeProto", weights_nk: np.ndarray
) -> tuple["TensorProto", "TensorProto", list["NodeProto"]]:
    """Codes, scales, and the nodes that stand for the layer."""
    from onnx import helper, numpy_helper

    codes_nbk, scales_nb = _encode(weights_nk)
    codes = numpy_helper.from_array(codes_nbk, f"{node.name}_codes")
    scales = numpy_helper.from_array(scales_nb.ravel(), f"{node.name}_scales")
    bias = node.input[2] if len(node.input) > 2 else None
    product = helper.make_node(
        "MatMulNBits",
        [node.input[0], codes.name, scales.name],
        [f"{node.output[0]}_product" if bias else node.output[0]],
        f"{node.name}_product",
        domain=DOMAIN,
        N=weights_nk.shape[0],
        K=weights_nk.shape[1],
        bits=8,
        block_size=BLOCK,
        accuracy_level=INT8_COMPUTE,
    )
    if not bias:
        return codes, scales, [product]
    add = helper.make_node("Add", [product.output[0], bias], [node.output[0]], f"{node.name}_bias")
    return codes, scales, [product, add]


def _encode(weights_nk: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Codes uint8 [n, b, BLOCK] and scales float32 [n, b]; a weight is (code - 128) * scale."""
    rows, columns = weights_nk.shape
    padded = np.zeros((rows, -(-columns // BLOCK) * BLOCK), np.float32)
    padded[:, :columns] = weights_nk
    blocks = padded.reshape(rows, -1, BLOCK)
    scales = np.abs(blocks).max(axis=2) / np.float32(127)
    scales = np.where(scales > 0, scales, np.float32(1))
    codes = np.rint(blocks / scales[..., None]).astype(np.int16) + ZERO_POINT
    return codes.astype(np.uint8), scales


def _replace(field: Any, items: list[Any]) -> None:
    """Make ``items`` the content of a repeated field."""
    copies = [type(item).FromString(item.SerializeToString()) for item in items]
    del field[:]
    field.extend(copies)
