"""Small datasets of each task as ingest writes them, with a network trained on them in a second."""

from collections.abc import Sequence
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from safetensors.torch import save_file

from modelyard.artifacts import Dataset, Layout, write_json
from modelyard.data.columns import read_split
from modelyard.data.preprocessing import Preprocessing
from modelyard.evaluation.baselines import baselines
from modelyard.models import build, save
from modelyard.models.trained import Description
from modelyard.params import Clean, EvaluateParams, ModelParams, Prepare

SIZE = 12
IMAGE_LABELS = ("low", "middle", "top")
IMAGE_ROWS = {"train": 240, "validation": 90, "test": 80}
TABLE_ROWS = {"train": 400, "validation": 120, "test": 150}
CITIES = ("Bern", "Köln", "Lyon", "Oslo", "Porto")
WORDS = ("red", "green", "blue", "loud", "quiet", "old")


def drawn_images(split: str) -> tuple[np.ndarray, np.ndarray]:
    """Noise with a bright band whose height is the class."""
    generator = np.random.default_rng(list(IMAGE_ROWS).index(split))
    targets = generator.integers(0, 3, IMAGE_ROWS[split])
    images = generator.integers(0, 190, (IMAGE_ROWS[split], SIZE, SIZE))
    for image, target in zip(images, targets, strict=True):
        image[4 * target : 4 * target + 3] += 65
    return images.astype(np.uint8), targets


def make_image_project(root: Path, args: dict[str, Any]) -> Layout:
    """Images in three classes and a small CNN."""
    layout, features = Layout(root), [_feature("image", "image", height=SIZE, width=SIZE)]
    features[0]["channels"] = 1
    for split in IMAGE_ROWS:
        images, targets = drawn_images(split)
        column = pa.FixedSizeListArray.from_arrays(pa.array(images.ravel()), SIZE * SIZE)
        table = {"row": pa.array(np.arange(len(targets)) + 7), "image": column}
        _write(layout, split, {**table, "target": pa.array(targets)})
    facts = {
        "task": "classification",
        "kind": "image",
        "labels": IMAGE_LABELS,
        "target": "position",
    }
    _finish(layout, facts, features, IMAGE_ROWS, Prepare())
    _train(layout, "cnn", args, epochs=30)
    return layout


def make_table_project(
    root: Path,
    task: str,
    prepare: Prepare | None = None,
    asked: Sequence[Literal["linear", "boosting"]] = (),
) -> Layout:
    """A table of all types, missing values included, and a small MLP.

    Args:
        root: The project's folder.
        task: Of the dataset; the rows are the same.
        prepare: The section ``data.prepare``.
        asked: Baselines.
    """
    layout = Layout(root)
    for split in TABLE_ROWS:
        columns = drawn_table(split)
        _write(layout, split, {**columns, "target": _target(task, columns)})
    features = [
        _feature("size", "number"),
        _feature("rooms", "integer", minimum=1),
        _feature("new", "boolean"),
        _feature("built", "date"),
        _feature("seen", "datetime"),
        _feature("city", "category"),
        _feature("words", "text", required=True),
    ]
    labels = {"regression": (), "multi-label": WORDS[:3], "classification": ("cheap", "dear")}
    facts = {"task": task, "kind": "tabular", "labels": labels[task], "target": "price"}
    if task == "multi-label":
        facts["target"] = list(WORDS[:3])
    _finish(layout, facts, features, TABLE_ROWS, prepare or Prepare(), ["city", "age"])
    _train(layout, "mlp", {"hidden": [24]}, epochs=150)
    baselines(layout, EvaluateParams(bootstrap=100, folds=0, baselines=tuple(asked)))
    return layout


