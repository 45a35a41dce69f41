"""Learned categories as they are served: in one graph with the preprocessing in front."""

from pathlib import Path

import numpy as np
import torch

from modelyard.compression import onnx_file
from modelyard.compression.export import INPUT, export
from modelyard.data.columns import iterate_features
from modelyard.models import build
from modelyard.params import ModelParams
from tests.unit.data.prepared_rows import fit, write_split

PREPARE = {"text": {"min_count": 1}, "categories": {"encode": "embedding"}}


def test_one_graph_takes_raw_rows_whatever_their_columns_are_called(tmp_path: Path) -> None:
    # As tensors within an exported network are.
    numbers = ["linear", "relu", "cat", "embedding"]
    features = [
        *({"name": name, "type": "number"} for name in numbers),
        {"name": "town", "type": "category"},
        {"name": "text", "type": "text"},
    ]
    columns = {name: [1.0, None, 3.0] for name in numbers}
    columns |= {"town": ["a", None, "b"], "text": ["x y", "y", ""]}
    path = write_split(tmp_path / "train.parquet", features, columns)
    preprocessing = fit(path, features, prepare=PREPARE)
    shape, sizes = preprocessing.input_shape, preprocessing.embeddings
    network = build(ModelParams(factory="mlp"), shape, 2, tmp_path, sizes).eval()
    graph = export(network, shape)
    front = preprocessing.onnx_model(20, graph.ir_version)
    onnx_file.save(onnx_file.joined(front, graph, INPUT), tmp_path / "model.onnx")
    (raw,) = iterate_features(path, features)
    raw["town"][0] = "never seen"
    with torch.inference_mode():
        logits = network(torch.from_numpy(preprocessing.transform(raw))).numpy()
    np.testing.assert_allclose(onnx_file.answer(tmp_path / "model.onnx", raw), logits, atol=1e-5)
