"""Every task trains on real workers: tables with learned categories, texts, sounds."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch
from training_project import run, train_params

from modelyard.artifacts import Dataset, Layout, TrainedModel, read_json
from modelyard.data.columns import read_split
from modelyard.data.preprocessing import Preprocessing
from modelyard.data.spectrogram import Spectrogram
from modelyard.models import load
from modelyard.models.trained import describe
from modelyard.params import ModelParams
from tests.unit.data.prepared_rows import fit, write_split

pytestmark = pytest.mark.distributed

MLP = ModelParams(factory="mlp", args={"hidden": [16]})
CNN = ModelParams(factory="cnn", args={"channels": [4], "hidden": 8})
SOUND = Spectrogram(4000, 400, 8, window=100, hop=50, low_hz=20, high_hz=2000)
SIZES = {"train": 160, "validation": 61}
LABELS = {"regression": (), "multi-label": ("good", "long"), "classification": ("low", "high")}


def price(count: int, seed: int) -> tuple[dict[str, Any], Any]:
    """A number with gaps and a category decide a price around 1000."""
    generator = np.random.default_rng(seed)
    size, town = generator.normal(50, 10, count), generator.integers(0, 3, count)
    target = 1000 + 4 * size + 60 * town
    sizes = [None if place % 11 == 5 else value for place, value in enumerate(size.tolist())]
    return {"size": sizes, "town": ["abc"[i] for i in town]}, pa.array(target)


def review(count: int, seed: int) -> tuple[dict[str, Any], Any]:
    """Words decide which labels a text has."""
    generator = np.random.default_rng(seed)
    given = generator.integers(0, 2, (count, 2)).astype(np.uint8)
    words = [["great", "awful"], ["endless", "short"]]
    texts = [
        " ".join([*(words[label][not row[label]] for label in (0, 1)), "film", str(place)])
        for place, row in enumerate(given)
    ]
    return {"text": texts}, pa.FixedSizeListArray.from_arrays(pa.array(given.ravel()), 2)


def tone(count: int, seed: int) -> tuple[dict[str, Any], Any]:
    """A low or a high tone."""
    target = np.arange(count) % 2
    phase = np.random.default_rng(seed).uniform(0, 6, (count, 1))
    times = np.arange(SOUND.samples) / SOUND.sample_rate
    waves = np.sin(2 * np.pi * np.array([300, 1200])[target][:, np.newaxis] * times + phase)
    return {"tone": (waves * 9000).astype(np.int16)}, pa.array(target)


CASES = {
    "tabular": ("regression", price, [("size", "number"), ("town", "category")]),
    "text": ("multi-label", review, [("text", "text")]),
    "audio": ("classification", tone, [("tone", "audio")]),
}
PREPARE = {
    "text": {"ngrams": [1, 1]},
    "categories": {"encode": "embedding", "dimension": 2},
}


def make_dataset(root: Path, kind: str) -> Layout:
    """A dataset folder as ingest writes it."""
    layout = Layout(root)
    layout.dataset.mkdir(parents=True)
    task, draw, columns = CASES[kind]
    features = [
        SOUND.as_feature(name) if of == "audio" else {"name": name, "type": of}
        for name, of in columns
    ]
    for seed, (split, count) in enumerate(SIZES.items()):
        values, target = draw(count, seed)
        write_split(layout.dataset / f"{split}.parquet", features, values, target)
    fitted = fit(layout.dataset / "train.parquet", features, task, PREPARE)
    fitted.write(layout.dataset / "preprocessing.json")
    tree = {
        "kind": kind,
        "task": task,
        "labels": LABELS[task],
        "features": features,
        "rows": SIZES,
        "num_rejected": 0,
        "digest": "0" * 64,
        "validation_digest": "1" * 64,
    }
    (layout.dataset / "dataset.json").write_text(json.dumps(tree))
    return layout


def answers(layout: Layout) -> tuple[np.ndarray, np.ndarray]:
    """The trained network's outputs for the validation split from its raw columns, and targets."""
    dataset = Dataset.read(layout.dataset)
    split = read_split(dataset, "validation")
    preprocessing = Preprocessing.read(layout.dataset / "preprocessing.json")
    network = load(TrainedModel(layout.trained), layout.root)
    with torch.inference_mode():
        outputs = network(torch.from_numpy(preprocessing.transform(split.features))).numpy()
    if preprocessing.target is not None:
        outputs = outputs * preprocessing.target.std + preprocessing.target.mean
    return outputs, split.targets


def test_regression_over_a_table_with_learned_categories(tmp_path: Path) -> None:
    layout = make_dataset(tmp_path, "tabular")
    params = train_params(epochs=14, optimizer={"name": "adamw", "lr": 0.02})
    digest, history, _ = run(layout, MLP, params, "one")
    assert run(layout, MLP, params, "two")[0] == digest
    description = describe(TrainedModel(layout.trained))
    assert description.task == "regression"
    assert description.embeddings == ((5, 2),)
    assert (description.input_shape, description.num_outputs) == ((3,), 1)
    outputs, targets = answers(layout)
    train = read_split(Dataset.read(layout.dataset), "train").targets
    typical = np.abs(train - np.median(train)).mean()
    skill = 1 - np.abs(outputs[:, 0] - targets).mean() / typical
    best = history[description.best_epoch - 1]
    assert best["validation_score"] == pytest.approx(skill, abs=1e-5)
    assert skill > 0.7


def test_labels_of_texts(tmp_path: Path) -> None:
    layout = make_dataset(tmp_path, "text")
    loss = {"class_weights": "balanced", "label_smoothing": 0.02}
    params = train_params(epochs=6, loss=loss, optimizer={"name": "adamw", "lr": 0.02})
    _, history, _ = run(layout, MLP, params)
    outputs, targets = answers(layout)
    assert ((outputs > 0) == targets).mean() > 0.95
    best = history[describe(TrainedModel(layout.trained)).best_epoch - 1]
    assert best["validation_score"] > 0.9


def test_classes_of_sounds_by_a_convolutional_network(tmp_path: Path) -> None:
    layout = make_dataset(tmp_path, "audio")
    run(layout, CNN, train_params(epochs=2, loss={"name": "focal"}))
    outputs, targets = answers(layout)
    assert (outputs.argmax(axis=1) == targets).mean() > 0.95
    assert read_json(layout.metrics("train"))["validation_score"] > 0.95
