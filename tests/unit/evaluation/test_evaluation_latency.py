"""Latencies are measured once a file and machine, and all of a comparison together."""

import json
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from modelyard.artifacts import sha256_file
from modelyard.evaluation import latency
from modelyard.evaluation.latency import Machine, measure_latency, read_measurement

ROWS = {"image": np.arange(5 * 16, dtype=np.uint8).reshape(5, 4, 4)}


@pytest.fixture(autouse=True)
def _short(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(latency, "ROUNDS", 2)
    monkeypatch.setattr(latency, "WARMUP_SECONDS", 0.0)
    monkeypatch.setattr(latency, "SLICE_SECONDS", 0.001)


def _file(path: Path, factor: float) -> Path:
    nodes = [
        helper.make_node("Cast", ["image"], ["float"], to=TensorProto.FLOAT),
        helper.make_node("Mul", ["float", "factor"], ["answer"]),
    ]
    graph = helper.make_graph(
        nodes,
        "model",
        [helper.make_tensor_value_info("image", TensorProto.UINT8, ["batch", 4, 4])],
        [helper.make_tensor_value_info("answer", TensorProto.FLOAT, ["batch", 4, 4])],
        [numpy_helper.from_array(np.array(factor, np.float32), "factor")],
    )
    opset = [helper.make_opsetid("", 20)]
    onnx.save(helper.make_model(graph, opset_imports=opset, ir_version=10), path)
    return path


def _forbid(*_: object) -> None:
    raise AssertionError("measured again")


def test_a_second_run_measures_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files = {"a": _file(tmp_path / "a.onnx", 1.0), "b": _file(tmp_path / "b.onnx", 2.0)}
    first = measure_latency(files, tmp_path / "kept", ROWS)
    for measurement in first.values():
        assert 0 < measurement.p50_ms <= measurement.p95_ms
        assert 0 < measurement.batch_p50_ms <= measurement.batch_p95_ms
    monkeypatch.setattr(latency, "_measure", _forbid)
    assert measure_latency(files, tmp_path / "kept", ROWS) == first
    moved = {"other name": files["a"].rename(tmp_path / "moved.onnx")}
    assert measure_latency(moved, tmp_path / "kept", ROWS)["other name"] == first["a"]
    assert read_measurement(tmp_path / "kept", sha256_file(files["b"])) == first["b"]


def test_an_unknown_file_has_all_measured_together(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    known = {"a": _file(tmp_path / "a.onnx", 1.0)}
    measure_latency(known, tmp_path / "kept", ROWS)
    measured: list[set[str]] = []
    original = latency._measure
    monkeypatch.setattr(
        latency,
        "_measure",
        lambda subjects: (measured.append(set(subjects)), original(subjects))[1],
    )
    both = {**known, "b": _file(tmp_path / "b.onnx", 2.0)}
    result = measure_latency(both, tmp_path / "kept", ROWS)
    assert measured == [{"a", "b"}]
    assert read_measurement(tmp_path / "kept", sha256_file(both["a"])) == result["a"]


def test_another_machine_measures_for_itself(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = {"a": _file(tmp_path / "a.onnx", 1.0)}
    measure_latency(files, tmp_path / "kept", ROWS)
    monkeypatch.setattr(latency, "this_machine", lambda: Machine("another CPU", 64, "1.0"))
    assert read_measurement(tmp_path / "kept", sha256_file(files["a"])) is None


def test_a_damaged_measurement_is_taken_again(tmp_path: Path) -> None:
    files = {"a": _file(tmp_path / "a.onnx", 1.0)}
    measure_latency(files, tmp_path / "kept", ROWS)
    (path,) = (tmp_path / "kept").rglob("*.json")
    for content in ('{"latency"', '{"latency": {"p50": 1}}', "[]"):
        path.write_text(content)
        assert read_measurement(tmp_path / "kept", sha256_file(files["a"])) is None
        measure_latency(files, tmp_path / "kept", ROWS)
        assert "p50_ms" in json.loads(path.read_text())["latency"]


def test_inputs_are_the_given_rows_begun_again_where_they_are_few(tmp_path: Path) -> None:
    subject = latency._Subject.load(_file(tmp_path / "a.onnx", 1.0), {**ROWS, "other": np.zeros(2)})
    assert list(subject.one_row) == ["image"]
    assert np.array_equal(subject.one_row["image"], ROWS["image"][:1])
    assert subject.batch["image"].shape == (latency.BATCH, 4, 4)
    assert subject.batch["image"].dtype == np.uint8
    assert np.array_equal(subject.batch["image"][5:10], ROWS["image"])


def test_text_is_measured_as_text(tmp_path: Path) -> None:
    graph = helper.make_graph(
        [helper.make_node("Identity", ["text"], ["answer"])],
        "model",
        [helper.make_tensor_value_info("text", TensorProto.STRING, ["batch"])],
        [helper.make_tensor_value_info("answer", TensorProto.STRING, ["batch"])],
    )
    opset = [helper.make_opsetid("", 20)]
    onnx.save(helper.make_model(graph, opset_imports=opset, ir_version=10), tmp_path / "a.onnx")
    rows = {"text": np.array(["a text", ""], dtype=object)}
    measured = measure_latency({"a": tmp_path / "a.onnx"}, tmp_path / "kept", rows)
    assert measured["a"].p50_ms > 0
