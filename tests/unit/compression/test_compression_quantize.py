"""Lower precision: what the graphs hold, how far answers move, and that nothing is left behind."""

import logging
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto, numpy_helper
from torch import nn

from modelyard.compression import blockwise, quantize
from modelyard.compression.export import export
from modelyard.evaluation.tasks import to_answers
from modelyard.models.embedded import Embedded


def _answer(model: onnx.ModelProto, features: np.ndarray) -> np.ndarray:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(model.SerializeToString(), options)
    outputs = np.asarray(session.run(None, {"features": features})[0])
    return to_answers("classification", outputs, None)


def _types(model: onnx.ModelProto) -> set[int]:
    return {item.data_type for item in model.graph.initializer}


def _int8(features: np.ndarray) -> Callable[[onnx.ModelProto], onnx.ModelProto]:
    return lambda model: quantize.to_int8_static(model, features)


def test_fp16_halves_the_file_and_keeps_the_interface(
    cnn_graph: onnx.ModelProto, features: np.ndarray
) -> None:
    half = quantize.to_fp16(cnn_graph)
    onnx.checker.check_model(half, full_check=True)
    assert half.ByteSize() < 0.6 * cnn_graph.ByteSize()
    elements = [
        value.type.tensor_type.elem_type for value in (half.graph.input[0], half.graph.output[0])
    ]
    assert elements == [TensorProto.FLOAT, TensorProto.FLOAT]
    assert TensorProto.FLOAT not in _types(half)
    assert np.allclose(_answer(half, features), _answer(cnn_graph, features), atol=5e-3)


def test_static_int8_has_the_quick_types(cnn_graph: onnx.ModelProto, features: np.ndarray) -> None:
    static = quantize.to_int8_static(cnn_graph, features)
    onnx.checker.check_model(static)
    assert static.ByteSize() < 0.5 * cnn_graph.ByteSize()
    constants = {item.name: item for item in static.graph.initializer}
    produced = {name: node for node in static.graph.node for name in node.output}
    for node in static.graph.node:
        if node.op_type == "Conv":
            weights = constants[produced[node.input[1]].input[0]]
            scales = numpy_helper.to_array(constants[produced[node.input[1]].input[1]])
            activations = constants[produced[node.input[0]].input[2]]
            assert weights.data_type == TensorProto.INT8
            assert scales.size == weights.dims[0]
            assert activations.data_type == TensorProto.UINT8
    assert np.allclose(_answer(static, features), _answer(cnn_graph, features), atol=0.05)


def test_static_int8_depends_on_the_calibration_rows(
    cnn_graph: onnx.ModelProto, features: np.ndarray
) -> None:
    wide = quantize.to_int8_static(cnn_graph, features * 10)
    usual = quantize.to_int8_static(cnn_graph, features)
    assert wide.SerializeToString() != usual.SerializeToString()


def test_dynamic_int8_is_for_dense_layers(
    mlp_graph: onnx.ModelProto, cnn_graph: onnx.ModelProto, features: np.ndarray
) -> None:
    dynamic = quantize.to_int8_dynamic(mlp_graph)
    assert dynamic.ByteSize() < 0.4 * mlp_graph.ByteSize()
    assert np.allclose(_answer(dynamic, features), _answer(mlp_graph, features), atol=0.05)
    kinds = {node.op_type for node in quantize.to_int8_dynamic(cnn_graph).graph.node}
    assert "Conv" in kinds
    assert "ConvInteger" not in kinds


@pytest.fixture(scope="module")
def embedded_graph() -> onnx.ModelProto:
    """Two columns of numbers, then the places of two categories, one of 5,000."""
    torch.manual_seed(3)
    network = nn.Sequential(nn.Linear(2 + 4 + 8, 16), nn.ReLU(), nn.Linear(16, 3))
    embedded = Embedded(network, [(5000, 4), (60, 8)])
    for table in embedded.embeddings:
        nn.init.normal_(table.weight)  # pyright: ignore[reportArgumentType]
    return export(embedded.eval(), (4,))


