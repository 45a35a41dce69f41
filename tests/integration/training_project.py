"""A tiny project to train on: bars at three places in 8x8 images, and a network that misbehaves."""

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from modelyard.artifacts import Layout
from modelyard.data.preprocessing import Preprocessing
from modelyard.params import Clean, ModelParams, Prepare, TrainParams
from modelyard.training import EpochRecord, Stream, TrainContext, train

SIZES = {"train": 90, "validation": 31, "test": 12}
MISBEHAVING = '''
import multiprocessing
import os
import signal
import sys
from pathlib import Path

from torch import nn


class Misbehaving(nn.Module):
    """An MLP that writes its process id and, in one step of one rank, does ``deed``."""

    def __init__(self, input_shape, num_classes, deed, folder, rank, step, once):
        super().__init__()
        self.layers = nn.Sequential(
            nn.Flatten(), nn.Linear(64, 16), nn.ReLU(), nn.Dropout(0.2), nn.Linear(16, num_classes)
        )
        self.deed, self.folder, self.rank = deed, Path(folder), rank
        self.step, self.once, self.steps = step, once, 0

    def forward(self, images):
        if self.training:
            (self.folder / f"pid-{os.getpid()}").touch()
            self.steps += 1
            if int(os.environ["RANK"]) == self.rank and self.steps == self.step:
                self.act()
        return self.layers(images)

    def act(self):
        done = self.folder / "done"
        if self.once and done.exists():
            return
        done.touch()
        if self.deed == "raise":
            raise RuntimeError("the planted failure")
        if self.deed == "exit":
            sys.exit(3)
        who, number = {
            "kill self": (os.getpid(), signal.SIGKILL),
            "kill parent": (multiprocessing.parent_process().pid, signal.SIGKILL),
            "interrupt parent": (multiprocessing.parent_process().pid, signal.SIGINT),
        }[self.deed]
        os.kill(who, number)
        if self.deed != "kill self":
            signal.pause()  # until the launcher or the watch on the parent ends this process


def make(input_shape, num_classes, deed="nothing", folder=".", rank=0, step=0, once=True):
    return Misbehaving(input_shape, num_classes, deed, folder, rank, step, once)
'''


def make_project(root: Path) -> Layout:
    """Write a dataset folder as ingest does, and the module ``custom.misbehaving``."""
    layout = Layout(root)
    layout.dataset.mkdir(parents=True)
    generator = np.random.default_rng(7)
    start = 0
    for split, count in SIZES.items():
        targets = np.arange(count) % 3
        images = generator.integers(0, 120, (count, 8, 8)).astype(np.uint8)
        for image, target in zip(images, targets, strict=True):
            image[:, 2 * target + 1] += 60
        table = {
            "row": pa.array(np.arange(start, start + count)),
            "image": pa.FixedSizeListArray.from_arrays(pa.array(images.ravel()), 64),
            "target": pa.array(targets),
        }
        pq.write_table(pa.table(table), layout.dataset / f"{split}.parquet")
        start += count
    features = [{"name": "image", "type": "image", "height": 8, "width": 8, "channels": 1}]
    Preprocessing.fit(
        layout.dataset / "train.parquet", features, "classification", Prepare(), Clean()
    ).write(layout.dataset / "preprocessing.json")
    description = {
        "kind": "image",
        "task": "classification",
        "labels": ["left", "middle", "right"],
        "features": features,
        "target": "label",
        "rows": SIZES,
        "num_rejected": 0,
        "digest": "0" * 64,
        "validation_digest": "1" * 64,
    }
    (layout.dataset / "dataset.json").write_text(json.dumps(description))
    (root / "custom").mkdir()
    (root / "custom" / "__init__.py").touch()
    (root / "custom" / "misbehaving.py").write_text(MISBEHAVING)
    return layout


def model_params(deed: str = "nothing", **args: Any) -> ModelParams:
    """The section ``model`` for the misbehaving network."""
    return ModelParams(factory="custom.misbehaving:make", args={"deed": deed, **args})


def train_params(**changes: Any) -> TrainParams:
    """A short training whose last batch is smaller and uneven: 90 rows in batches of 24."""
    tree: dict[str, Any] = {
        "workers": 2,
        "epochs": 4,
        "batch_size": 24,
        "optimizer": {"name": "adamw", "lr": 0.01},
        "schedule": {"name": "one_cycle"},
    }
    return TrainParams(**{**tree, **changes})


def run(
    layout: Layout,
    model: ModelParams,
    params: TrainParams,
    checkpoints: str = "checkpoints",
    stream: Stream | None = None,
) -> tuple[str, list[dict[str, Any]], list[EpochRecord]]:
    """Train; give the digest of all output bytes, the history, and what was reported."""
    reported: list[EpochRecord] = []
    context = TrainContext(layout.root / checkpoints, stream, reported.append)
    trained = train(layout, model, params, context)
    history = json.loads((trained.path / "history.json").read_text())
    return digest(layout), history, reported


def digest(layout: Layout) -> str:
    """Hex sha256 over the weights, the history and the metrics."""
    files = [
        layout.trained / "model.safetensors",
        layout.trained / "history.json",
        layout.metrics("train"),
    ]
    return hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest()


def worker_pids(folder: Path) -> list[int]:
    """The processes that trained the misbehaving network."""
    return [int(path.name.removeprefix("pid-")) for path in folder.glob("pid-*")]