def drawn_table(split: str) -> dict[str, pa.Array]:
    """Columns of a split with missing values; ``age`` is sensitive and no feature."""
    generator = np.random.default_rng(10 + list(TABLE_ROWS).index(split))
    rows = TABLE_ROWS[split]
    size, missing = generator.gamma(4, 25, rows), generator.random((5, rows)) < 0.06
    days = generator.integers(0, 20_000, rows)
    chosen = generator.random((rows, len(WORDS))) < 0.4
    texts = [
        " ".join(word for word, is_in in zip(WORDS, row, strict=True) if is_in) for row in chosen
    ]
    built = [date(1960, 1, 1) + timedelta(int(day)) for day in days]
    seen = [datetime(2020, 1, 1, 12) + timedelta(hours=int(day)) for day in days]
    return {
        "row": pa.array(np.arange(rows)),
        "size": pa.array(size, mask=missing[0]),
        "rooms": pa.array(np.maximum(1, size // 25).astype(np.int64), mask=missing[1]),
        "new": pa.array(days > 15_000, mask=missing[2]),
        "built": pa.array(built, pa.date32(), mask=missing[3]),
        "seen": pa.array(seen, pa.timestamp("us", "UTC")),
        "city": pa.array(generator.choice(CITIES, rows), mask=missing[4]),
        "words": pa.array(texts),
        "age": pa.array(generator.integers(18, 90, rows), mask=missing[4]),
    }


def _target(task: str, columns: dict[str, pa.Array]) -> pa.Array:
    """A price of size, city and words with noise; whether it is dear; or which words there are."""
    texts = columns["words"].to_pylist()
    if task == "multi-label":
        labels = np.array(
            [[word in text.split() for word in WORDS[:3]] for text in texts], np.uint8
        )
        return pa.FixedSizeListArray.from_arrays(pa.array(labels.ravel()), 3)
    generator = np.random.default_rng(len(texts))
    size = np.nan_to_num(columns["size"].to_numpy(zero_copy_only=False), nan=100.0)
    city = [CITIES.index(name) if name else 2 for name in columns["city"].to_pylist()]
    loud = np.array(["loud" in text for text in texts])
    price = 3000 * size + 40_000 * np.array(city) - 60_000 * loud
    price += generator.normal(0, 20_000, len(texts))
    return pa.array(price if task == "regression" else (price > 350_000).astype(np.int64))


def _feature(name: str, kind: str, **facts: Any) -> dict[str, Any]:
    return {"name": name, "type": kind, **facts}


def _write(layout: Layout, split: str, columns: dict[str, pa.Array]) -> None:
    layout.dataset.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table(columns), layout.dataset / f"{split}.parquet")


def _finish(
    layout: Layout,
    facts: dict[str, Any],
    features: list[dict[str, Any]],
    rows: dict[str, int],
    prepare: Prepare,
    sensitive: Sequence[str] = (),
) -> None:
    description = {
        **facts,
        "features": features,
        "sensitive": list(sensitive),
        "rows": rows,
        "num_rejected": 1,
        "digest": "ab" * 32,
        "validation_digest": "cd" * 32,
        "license": "CC0-1.0",
        "source_sha256": "ef" * 32,
    }
    write_json(layout.dataset / "dataset.json", description)
    train = layout.dataset / "train.parquet"
    fitted = Preprocessing.fit(train, features, facts["task"], prepare, Clean())
    fitted.write(layout.dataset / "preprocessing.json")
    write_json(layout.metrics("cross_validate"), {"folds": []})
    write_json(layout.metrics("baselines"), {"baselines": []})


def _train(layout: Layout, factory: str, args: dict[str, Any], epochs: int) -> None:
    """Full-batch Adam: quick, and good enough to be compressed and compared."""
    torch.manual_seed(0)
    dataset = Dataset.read(layout.dataset)
    preprocessing = Preprocessing.read(layout.dataset / "preprocessing.json")
    shape, width = preprocessing.input_shape, dataset.num_outputs
    params = ModelParams(factory=factory, args=args)
    network = build(params, shape, width, layout.root, preprocessing.embeddings)
    split = read_split(dataset, "train")
    features = torch.from_numpy(preprocessing.transform(split.features))
    optimizer = torch.optim.Adam(network.parameters(), 0.01)
    for _ in range(epochs):
        loss = _loss(dataset.task, network(features), split.targets, preprocessing)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    weights = layout.root / "weights.safetensors"
    save_file(network.state_dict(), weights)
    history = [
        {"epoch": 1, "train_loss": 1.0, "validation_loss": 1.1, "validation_score": 0.5, "lr": 1}
    ]
    count = sum(parameter.numel() for parameter in network.parameters())
    description = Description(
        factory, args, dataset.task, shape, preprocessing.embeddings, width, 1, 1, count
    )
    save(layout.trained, weights, description, history)
    weights.unlink()


def _loss(
    task: str, outputs: torch.Tensor, targets: np.ndarray, preprocessing: Preprocessing
) -> torch.Tensor:
    functional = torch.nn.functional
    if task == "classification":
        return functional.cross_entropy(outputs, torch.tensor(targets))
    if task == "multi-label":
        given = torch.tensor(targets.astype(np.float32))
        return functional.binary_cross_entropy_with_logits(outputs, given)
    target = preprocessing.target
    assert target is not None
    scaled = torch.tensor((targets - target.mean) / target.std, dtype=torch.float32)
    return functional.mse_loss(outputs[:, 0], scaled)
