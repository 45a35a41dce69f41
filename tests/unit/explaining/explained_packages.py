"""Small packages with networks of torch, whose answers can be explained, for tests."""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from modelyard.artifacts import write_json
from modelyard.compression import onnx_file
from modelyard.compression.export import INPUT, OPSET, OUTPUT, export_program, to_onnx
from modelyard.compression.head import head_model
from modelyard.data.prepare_image import Image
from modelyard.data.prepare_table import Category, Number
from modelyard.data.preprocessing import Preprocessing, Target
from modelyard.models import archive
from modelyard.models.embedded import Embedded
from modelyard.package import write_manifest

SIZE = 6
LABELS = ["low", "middle", "high"]
TABLE_ROWS: list[dict[str, Any]] = [
    {"age": 50.0, "paid": 3.0, "status": "good", "city": "Rome"},
    {"age": None, "paid": -1.5, "status": "", "city": "Oslo"},
    {"age": 21.0, "paid": 0.5, "status": "never seen", "city": None},
]
TYPES = {"age": "number", "paid": "number", "status": "category", "city": "category"}


def table_preprocessing(task: str = "classification") -> Preprocessing:
    """Two numbers, one with an indicator, a one-hot category and an embedded one."""
    parts = (
        Number("age", 40.0, None, None, 38.0, 12.0, indicate=True),
        Category("status", ("good", "bad"), None),
        Number("paid", 0.5, -3.0, 3.0, 0.0, 1.5, indicate=False),
        Category("city", ("Rome", "Oslo", "Turku"), 2),
    )
    return Preprocessing(parts, Target(100.0, 20.0, 95.0, 15.0) if task == "regression" else None)


def image_preprocessing(channels: int = 1) -> Preprocessing:
    return Preprocessing((Image("image", SIZE, SIZE, (0.02,) * channels, (-1.5,) * channels),))


def table_network(preprocessing: Preprocessing, num_outputs: int = 3) -> nn.Module:
    """Curved, so that the integral is none of a constant."""
    torch.manual_seed(4)
    (columns,) = preprocessing.input_shape
    widened = columns - 1 + 2
    network = nn.Sequential(nn.Linear(widened, 16), nn.Tanh(), nn.Linear(16, num_outputs))
    module = Embedded(network, preprocessing.embeddings)
    with torch.no_grad():
        for embedding in module.embeddings:
            embedding.weight.normal_()  # pyright: ignore
    return module.eval()


def image_network(channels: int = 1, num_outputs: int = 3) -> nn.Module:
    torch.manual_seed(5)
    flat = 4 * (SIZE - 2) ** 2
    return nn.Sequential(
        nn.Conv2d(channels, 4, 3),
        nn.BatchNorm2d(4),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(flat, num_outputs),
    ).eval()


def write_table(folder: Path, task: str = "classification") -> str:
    """Write a package of a table; return its digest."""
    preprocessing = table_preprocessing(task)
    inputs = [
        {
            "name": name,
            "type": kind,
            "dtype": "float64" if kind == "number" else "string",
            "shape": [-1],
        }
        for name, kind in TYPES.items()
    ]
    width = 1 if task == "regression" else 3
    network = table_network(preprocessing, width)
    return _write(folder, task, inputs, preprocessing, network, TABLE_ROWS)


def write_image(folder: Path, channels: int = 1) -> str:
    """Write a package of pictures; return its digest."""
    shape = [SIZE, SIZE, channels][: 3 if channels > 1 else 2]
    inputs = [{"name": "image", "type": "image", "dtype": "uint8", "shape": [-1, *shape]}]
    pixels = np.random.default_rng(2).integers(0, 256, (2, *shape), dtype=np.uint8)
    rows = [{"image": picture.tolist()} for picture in pixels]
    preprocessing = image_preprocessing(channels)
    return _write(folder, "classification", inputs, preprocessing, image_network(channels), rows)


def _write(
    folder: Path,
    task: str,
    inputs: list[dict[str, Any]],
    preprocessing: Preprocessing,
    network: nn.Module,
    rows: list[dict[str, Any]],
) -> str:
    folder.mkdir(parents=True)
    program = export_program(network, preprocessing.input_shape)
    archive.write(program, folder / archive.ARCHIVE)
    graph = to_onnx(program, "network")
    width = 1 if task == "regression" else len(LABELS)
    front = preprocessing.onnx_model(OPSET, graph.ir_version)
    head = head_model(task, preprocessing.target, width, OPSET, graph.ir_version)
    whole = onnx_file.joined(onnx_file.joined(front, graph, INPUT), head, OUTPUT)
    for name in ("model.onnx", "reference.onnx"):
        onnx_file.save(whole, folder / name)
    output = "prediction" if task == "regression" else "probabilities"
    outputs = [{"name": output, "dtype": "float32", "shape": [-1, width]}]
    schema = {"task": task, "inputs": inputs, "outputs": outputs, "target": "level"}
    answers = onnx_file.answer(folder / "model.onnx", raw_columns(preprocessing, rows))
    write_json(folder / "schema.json", schema)
    write_json(folder / "labels.json", [] if task == "regression" else LABELS)
    write_json(folder / "input_example.json", {"rows": rows[:1]})
    requests = [{"rows": rows, output: answers.tolist()}]
    write_json(folder / "golden.json", {"atol": 1e-2, "requests": requests})
    preprocessing.write(folder / "preprocessing.json")
    return write_manifest(folder)


def raw_columns(preprocessing: Preprocessing, rows: list[dict[str, Any]]) -> dict[str, np.ndarray]:
    """Rows of a request as the model takes them."""
    columns: dict[str, np.ndarray] = {}
    for part in preprocessing.parts:
        values = [row[part.name] for row in rows]
        if isinstance(part, Category):
            columns[part.name] = np.array([value or "" for value in values], dtype=object)
        else:
            kind = np.uint8 if isinstance(part, Image) else np.float64
            columns[part.name] = np.array(values, dtype=kind)
    return columns
