"""The export: the network's answers, any number of rows, and bytes that name nobody's folder."""

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from torch import nn

from modelyard.compression import onnx_file
from modelyard.compression.export import OUTPUT, export
from modelyard.compression.head import ANSWERS, head_model
from modelyard.data.prepare_image import Image
from modelyard.data.preprocessing import Preprocessing, Target
from modelyard.errors import ModelyardError
from modelyard.evaluation.predict import outputs, predict
from modelyard.evaluation.tasks import to_answers

SHAPE = (1, 12, 12)


def _answer(model: onnx.ModelProto, features: np.ndarray) -> np.ndarray:
    session = onnxruntime.InferenceSession(model.SerializeToString())
    return np.asarray(session.run(None, {model.graph.input[0].name: features})[0])


@pytest.mark.parametrize("rows", [1, 2, 7])
def test_any_number_of_rows_gives_the_networks_answers(
    cnn: nn.Module, cnn_graph: onnx.ModelProto, features: np.ndarray, rows: int
) -> None:
    answers = _answer(cnn_graph, features[:rows])
    assert answers.shape == (rows, 5)
    assert np.allclose(answers, outputs(cnn, features[:rows]), atol=1e-4)


def test_a_second_export_is_the_same_bytes_without_traces(
    cnn: nn.Module, cnn_graph: onnx.ModelProto, capfd: pytest.CaptureFixture[str]
) -> None:
    content = cnn_graph.SerializeToString(deterministic=True)
    assert export(cnn, SHAPE).SerializeToString(deterministic=True) == content
    for trace in (str(Path.cwd()), "conftest", "stack_trace", "pkg.torch", ".py", "site-packages"):
        assert trace.encode() not in content, trace
    for value in (cnn_graph.graph.input[0], cnn_graph.graph.output[0]):
        assert value.type.tensor_type.shape.dim[0].dim_param == "batch"
    captured = capfd.readouterr()
    assert captured.out == captured.err == ""


def test_stripping_reaches_nested_graphs_and_changes_no_answer() -> None:
    class Branching(nn.Module):
        def forward(self, features: torch.Tensor) -> torch.Tensor:
            flat = features.flatten(1)
            return torch.cond(
                flat.sum() > 0, lambda rows: rows[:, :3] * 2, lambda rows: rows[:, 3:6] + 1, (flat,)
            )

    graph = export(Branching(), SHAPE)
    assert any(node.op_type == "If" for node in graph.graph.node)
    content = graph.SerializeToString()
    assert b"stack_trace" not in content
    assert str(Path(__file__).parent).encode() not in content
    for features in (np.ones((2, *SHAPE), np.float32), -np.ones((2, *SHAPE), np.float32)):
        expected = Branching()(torch.from_numpy(features)).numpy()
        assert np.allclose(_answer(graph, features), expected, atol=1e-6)


def test_control_flow_over_values_is_refused_with_the_name() -> None:
    class Moody(nn.Module):
        def forward(self, features: torch.Tensor) -> torch.Tensor:
            flat = features.flatten(1)
            return flat[:, :3] if flat.sum() > 0 else flat[:, 3:6]

    with pytest.raises(ModelyardError, match="Moody cannot be exported to ONNX") as caught:
        export(Moody(), SHAPE)
    assert "control flow" in caught.value.remedy


def test_preprocessing_and_head_make_raw_rows_into_answers(
    cnn: nn.Module, cnn_graph: onnx.ModelProto, tmp_path: Path
) -> None:
    image = np.random.default_rng(0).integers(0, 256, (300, 12, 12), dtype=np.uint8)
    preprocessing = Preprocessing((Image("image", 12, 12, (0.01,), (-1.0,)),))
    front = preprocessing.onnx_model(20, cnn_graph.ir_version)
    head = head_model("classification", None, 5, 20, cnn_graph.ir_version)
    path = tmp_path / "model.onnx"
    graph = onnx_file.joined(front, cnn_graph, "features")
    onnx_file.save(onnx_file.joined(graph, head, OUTPUT), path)
    answers = onnx_file.answer(path, {"image": image})
    expected = predict(cnn, preprocessing, {"image": image}, "classification")
    assert answers.shape == (300, 5)
    assert np.allclose(answers, expected, atol=1e-5)
    model = onnx.load(path)
    assert [item.name for item in model.graph.input] == ["image"]
    assert [item.name for item in model.graph.output] == ["probabilities"]
    assert model.producer_name == "modelyard"
    assert not model.producer_version
    assert not model.graph.value_info


@pytest.mark.parametrize("task", list(ANSWERS))
def test_the_head_answers_as_the_evaluation_does(task: str) -> None:
    target = Target(250_000.0, 1e5, 2e5, 5e4) if task == "regression" else None
    width = 1 if target else 3
    head = head_model(task, target, width, 20, 10)
    onnx.checker.check_model(head)
    given = np.random.default_rng(0).normal(size=(20, width)).astype(np.float32) * 30
    assert head.graph.output[0].name == ANSWERS[task]
    assert np.allclose(_answer(head, given), to_answers(task, given, target), rtol=1e-5, atol=1e-6)
