"""What passes between the steps.

Where each step's result lies, and typed views of the small files in it. Paths hang from the
project's root, so that a run in a worktree of a snapshot differs from one in place by its root
alone.
"""

import hashlib
import json
import os
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

SPLITS = ("train", "validation", "test")

MAIN_METRIC = {"classification": "accuracy", "multi-label": "jaccard", "regression": "skill"}
"""By task, the metric that models are compared by: a mean over rows of a score, at best 1.

``accuracy``: whether the class is right. ``jaccard``: labels in common over labels in either
(Godbole and Sarawagi 2004). ``skill``: 1 - |error| / mean |error| of train's median.
"""


@dataclass(frozen=True)
class Layout:
    """The project's folders, from its ``root``.

    The first five are outputs of stages (see dvc.yaml).
    """

    root: Path

    @property
    def raw(self) -> Path:
        """fetch: the source as it came, one file or a folder."""
        return self.root / "data/raw"

    @property
    def dataset(self) -> Path:
        """ingest: validated rows as Parquet, one file a split.

        With them lies what was fitted and what was refused.
        """
        return self.root / "data/dataset"

    @property
    def trained(self) -> Path:
        """train: weights, architecture, history."""
        return self.root / "models/trained"

    @property
    def evaluation(self) -> Path:
        """evaluate: predictions on the test split, report and pictures."""
        return self.root / "reports/evaluation"

    @property
    def package(self) -> Path:
        """compress: the model files that are registered and served."""
        return self.root / "models/package"

    @property
    def data_report(self) -> Path:
        """ingest: the HTML report of data and validation."""
        return self.root / "reports/data.html"

    def metrics(self, stage: str) -> Path:
        """The small metrics file of a stage, tracked by git."""
        return self.root / "metrics" / f"{stage}.json"


@dataclass(frozen=True)
class RawData:
    """The fetched source in ``path`` (``Layout.raw``): one file, or a tree of files.

    ``sha256`` is that of the one file, or of the list of all of them (see ``data.fetch``).
    """

    path: Path
    sha256: str


@dataclass(frozen=True)
class Dataset:
    """A validated dataset version in ``path`` (``Layout.dataset``).

    ``train.parquet``, ``validation.parquet``, ``test.parquet``: ``row`` (int64, position in the
    source), one column a feature, one for each of ``sensitive`` that is no feature, and ``target``:
    int64 class index, float64, or for multi-label a fixed-size list of uint8, one a label.

    Types of feature columns: number float64, integer int64, boolean bool, category and text string,
    date date32, datetime timestamp[us] (UTC), each nullable; an image is a fixed-size list of uint8
    (height x width x channels); audio is a fixed-size list of int16 (samples), with its log-mel
    spectrogram (mels x frames, float32) in a second column ``NAME.mel``.

    ``quarantine.parquet``: ``row``, ``column``, ``value``, ``reason``.
    ``dataset.json``: the fields below.
    ``validation.json``: the result of the expectation suite.
    ``preprocessing.json``: what was fitted on train.
    """

    path: Path
    kind: str
    task: str
    labels: tuple[str, ...]
    features: tuple[dict[str, Any], ...]
    sensitive: tuple[str, ...]
    rows: dict[str, int]
    num_rejected: int
    digest: str
    validation_digest: str

    @classmethod
    def read(cls, path: Path) -> "Dataset":
        """Read ``dataset.json`` of a dataset folder."""
        tree = read_json(path / "dataset.json")
        return cls(
            path=path,
            kind=tree["kind"],
            task=tree["task"],
            labels=tuple(tree["labels"]),
            features=tuple(tree["features"]),
            sensitive=tuple(tree.get("sensitive", ())),
            rows=tree["rows"],
            num_rejected=tree["num_rejected"],
            digest=tree["digest"],
            validation_digest=tree["validation_digest"],
        )

    @property
    def num_outputs(self) -> int:
        """Width of a network's output: classes, labels, or 1."""
        return len(self.labels) if self.task != "regression" else 1

    @property
    def main_metric(self) -> str:
        """The metric that models are compared by."""
        return MAIN_METRIC[self.task]

    def split(self, name: str) -> Path:
        """The Parquet file of a split."""
        assert name in SPLITS, name
        return self.path / f"{name}.parquet"


@dataclass(frozen=True)
class TrainedModel:
    """Trained weights in ``path``.

    ``model.safetensors``, ``model.json`` (factory, args, shapes), ``history.json``.
    """

    path: Path


@dataclass(frozen=True)
class Evaluation:
    """Test metrics of the trained model (``metrics/evaluate.json``) and the report's folder."""

    path: Path
    metrics: dict[str, Any]


@dataclass(frozen=True)
class ModelPackage:
    """The package folder (``Layout.package``) and the digest of its model files."""

    path: Path
    digest: str


@dataclass(frozen=True)
class ModelVersion:
    """A registered version."""

    name: str
    version: int
    digest: str
    run_id: str


def read_json(path: Path) -> Any:
    """Parse a JSON file."""
    return json.loads(path.read_text(encoding="utf-8"))


def write_json(path: Path, value: Any) -> None:
    """Write ``value`` as indented JSON, atomically.

    A reader sees the old file or the whole new one.
    """
    text = json.dumps(value, indent=2, sort_keys=True, ensure_ascii=False, allow_nan=False) + "\n"
    write_atomic(path, text.encode())


def write_atomic(path: Path, content: bytes, mode: int = 0o644) -> None:
    """Write a file through a temporary one beside it and a rename; synced to disk.

    Its folder is created.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        Path(name).chmod(mode)
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


def sha256_file(path: Path) -> str:
    """Hex sha256 of a file, read in blocks."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def canonical(value: Any) -> bytes:
    """The bytes of ``value`` that digests and signatures are made over.

    JSON, sorted keys, no spaces, ASCII.
    """
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False).encode("ascii")