@pytest.fixture(scope="module")
def places() -> np.ndarray:
    generator = np.random.default_rng(0)
    rows = generator.normal(size=(300, 4)).astype(np.float32)
    rows[:, 2], rows[:, 3] = np.linspace(0, 4999, 300).round(), np.arange(300) % 60
    return rows


@pytest.mark.parametrize("name", ["fp16", "dynamic"])
def test_places_of_categories_are_looked_up_exactly(
    name: str, embedded_graph: onnx.ModelProto, places: np.ndarray
) -> None:
    """float16 knows no 2,049: a place that passes through it is another's."""
    build = {"fp16": quantize.to_fp16, "dynamic": quantize.to_int8_dynamic}[name]
    small = build(embedded_graph)
    onnx.checker.check_model(small)
    assert small.ByteSize() < {"fp16": 0.6, "dynamic": 0.4}[name] * embedded_graph.ByteSize()
    assert np.allclose(_answer(small, places), _answer(embedded_graph, places), atol=0.02)


def test_blockwise_answers_do_not_depend_on_neighbours(
    cnn_graph: onnx.ModelProto, features: np.ndarray
) -> None:
    model = blockwise.to_int8_blockwise(cnn_graph)
    assert blockwise.has_dense_layers(cnn_graph)
    assert not blockwise.has_dense_layers(model)
    assert model.ByteSize() < 0.5 * cnn_graph.ByteSize()
    loud = np.concatenate([features[:1], features[1:] * 100])
    alone, together = _answer(model, features[:1]), _answer(model, loud)[:1]
    assert np.allclose(alone, together, atol=1e-6)
    assert np.allclose(_answer(model, features), _answer(cnn_graph, features), atol=0.02)


@given(st.integers(1, 6), st.integers(1, 300), st.integers(0, 2**32 - 1), st.booleans())
def test_block_codes_are_within_half_a_step(
    rows: int, columns: int, seed: int, zeros: bool
) -> None:
    weights = np.random.default_rng(seed).normal(size=(rows, columns)).astype(np.float32)
    if zeros:
        weights[0] = 0
    codes, scales = blockwise._encode(weights)
    assert codes.shape == (rows, -(-columns // blockwise.BLOCK), blockwise.BLOCK)
    decoded = (codes.astype(np.float32) - 128) * scales[..., None]
    decoded = decoded.reshape(rows, -1)
    assert (decoded[:, columns:] == 0).all()
    steps = np.repeat(scales, blockwise.BLOCK, axis=1)[:, :columns]
    assert (np.abs(decoded[:, :columns] - weights) <= steps * 0.5001).all()


@pytest.mark.parametrize("name", ["fp16", "static", "dynamic", "blockwise"])
def test_quantizers_are_quiet_repeatable_and_leave_no_trace(
    name: str,
    cnn_graph: onnx.ModelProto,
    features: np.ndarray,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    build = {
        "fp16": quantize.to_fp16,
        "static": _int8(features),
        "dynamic": quantize.to_int8_dynamic,
        "blockwise": blockwise.to_int8_blockwise,
    }[name]
    monkeypatch.chdir(tmp_path)
    before = cnn_graph.SerializeToString(deterministic=True)
    handlers = list(logging.getLogger().handlers)
    first = build(cnn_graph).SerializeToString(deterministic=True)
    assert build(cnn_graph).SerializeToString(deterministic=True) == first
    assert cnn_graph.SerializeToString(deterministic=True) == before
    assert list(tmp_path.iterdir()) == []
    assert str(tmp_path).encode() not in first
    assert [record for record in caplog.records if record.levelno >= logging.WARNING] == []
    assert logging.getLogger().handlers == handlers
    captured = capfd.readouterr()
    assert captured.out == captured.err == ""
