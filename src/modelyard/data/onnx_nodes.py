"""A small graph of ONNX nodes, built up node by node."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import onnx

ML, MICROSOFT = "ai.onnx.ml", "com.microsoft"
_VERSIONS = {ML: 3, MICROSOFT: 1}


class Nodes:
    """Inputs, constants and nodes of a graph; tensors in it are named in the order of making."""

    def __init__(self, prefix: str = "preprocess") -> None:
        self._prefix = prefix
        self._inputs: list[onnx.ValueInfoProto] = []
        self._constants: list[onnx.TensorProto] = []
        self._nodes: list[onnx.NodeProto] = []
        self._domains: set[str] = set()

    def input(self, name: str, kind: type, *shape: int) -> str:
        """An input of rows of ``shape``; ``kind`` is a numpy type, or str."""
        from onnx import TensorProto, helper

        element = (
            TensorProto.STRING if kind is str else helper.np_dtype_to_tensor_dtype(np.dtype(kind))
        )
        self._inputs.append(helper.make_tensor_value_info(name, element, ["batch", *shape]))
        return name

    def constant(self, value: np.ndarray) -> str:
        """A tensor that is part of the graph."""
        from onnx import numpy_helper

        name = f"{self._prefix}/constant_{len(self._constants)}"
        self._constants.append(numpy_helper.from_array(value, name))
        return name

    def add(self, operator: str, *inputs: str, domain: str = "", **attributes: Any) -> str:
        """A node with one output, whose name is returned."""
        from onnx import helper

        self._domains.add(domain)
        name = f"{self._prefix}/{operator.lower()}_{len(self._nodes)}"
        self._nodes.append(
            helper.make_node(operator, list(inputs), [name], name, domain=domain, **attributes)
        )
        return name

    def cast(self, tensor: str, kind: type) -> str:
        """The tensor as another numpy type."""
        from onnx import helper

        return self.add("Cast", tensor, to=helper.np_dtype_to_tensor_dtype(np.dtype(kind)))

    def as_column(self, tensor: str) -> str:
        """[batch] as [batch, 1]."""
        return self.add("Unsqueeze", tensor, self.constant(np.array([1], np.int64)))

    def side_by_side(self, tensors: Sequence[str]) -> str:
        """[batch, a], [batch, b], ... as [batch, a + b + ...]."""
        return self.add("Concat", *tensors, axis=1) if len(tensors) > 1 else tensors[0]

    def for_each_text(self, texts: str, width: int, make: "Callable[[Nodes, str], str]") -> str:
        """Float32 [batch, width]: for each of texts [batch] in turn, what ``make`` adds for it.

        ``make`` is given a graph of its own and the one text, [1], and gives [1, width].
        """
        from onnx import TensorProto, helper

        inner = Nodes(f"{self._prefix}/text_{len(self._nodes)}")
        text, row = f"{inner._prefix}/input", f"{inner._prefix}/output"
        made = make(inner, inner.add("Unsqueeze", text, inner.constant(np.zeros(1, np.int64))))
        shape = inner.constant(np.array([width], np.int64))
        inner._nodes.append(helper.make_node("Reshape", [made, shape], [row], row))
        body = helper.make_graph(
            inner._nodes,
            inner._prefix,
            [helper.make_tensor_value_info(text, TensorProto.STRING, [])],
            [helper.make_tensor_value_info(row, TensorProto.FLOAT, [width])],
            inner._constants,
        )
        self._domains |= inner._domains
        return self.add("Scan", texts, num_scan_inputs=1, body=body)

    def model(
        self, result: str, name: str, shape: Sequence[int], opset: int, ir_version: int
    ) -> "onnx.ModelProto":
        """The checked model with one float32 output ``name`` [batch, *shape], ``result``."""
        from onnx import TensorProto, checker, helper

        self._nodes.append(helper.make_node("Identity", [result], [name], f"{self._prefix}/output"))
        graph = helper.make_graph(
            self._nodes,
            "preprocessing",
            self._inputs,
            [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", *shape])],
            self._constants,
        )
        domains = {"": opset} | {key: _VERSIONS[key] for key in sorted(self._domains - {""})}
        model = helper.make_model(
            graph,
            opset_imports=[helper.make_opsetid(*pair) for pair in domains.items()],
            ir_version=ir_version,
        )
        checker.check_model(model)
        return model
