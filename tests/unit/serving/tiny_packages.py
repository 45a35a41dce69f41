"""Packages with a tiny ONNX model, for tests: 4 x 4 grey pictures, three labels."""

from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
from onnx import TensorProto, helper, numpy_helper

from modelyard.artifacts import write_json
from modelyard.package import write_manifest

LABELS = ["a", "b", "c"]
SIZE = 4


def write_package(folder: Path, seed: int, golden_shift: float = 0.0) -> str:
    """Write a package whose answers differ with ``seed``; return its digest.

    With ``golden_shift`` the recorded golden answers are off by as much.
    """
    folder.mkdir(parents=True)
    (folder / "model.onnx").write_bytes(model_bytes(seed))
    (folder / "reference.onnx").write_bytes(model_bytes(seed))
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (4, SIZE, SIZE), dtype=np.uint8)
    rows = [{"image": image.tolist()} for image in images]
    answers = answer(folder / "model.onnx", images) + golden_shift
    write_json(
        folder / "schema.json",
        {
            "task": "classification",
            "inputs": [{"name": "image", "dtype": "uint8", "shape": [-1, SIZE, SIZE]}],
            "outputs": [{"name": "probabilities", "dtype": "float32", "shape": [-1, 3]}],
            "target": "label",
        },
    )
    write_json(folder / "labels.json", LABELS)
    write_json(folder / "input_example.json", {"rows": rows[:1]})
    write_json(
        folder / "golden.json",
        {"atol": 1e-2, "requests": [{"rows": rows, "probabilities": answers.tolist()}]},
    )
    return write_manifest(folder)


def answer(model: Path, images: np.ndarray) -> np.ndarray:
    """Probabilities [rows, 3] for uint8 images [rows, 4, 4]."""
    session = ort.InferenceSession(str(model), providers=["CPUExecutionProvider"])
    return np.asarray(session.run(None, {"image": images})[0])


def model_bytes(seed: int) -> bytes:
    """A linear softmax classifier with random weights."""
    rng = np.random.default_rng(seed)
    weights = rng.normal(0, 0.01, (SIZE * SIZE, 3)).astype(np.float32)
    bias = rng.normal(0, 2, 3).astype(np.float32)
    nodes = [
        helper.make_node("Cast", ["image"], ["pixels"], to=TensorProto.FLOAT),
        helper.make_node("Flatten", ["pixels"], ["flat"]),
        helper.make_node("Gemm", ["flat", "weights", "bias"], ["logits"]),
        helper.make_node("Softmax", ["logits"], ["probabilities"], axis=1),
    ]
    graph = helper.make_graph(
        nodes,
        "tiny",
        [helper.make_tensor_value_info("image", TensorProto.UINT8, ["batch", SIZE, SIZE])],
        [helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, ["batch", 3])],
        [numpy_helper.from_array(weights, "weights"), numpy_helper.from_array(bias, "bias")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    onnx.checker.check_model(model)
    return model.SerializeToString()


def publish(root: Path, name: str, version: int, sequence: int, seed: int | None = None) -> str:
    """Write a version into a serving folder and point to it; by default its number is the seed."""
    staged = root.parent / f"staged-{name}-{version}"
    digest = write_package(staged, version if seed is None else seed)
    return place(staged, root, name, version, digest, sequence)


def place(staged: Path, root: Path, name: str, version: int, digest: str, sequence: int) -> str:
    """Move a package into a serving folder and point to it; return its digest."""
    path = f"versions/{version}-{digest[:12]}"
    (root / name / "versions").mkdir(parents=True, exist_ok=True)
    staged.rename(root / name / path)
    point(root, name, version, digest, sequence)
    return digest


def point(root: Path, name: str, version: int, digest: str, sequence: int) -> None:
    """Write ``live.json``."""
    write_json(
        root / name / "live.json",
        {
            "name": name,
            "version": version,
            "digest": digest,
            "path": f"versions/{version}-{digest[:12]}",
            "sequence": sequence,
            "pinned": False,
        },
    )
