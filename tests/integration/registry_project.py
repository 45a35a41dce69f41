"""A finished project in miniature for the registry's tests: every stage output, a tiny network.

The digits are 4 x 4 pixels in three classes; the model looks at three pixels, so that its accuracy
is known: right wherever the brightest of them is the label's.
"""

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from modelyard.artifacts import Layout, ModelVersion, canonical, sha256_file, write_json
from modelyard.mlflow_api import MlflowApi
from modelyard.package import write_manifest
from modelyard.params import Params, parse
from modelyard.registry.gate import gate
from modelyard.registry.record import record
from modelyard.registry.register import register
from modelyard.registry.runs import RunInfo
from modelyard.registry.verdict import Verdict

LABELS = ["0", "1", "2"]
SIDE = 4
ROWS = 240


def make_project(root: Path, wrong: int = 0, seed: int = 0) -> Layout:
    """Write the outputs of all stages below ``root``.

    Args:
        root: The project's folder.
        wrong: How many of the 240 test rows the model gets wrong.
        seed: Of the images.
    """
    layout = Layout(root)
    images, targets = _digits(seed, wrong)
    _write_dataset(layout, images, targets)
    _write_results(layout, accuracy=1 - wrong / ROWS)
    write_package(layout.package, layout, accuracy=1 - wrong / ROWS)
    return layout


def write_package(folder: Path, layout: Layout, accuracy: float, gain: float = 10.0) -> str:
    """Write a package that says to be right on a share of rows; ``gain`` changes its digest."""
    folder.mkdir(parents=True, exist_ok=True)
    model = tiny_model(gain)
    (folder / "model.onnx").write_bytes(model)
    (folder / "reference.onnx").write_bytes(model)
    example = {"image": np.zeros((SIDE, SIDE), dtype=int).tolist()}
    write_json(
        folder / "schema.json",
        {
            "task": "classification",
            "inputs": [{"name": "image", "dtype": "uint8", "shape": [-1, SIDE, SIDE]}],
            "outputs": [{"name": "probabilities", "dtype": "float32", "shape": [-1, 3]}],
            "target": "label",
        },
    )
    write_json(folder / "labels.json", LABELS)
    write_json(folder / "input_example.json", {"rows": [example]})
    write_json(folder / "preprocessing.json", {"scale": [1.0], "bias": [0.0]})
    write_json(
        folder / "golden.json",
        {"atol": 1e-2, "requests": [{"rows": [example], "probabilities": [[1 / 3] * 3]}]},
    )
    (folder / "MODEL_CARD.md").write_text("# Tiny digits\n\nA test model.\n", encoding="utf-8")
    write_json(
        folder / "evaluation.json",
        {
            "trained": {"accuracy": {"value": accuracy}},
            "shipped": {"accuracy": {"value": accuracy, "low": accuracy - 0.01}, "rows": ROWS},
            "candidates": [{"name": "fp32"}],
            "chosen": "fp32",
        },
    )
    return write_manifest(folder)


def tiny_model(gain: float, side: int = SIDE) -> bytes:
    """An ONNX file: softmax over the first three pixels, scaled by ``gain``."""
    from onnx import TensorProto, helper, numpy_helper

    weights = np.zeros((side * side, 3), dtype=np.float32)
    weights[[0, 1, 2], [0, 1, 2]] = gain / 255
    nodes = [
        helper.make_node("Cast", ["image"], ["float"], to=TensorProto.FLOAT),
        helper.make_node("Flatten", ["float"], ["flat"], axis=1),
        helper.make_node("MatMul", ["flat", "weights"], ["logits"]),
        helper.make_node("Softmax", ["logits"], ["probabilities"], axis=1),
    ]
    graph = helper.make_graph(
        nodes,
        "tiny",
        [helper.make_tensor_value_info("image", TensorProto.UINT8, ["batch", side, side])],
        [helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, ["batch", 3])],
        [numpy_helper.from_array(weights, "weights")],
    )
    opsets = [helper.make_opsetid("", 18)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=10).SerializeToString()


def params(name: str = "tiny-digits", **promote: Any) -> Params:
    """The project's own params with another name; ``promote`` replaces keys of that section."""
    tree = yaml.safe_load((Path(__file__).parents[2] / "params.yaml").read_text(encoding="utf-8"))
    tree["registry"]["name"] = name
    tree["promote"] |= promote
    return parse(tree)


def run_info(key: str = "key-1", **changes: Any) -> RunInfo:
    """A run's identity with made-up hashes."""
    values: dict[str, Any] = {
        "run_id": "run-1",
        "key": key,
        "train_key": f"train of {key}",
        "snapshot_commit": "a" * 40,
        "snapshot_tree": "b" * 40,
        "prefect_url": "http://127.0.0.1:4200/runs/flow-run/1",
        "raw_md5": "c" * 32,
        "dataset_md5": f"{'d' * 32}.dir",
        "dvc_lock_sha256": "e" * 64,
        "lock_sha256": "f" * 64,
    }
    return RunInfo(**values | changes)


