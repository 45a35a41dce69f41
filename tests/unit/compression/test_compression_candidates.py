"""Which candidates a network has, and how a file is judged."""

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from modelyard.compression.candidates import Ingredients, Judged, candidates, judge
from modelyard.data.columns import SplitColumns
from modelyard.evaluation.tasks import Scoring


def test_a_network_with_convolutions_has_two_forms_of_int8(
    cnn_graph: onnx.ModelProto, mlp_graph: onnx.ModelProto, features: np.ndarray
) -> None:
    every = ("fp32", "fp16", "int8")
    convolutional = {item.name: item for item in candidates(every, cnn_graph)}
    dense = {item.name: item for item in candidates(every, mlp_graph)}
    assert list(convolutional) == ["fp32", "fp16", "int8", "int8-dense"]
    assert list(dense) == ["fp32", "fp16", "int8"]
    static = convolutional["int8"].build(Ingredients(cnn_graph, lambda: features))
    dynamic = dense["int8"].build(Ingredients(mlp_graph, _forbid))
    assert "QuantizeLinear" in {node.op_type for node in static.graph.node}
    assert "DynamicQuantizeLinear" in {node.op_type for node in dynamic.graph.node}


def test_only_what_is_asked_for(cnn_graph: onnx.ModelProto) -> None:
    names = [item.name for item in candidates(("fp32", "fp16"), cnn_graph)]
    assert names == ["fp32", "fp16"]


def _forbid() -> np.ndarray:
    raise AssertionError("calibration rows were read for nothing")


def _table(path: Path, answers: np.ndarray) -> Path:
    """A file that answers row i with ``answers[i]``: its input is the row's number."""
    graph = helper.make_graph(
        [helper.make_node("Gather", ["answers", "number"], ["probabilities"], axis=0)],
        "model",
        [helper.make_tensor_value_info("number", TensorProto.INT64, ["batch"])],
        [helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, ["batch", 2])],
        [numpy_helper.from_array(answers.astype(np.float32), "answers")],
    )
    opset = [helper.make_opsetid("", 20)]
    onnx.save(helper.make_model(graph, opset_imports=opset, ir_version=10), path)
    return path


def _judge(path: Path, answers: np.ndarray, max_drop: float) -> Judged:
    rows = len(answers)
    return judge(
        "int8",
        _table(path, answers),
        SplitColumns(np.arange(rows), {"number": np.arange(rows)}, np.zeros(rows, np.int64)),
        np.ones(rows),
        Scoring("classification", "accuracy"),
        max_drop,
        0.95,
    )


@pytest.mark.parametrize(
    ("wrong", "max_drop", "within"), [(0, 0.0, True), (2, 0.02, True), (3, 0.02, False)]
)
def test_the_budget_is_the_estimated_loss(
    tmp_path: Path, wrong: int, max_drop: float, within: bool
) -> None:
    answers = np.tile([0.9, 0.1], (100, 1))
    answers[:wrong] = [0.2, 0.8]
    judged = _judge(tmp_path / "model.onnx", answers, max_drop)
    assert judged.score == pytest.approx(1 - wrong / 100)
    assert judged.comparison.difference == pytest.approx(-wrong / 100)
    assert judged.comparison.low < judged.comparison.difference < judged.comparison.high
    assert judged.within_budget is within
    assert judged.size_bytes == (tmp_path / "model.onnx").stat().st_size


def test_answers_that_are_no_numbers_are_wrong(tmp_path: Path) -> None:
    answers = np.tile([0.9, 0.1], (50, 1))
    answers[0] = np.nan
    judged = _judge(tmp_path / "model.onnx", answers, 0.0)
    assert judged.score == pytest.approx(0.98)
    assert not judged.within_budget
