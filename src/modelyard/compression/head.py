"""The last step of the graph: a network's outputs as the task's answers, always in float32."""

from typing import TYPE_CHECKING

import numpy as np

from modelyard.compression.export import OUTPUT
from modelyard.data.preprocessing import Target

if TYPE_CHECKING:
    from onnx import ModelProto

ANSWERS = {
    "classification": "probabilities",
    "multi-label": "probabilities",
    "regression": "prediction",
}
"""The name of the served graph's output, by task."""


def head_model(
    task: str, target: Target | None, num_outputs: int, opset: int, ir_version: int
) -> "ModelProto":
    """The same as ``evaluation.tasks.to_answers`` as a graph.

    It stands apart from the network, so that no candidate rounds it: a price in float16 ends at
    65,504.

    Args:
        task: Of the dataset.
        target: How it was scaled, for regression.
        num_outputs: Classes, labels, or 1.
        opset: Of the network's graph.
        ir_version: Of the network's graph.

    Returns:
        A model from ``network_outputs`` float32 [batch, K] to ``probabilities`` float32 [batch, K],
        or to ``prediction`` float32 [batch, 1].
    """
    from onnx import TensorProto, helper, numpy_helper

    answer, constants = ANSWERS[task], []
    if task == "regression":
        assert target is not None
        constants = [
            numpy_helper.from_array(np.array(value, np.float32), name)
            for name, value in (("head_std", target.std), ("head_mean", target.mean))
        ]
        nodes = [
            helper.make_node("Mul", [OUTPUT, "head_std"], ["head_scaled"], "head_mul"),
            helper.make_node("Add", ["head_scaled", "head_mean"], [answer], "head_add"),
        ]
    elif task == "multi-label":
        nodes = [helper.make_node("Sigmoid", [OUTPUT], [answer], "head_sigmoid")]
    else:
        nodes = [helper.make_node("Softmax", [OUTPUT], [answer], "head_softmax", axis=1)]
    shape = ["batch", num_outputs]
    graph = helper.make_graph(
        nodes,
        "head",
        [helper.make_tensor_value_info(OUTPUT, TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info(answer, TensorProto.FLOAT, shape)],
        constants,
    )
    opsets = [helper.make_opsetid("", opset)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=ir_version)
