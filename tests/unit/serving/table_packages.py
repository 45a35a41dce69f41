"""Packages whose models take the columns of a table, a text or sound, for tests; built by hand.

The graphs do nothing clever: a score is a sum of what each input gives, so that a test can say
which answer is right.
"""

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
from onnx import TensorProto, helper, numpy_helper

from modelyard.artifacts import write_json
from modelyard.package import write_manifest

INPUTS: list[dict[str, Any]] = [
    {"name": "age", "type": "number", "dtype": "float64"},
    {"name": "visits", "type": "integer", "dtype": "float64", "required": True},
    {"name": "married", "type": "boolean", "dtype": "float64"},
    {"name": "since", "type": "date", "dtype": "float64"},
    {"name": "seen", "type": "datetime", "dtype": "float64"},
    {"name": "status", "type": "category", "dtype": "string"},
    {"name": "note", "type": "text", "dtype": "string"},
]
CODES = {"": 1.0, "good": 2.0, "bad": 3.0}
UNKNOWN = 5.0
ROW = {
    "age": 31.5,
    "visits": 2,
    "married": True,
    "since": "1970-01-11",
    "seen": "1970-01-01T00:01:40Z",
    "status": "good",
    "note": "bad",
}
TOTAL = 31.5 + 2 + 1 + 10 + 100 + 2 + 3
"""The sum of ROW: numbers as they are (a missing one counts -1), text by CODES."""
LABELS = {"classification": ["low", "high"], "multi-label": ["low", "high"], "regression": []}


def write_table_package(folder: Path, task: str = "classification") -> str:
    """Write a package of a model over ``INPUTS``; return its digest."""
    rows = [ROW, {"visits": 1}]
    inputs = [{**spec, "shape": [-1]} for spec in INPUTS]
    return write_any(folder, task, inputs, table_model(task), rows)


def write_audio_package(folder: Path, num_samples: int = 16) -> str:
    """Write a regression package whose prediction is the mean sample."""
    inputs = [
        {
            "name": "sound",
            "type": "audio",
            "dtype": "int16",
            "shape": [-1, num_samples],
            "sample_rate": 8000,
        }
    ]
    nodes = [
        helper.make_node("Cast", ["sound"], ["samples"], to=TensorProto.FLOAT),
        helper.make_node("ReduceMean", ["samples"], ["prediction"], axes=[1], keepdims=1),
    ]
    value = helper.make_tensor_value_info("sound", TensorProto.INT16, ["batch", num_samples])
    model = _model(nodes, [value], "regression", [], opset=17)
    return write_any(folder, "regression", inputs, model, [{"sound": [3] * num_samples}])


def write_text_package(folder: Path) -> str:
    """Write a classification package over one text."""
    nodes = [*_code("review"), *_outputs("review_column", "classification")]
    value = helper.make_tensor_value_info("review", TensorProto.STRING, ["batch"])
    inputs = [{"name": "review", "type": "text", "dtype": "string", "shape": [-1]}]
    model = _model(nodes, [value], "classification", _weights())
    return write_any(folder, "classification", inputs, model, [{"review": "good"}])


def write_any(
    folder: Path,
    task: str,
    inputs: list[dict[str, Any]],
    model: onnx.ModelProto,
    rows: list[dict[str, Any]],
) -> str:
    """Write a package around a model; its golden answers are asked of ONNX Runtime."""
    from modelyard.package.scalars import SCALARS, to_tensor

    folder.mkdir(parents=True)
    for name in ("model.onnx", "reference.onnx"):
        (folder / name).write_bytes(model.SerializeToString())
    feed: dict[str, np.ndarray] = {}
    for spec in inputs:
        dtype = object if spec["dtype"] == "string" else spec["dtype"]
        values = [row.get(spec["name"]) for row in rows]
        if spec["type"] in SCALARS:
            values = [to_tensor(spec["type"], value) for value in values]
        feed[spec["name"]] = np.array(values, dtype=dtype)
    output = "prediction" if task == "regression" else "probabilities"
    labels = LABELS[task]
    outputs = [{"name": output, "dtype": "float32", "shape": [-1, len(labels) or 1]}]
    schema = {"task": task, "inputs": inputs, "outputs": outputs, "target": "y"}
    options = ort.SessionOptions()
    options.log_severity_level = 3
    session = ort.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    answers = np.asarray(session.run(None, feed)[0])
    write_json(folder / "schema.json", schema)
    write_json(folder / "labels.json", labels)
    write_json(folder / "input_example.json", {"rows": rows[:1]})
    write_json(
        folder / "golden.json",
        {"atol": 1e-2, "requests": [{"rows": rows, output: answers.tolist()}]},
    )
    return write_manifest(folder)


