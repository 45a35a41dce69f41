"""Small packed image tables and their contracts, for the tests of the data layer."""

import copy
from pathlib import Path
from typing import Any

import numpy as np

from modelyard.artifacts import Layout
from modelyard.params import DataParams

HEIGHT = WIDTH = 4
NUM_PIXELS = HEIGHT * WIDTH
NUM_CLASSES = 4
LABEL = NUM_PIXELS

_TREE: dict[str, Any] = {
    "kind": "image",
    "source": "source/digits.csv",
    "sha256": "0" * 64,
    "license": "CC0-1.0",
    "dialect": {"delimiter": ",", "header": False},
    "schema": {
        "fields": [
            {"name": "image", "type": "image", "height": HEIGHT, "width": WIDTH, "channels": 1},
            {
                "name": "label",
                "type": "integer",
                "constraints": {"required": True, "minimum": 0, "maximum": 3},
            },
        ]
    },
    "target": "label",
    "max_rejected": 0.1,
    "split": {"column": "label", "probabilities": [0.6, 0.2, 0.2], "seed": 0},
}


def tree(**changes: Any) -> dict[str, Any]:
    """The ``data`` section of params.yaml for 4 x 4 pictures of four classes, with changes."""
    return copy.deepcopy(_TREE) | changes


def contract(**changes: Any) -> DataParams:
    """The same, parsed."""
    return DataParams.model_validate(tree(**changes))


def label_contract(
    constraints: dict[str, Any], kind: str = "integer", **changes: Any
) -> DataParams:
    """The same with another label field."""
    section = tree(**changes)
    section["schema"]["fields"][1] = {"name": "label", "type": kind, "constraints": constraints}
    return DataParams.model_validate(section)


def table(num_rows: int = 40, seed: int = 0) -> list[list[str]]:
    """Rows of text: sixteen pixels, then the label; no two pictures equal, classes in turn."""
    pixels = np.random.default_rng(seed).integers(0, 256, (num_rows, NUM_PIXELS))
    return [[*map(str, row), str(index % NUM_CLASSES)] for index, row in enumerate(pixels.tolist())]


def text(rows: list[list[str]], delimiter: str = ",") -> bytes:
    """The rows as delimited text."""
    return "".join(delimiter.join(row) + "\n" for row in rows).encode()


def put(path: Path, content: bytes) -> Path:
    """Write a file and its folder."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def put_raw(root: Path, rows: list[list[str]], name: str = "digits.csv") -> Layout:
    """A project whose ``data/raw`` holds the rows, as fetch leaves them."""
    layout = Layout(root)
    put(layout.raw / name, text(rows))
    return layout


def outputs(layout: Layout) -> dict[str, bytes]:
    """Every file that ingest left, by its path from the root, but for the raw data."""
    folders = ("data/dataset", "reports", "metrics")
    files = [path for name in folders for path in (layout.root / name).rglob("*") if path.is_file()]
    return {str(path.relative_to(layout.root)): path.read_bytes() for path in files}