def _digits(seed: int, wrong: int) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(seed)
    images = random.integers(0, 50, (ROWS, SIDE, SIDE), dtype=np.uint8)
    targets = np.arange(ROWS) % 3
    bright = np.where(np.arange(ROWS) < wrong, (targets + 1) % 3, targets)
    images[np.arange(ROWS), 0, bright] = 255
    return images, targets.astype(np.int64)


def _write_dataset(layout: Layout, images: np.ndarray, targets: np.ndarray) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    layout.dataset.mkdir(parents=True)
    for split in ("train", "validation", "test"):
        flat = pa.array(images.reshape(-1))
        table = pa.table(
            {
                "row": np.arange(ROWS),
                "image": pa.FixedSizeListArray.from_arrays(flat, SIDE * SIDE),
                "target": targets,
            }
        )
        pq.write_table(table, layout.dataset / f"{split}.parquet")
    preprocessing, validation = {"scale": [1.0], "bias": [0.0]}, {"success": True}
    write_json(layout.dataset / "preprocessing.json", preprocessing)
    write_json(layout.dataset / "validation.json", validation)
    splits = ("train", "validation", "test")
    identity = {
        "splits": {name: sha256_file(layout.dataset / f"{name}.parquet") for name in splits},
        "preprocessing": preprocessing,
        "labels": LABELS,
    }
    write_json(
        layout.dataset / "dataset.json",
        {
            "task": "classification",
            "labels": LABELS,
            "features": [
                {"name": "image", "type": "image", "height": SIDE, "width": SIDE, "channels": 1}
            ],
            "target": "label",
            "rows": dict.fromkeys(("train", "validation", "test"), ROWS),
            "num_rejected": 2,
            "digest": hashlib.sha256(canonical(identity)).hexdigest(),
            "validation_digest": hashlib.sha256(canonical(validation)).hexdigest(),
            "kind": "image",
            "license": "CC0-1.0",
            "source_sha256": params().data.sha256,
        },
    )


def _write_results(layout: Layout, accuracy: float) -> None:
    layout.evaluation.mkdir(parents=True)
    (layout.evaluation / "report.html").write_text("<p>Report</p>", encoding="utf-8")
    (layout.evaluation / "confusion.png").write_bytes(b"\x89PNG")
    layout.data_report.write_text("<p>Data</p>", encoding="utf-8")
    layout.trained.mkdir(parents=True)
    history = [
        {"epoch": epoch, "train_loss": 1 / epoch, "validation_score": accuracy, "lr": 0.1}
        for epoch in (1, 2, 3)
    ]
    (layout.trained / "history.json").write_text(json.dumps(history), encoding="utf-8")
    write_json(layout.metrics("ingest"), {"rows": {"accepted": 3 * ROWS, "rejected": 2}})
    write_json(layout.metrics("evaluate"), {"accuracy": {"value": accuracy, "low": 0.9}})


class Killed(BaseException):
    """What a kill looks like from inside."""


class Mortal(MlflowApi):
    """A client that dies before its n-th change reaches the server."""

    def __init__(self, url: str, dies_at: int | None = None) -> None:
        super().__init__(url)
        self.changes: list[str] = []
        self._dies_at = dies_at

    def send(self, method: str, path: str, *, refuse: bool = True, **options: Any) -> Any:
        if method == "GET" or path.endswith("/search"):
            return super().send(method, path, refuse=refuse, **options)
        if len(self.changes) == self._dies_at:
            raise Killed
        self.changes.append(f"{method} {path}")
        return super().send(method, path, refuse=refuse, **options)

    @property
    def moments(self) -> list[int]:
        """Every change but the uploads, and of these the first and the last."""
        uploads = [at for at, change in enumerate(self.changes) if change.startswith("PUT")]
        others = set(range(len(self.changes))) - set(uploads)
        return sorted(others | {uploads[0], uploads[-1]})


class Project:
    """A miniature project with a server and a signing key."""

    def __init__(self, layout: Layout, name: str, **promote: Any) -> None:
        self.layout, self.params = layout, params(name, **promote)
        self.name = name
        self.keys = layout.root / "keys"
        self.trusted = self.keys / "trusted"

    def record(self, api: MlflowApi, key: str = "key-1") -> str:
        return record(self.layout, self.params, run_info(key), api)

    def register(self, api: MlflowApi, key: str = "key-1", **info: Any) -> ModelVersion:
        run = run_info(key, **info)
        mlflow_run = record(self.layout, self.params, run, api)
        return register(self.layout, self.params, run, mlflow_run, api, self.keys, self.trusted)

    def gate(self, api: MlflowApi, version: ModelVersion) -> Verdict:
        # Shared: the tests' few model files are measured once.
        measurements = self.layout.root.parents[1] / "measurements"
        return gate(
            version, self.layout, self.params.promote, api, self.keys, self.trusted, measurements
        )

    def another_package(self, gain: float) -> None:
        write_package(self.layout.package, self.layout, accuracy=0.98, gain=gain)
