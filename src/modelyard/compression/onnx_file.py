"""ONNX files as bytes that depend on the model alone, joining of graphs, and answers of a file.

Exporters write where and by whom a file was made into it: stack traces with absolute source paths,
versions, names of symbols. All of that is removed, so that equal models are equal bytes in every
clone.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from onnx import GraphProto, ModelProto

PRODUCER = "modelyard"
BATCH_AXIS = "batch"
RUN_BATCH = 256


def stripped(model: "ModelProto") -> "ModelProto":
    """The model without anything that does not change its answers, its first axis named ``batch``.

    Drops metadata, documentation, producer and inferred shapes (``graph.value_info``) everywhere,
    nested graphs and functions included.

    Args:
        model: Any; it is changed in place and returned.
    """
    model.producer_name = PRODUCER
    for name in ("producer_version", "domain", "model_version", "doc_string", "metadata_props"):
        model.ClearField(name)
    _strip_graph(model.graph)
    for function in model.functions:
        for name in ("doc_string", "metadata_props", "value_info"):
            function.ClearField(name)
        _strip_nodes(function.node)
    for value in (*model.graph.input, *model.graph.output):
        value.type.tensor_type.shape.dim[0].dim_param = BATCH_AXIS
    return model


def joined(first: "ModelProto", second: "ModelProto", tensor: str) -> "ModelProto":
    """One model that gives what ``second`` makes of ``first``'s output.

    Args:
        first: Has an output named ``tensor``.
        second: Has an input named ``tensor``, the same opset and IR version.
        tensor: The name that they meet at.
    """
    import onnx.compose

    # A column may have the name of any tensor within a network.
    second = onnx.compose.add_prefix(
        second, f"{tensor}/", rename_inputs=False, rename_outputs=False
    )
    model = onnx.compose.merge_models(first, second, io_map=[(tensor, tensor)])
    model.graph.name = "model"
    return stripped(model)


def save(model: "ModelProto", path: Path) -> None:
    """Check the model and write it, byte-identical for equal models."""
    import onnx

    onnx.checker.check_model(model)
    path.write_bytes(model.SerializeToString(deterministic=True))


def answer(path: Path, feed: dict[str, np.ndarray]) -> np.ndarray:
    """What an ONNX file answers to raw rows, float32 [N, K], on one thread.

    Args:
        path: A model with one output.
        feed: Raw columns by input name, [N, ...] each.
    """
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session: Any = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    rows = len(next(iter(feed.values())))
    parts = [
        session.run(
            None, {name: rows_of[start : start + RUN_BATCH] for name, rows_of in feed.items()}
        )[0]
        for start in range(0, rows, RUN_BATCH)
    ]
    return np.concatenate(parts)


def _strip_graph(graph: "GraphProto") -> None:
    for name in ("doc_string", "metadata_props", "value_info"):
        graph.ClearField(name)
    for item in (*graph.input, *graph.output, *graph.initializer):
        item.ClearField("doc_string")
        item.ClearField("metadata_props")
    _strip_nodes(graph.node)


def _strip_nodes(nodes: Any) -> None:
    for node in nodes:
        node.ClearField("doc_string")
        node.ClearField("metadata_props")
        for attribute in node.attribute:
            attribute.ClearField("doc_string")
            if attribute.HasField("g"):
                _strip_graph(attribute.g)
            for graph in attribute.graphs:
                _strip_graph(graph)