def table_model(task: str) -> onnx.ModelProto:
    """A model over ``INPUTS``: the sum of ROW's docstring, and what the task makes of it."""
    nodes: list[onnx.NodeProto] = []
    values: list[onnx.ValueInfoProto] = []
    columns: list[str] = []
    for spec in INPUTS:
        name, text = spec["name"], spec["dtype"] == "string"
        kind = TensorProto.STRING if text else TensorProto.DOUBLE
        values.append(helper.make_tensor_value_info(name, kind, ["batch"]))
        nodes += _code(name) if text else _number(name)
        columns.append(f"{name}_column")
    nodes.append(helper.make_node("Concat", columns, ["row"], axis=1))
    nodes.append(helper.make_node("ReduceSum", ["row", "axis"], ["total"], keepdims=1))
    return _model([*nodes, *_outputs("total", task)], values, task, _weights())


def _number(name: str) -> list[onnx.NodeProto]:
    return [
        helper.make_node("Cast", [name], [f"{name}_float"], to=TensorProto.FLOAT),
        helper.make_node("IsNaN", [f"{name}_float"], [f"{name}_missing"]),
        helper.make_node("Where", [f"{name}_missing", "less", f"{name}_float"], [f"{name}_known"]),
        helper.make_node("Unsqueeze", [f"{name}_known", "axis"], [f"{name}_column"]),
    ]


def _code(name: str) -> list[onnx.NodeProto]:
    return [
        helper.make_node(
            "LabelEncoder",
            [name],
            [f"{name}_code"],
            domain="ai.onnx.ml",
            keys_strings=list(CODES),
            values_floats=list(CODES.values()),
            default_float=UNKNOWN,
        ),
        helper.make_node("Unsqueeze", [f"{name}_code", "axis"], [f"{name}_column"]),
    ]


def _outputs(total: str, task: str) -> list[onnx.NodeProto]:
    if task == "regression":
        return [helper.make_node("Identity", [total], ["prediction"])]
    last = "Sigmoid" if task == "multi-label" else "Softmax"
    return [
        helper.make_node("Gemm", [total, "weights", "bias"], ["logits"]),
        helper.make_node(last, ["logits"], ["probabilities"]),
    ]


def _weights() -> list[onnx.TensorProto]:
    return [
        numpy_helper.from_array(np.array([1], np.int64), "axis"),
        numpy_helper.from_array(np.array(-1, np.float32), "less"),
        numpy_helper.from_array(np.array([[0.02, 0.04]], np.float32), "weights"),
        numpy_helper.from_array(np.array([0.0, -1.0], np.float32), "bias"),
    ]


def _model(
    nodes: list[onnx.NodeProto],
    inputs: list[onnx.ValueInfoProto],
    task: str,
    constants: list[onnx.TensorProto],
    opset: int = 18,
) -> onnx.ModelProto:
    name = "prediction" if task == "regression" else "probabilities"
    output = helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", None])
    graph = helper.make_graph(nodes, "table", inputs, [output], constants)
    domains = [helper.make_opsetid("", opset), helper.make_opsetid("ai.onnx.ml", 4)]
    model = helper.make_model(graph, opset_imports=domains, ir_version=10)
    onnx.checker.check_model(model)
    return model
