"""Small tables and their contracts, for the tests of tabular and text data."""

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq

from modelyard.artifacts import SPLITS, Dataset, Layout
from modelyard.data.ingest import ingest
from modelyard.params import DataParams

HEADER = "age,income,city,member,joined,status"
FIELDS: list[dict[str, Any]] = [
    {"name": "age", "type": "integer", "constraints": {"minimum": 18, "maximum": 100}},
    {"name": "income", "type": "number"},
    {"name": "city", "type": "category"},
    {"name": "member", "type": "boolean"},
    {"name": "joined", "type": "date"},
    {"name": "status", "type": "category", "constraints": {"enum": ["good", "bad"]}},
]
_TREE: dict[str, Any] = {
    "kind": "tabular",
    "source": "people.csv",
    "sha256": None,
    "license": "CC0-1.0",
    "schema": {"fields": FIELDS},
    "target": "status",
    "max_rejected": 0.2,
    "split": {"type": "stratify", "column": "status", "probabilities": [0.6, 0.2, 0.2]},
}


def tree(**changes: Any) -> dict[str, Any]:
    """The ``data`` section for a table of people, with changes; a double underscore goes deeper."""
    section = copy.deepcopy(_TREE)
    for key, value in changes.items():
        *path, last = key.split("__")
        place = section
        for name in path:
            place = place.setdefault(name, {})
        place[last] = value
    return section


def contract(**changes: Any) -> DataParams:
    """The same, parsed."""
    return DataParams.model_validate(tree(**changes))


def fields(**changes: dict[str, Any]) -> list[dict[str, Any]]:
    """The schema's fields, some with changes; None leaves one out, a new name adds one."""
    known = {field["name"]: dict(field) for field in copy.deepcopy(FIELDS)}
    for name, change in changes.items():
        known[name] = {"name": name, **known.get(name, {}), **change}
    return list(known.values())


def people(num_rows: int = 40, seed: int = 0) -> list[list[str]]:
    """Rows of text, no two equal; the classes in turn."""
    rng = np.random.default_rng(seed)
    incomes = rng.permutation(num_rows * 10)[:num_rows] + 1000
    return [
        [
            str(18 + int(rng.integers(60))),
            f"{incomes[row] / 4:.2f}",
            ("Oslo", "Århus", "Lima")[int(rng.integers(3))],
            ("true", "false")[int(rng.integers(2))],
            f"20{int(rng.integers(10, 24))}-0{int(rng.integers(1, 10))}-1{int(rng.integers(10))}",
            ("good", "bad")[row % 2],
        ]
        for row in range(num_rows)
    ]


def text(rows: list[list[str]], header: str | None = HEADER, delimiter: str = ",") -> bytes:
    """The rows as delimited text."""
    lines = [delimiter.join(row) for row in rows]
    if header is not None:
        lines.insert(0, header.replace(",", delimiter))
    return ("\n".join(lines) + "\n").encode()


def put(root: Path, content: bytes | list[list[str]], name: str = "people.csv") -> Layout:
    """A project whose ``data/raw`` holds a file, as fetch leaves it."""
    layout = Layout(root)
    path = layout.raw / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content if isinstance(content, bytes) else text(content))
    return layout


def made(
    root: Path, content: bytes | list[list[str]], name: str = "people.csv", **changes: Any
) -> Dataset:
    """The dataset that a file becomes."""
    layout = put(root, content, name)
    return ingest(layout, contract(**changes), root / "state")


def quarantined(dataset: Dataset) -> list[tuple[int, str, str, str]]:
    """Row, column, value and reason of what was refused."""
    table = pq.read_table(dataset.path / "quarantine.parquet")
    return [(i["row"], i["column"], i["value"], i["reason"]) for i in table.to_pylist()]


def rows_of(dataset: Dataset) -> dict[int, dict[str, Any]]:
    """All accepted rows by their position in the source, with the name of their split."""
    return {
        row["row"]: row | {"split": split}
        for split in SPLITS
        for row in pq.read_table(dataset.split(split)).to_pylist()
    }


def cell(row: int, column: int, value: str) -> Callable[[], bytes]:
    """The people with one value put in place of another."""

    def content() -> bytes:
        rows = people()
        rows[row][column] = value
        return text(rows)

    return content


def many(column: int, values: Callable[[int], str]) -> Callable[[], bytes]:
    """The people with a column of other values."""

    def content() -> bytes:
        rows = people()
        for index, row in enumerate(rows):
            row[column] = values(index)
        return text(rows)

    return content


def nothing_is_left(layout: Layout) -> None:
    """A run that failed left the raw data alone."""
    assert sorted(path.name for path in (layout.root / "data").iterdir()) == ["raw"]
    assert not (layout.root / "metrics").exists() or not list((layout.root / "metrics").iterdir())
    assert not layout.data_report.exists()
