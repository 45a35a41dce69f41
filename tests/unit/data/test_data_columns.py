"""What a split's file holds comes back as the columns that are promised."""

import json
from datetime import date, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from prepared_rows import write_split

from modelyard.artifacts import Dataset
from modelyard.data.columns import count_values, iterate_features, read_split, read_targets
from modelyard.errors import WorkspaceError

FEATURES = [
    {"name": "weight", "type": "number"},
    {"name": "age", "type": "integer"},
    {"name": "paid", "type": "boolean"},
    {"name": "born", "type": "date"},
    {"name": "seen", "type": "datetime"},
    {"name": "town", "type": "category"},
    {"name": "note", "type": "text"},
]
COLUMNS: dict[str, list[Any]] = {
    "weight": [1.5, None, -2.0],
    "age": [3, None, 2**40],
    "paid": [True, None, False],
    "born": [date(1970, 1, 3), None, date(1969, 12, 31)],
    "seen": [datetime(1970, 1, 1, 0, 1, 0, 500000), None, datetime(1969, 12, 31, 23, 59, 59)],
    "town": ["Ärö", None, "Ärö"],
    "note": ["a", None, "b\nc"],
}
SENSITIVE = {
    "sex": pa.array(["f", None, "m"]),
    "income": pa.array([12.5, None, 3.0]),
    "since": pa.array([date(2020, 1, 2), None, date(2021, 1, 1)]),
}


def dataset(folder: Path, target: Any, task: str = "classification", **changes: Any) -> Dataset:
    write_split(folder / "train.parquet", FEATURES, COLUMNS, target, **SENSITIVE)
    tree = {
        "kind": "tabular",
        "task": task,
        "labels": ["no", "yes"] if task != "regression" else [],
        "features": FEATURES,
        "sensitive": [*SENSITIVE],
        "rows": {"train": 3},
        "num_rejected": 0,
        "digest": "",
        "validation_digest": "",
    }
    (folder / "dataset.json").write_text(json.dumps({**tree, **changes}))
    return Dataset.read(folder)


def test_every_type_of_column(tmp_path: Path) -> None:
    split = read_split(dataset(tmp_path, pa.array([0, 1, 0])), "train")
    expected: dict[str, list[Any]] = {
        "weight": [1.5, np.nan, -2],
        "age": [3, np.nan, 2**40],
        "paid": [1, np.nan, 0],
        "born": [2, np.nan, -1],
        "seen": [60.5, np.nan, -1],
    }
    for name, values in expected.items():
        assert split.features[name].dtype == np.float64
        np.testing.assert_array_equal(split.features[name], values)
    assert split.features["town"].tolist() == ["Ärö", "", "Ärö"]
    assert split.features["note"].tolist() == ["a", "", "b\nc"]
    assert {name: values.tolist() for name, values in split.sensitive.items()} == {
        "sex": ["f", "", "m"],
        "income": ["12.5", "", "3"],
        "since": ["2020-01-02", "", "2021-01-01"],
    }
    np.testing.assert_array_equal(split.rows, [0, 1, 2])
    assert split.targets.dtype == np.int64


def test_targets_of_every_task(tmp_path: Path) -> None:
    number = dataset(tmp_path, pa.array([0.5, -1, 3]), "regression")
    np.testing.assert_array_equal(read_targets(number, "train"), [0.5, -1, 3])
    given = pa.FixedSizeListArray.from_arrays(pa.array([0, 1, 1, 1, 0, 0], pa.uint8()), 2)
    labels = read_split(dataset(tmp_path, given, "multi-label"), "train").targets
    assert labels.dtype == np.uint8
    np.testing.assert_array_equal(labels, [[0, 1], [1, 1], [0, 0]])


def test_batches_are_the_rows_in_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("modelyard.data.columns._TABLE_ROWS", 2)
    found = dataset(tmp_path, pa.array([0, 1, 0]))
    whole = read_split(found, "train").features
    batches = list(iterate_features(found.split("train"), FEATURES))
    assert [len(batch["age"]) for batch in batches] == [2, 1]
    for name, values in whole.items():
        np.testing.assert_array_equal(np.concatenate([b[name] for b in batches]), values)
    assert count_values(found.split("train"), "town") == {"Ärö": 2}


def test_a_file_that_is_not_what_dataset_json_says_is_refused(tmp_path: Path) -> None:
    more = dataset(tmp_path, None, rows={"train": 4})
    with pytest.raises(WorkspaceError, match=r"train\.parquet has 3 rows, dataset\.json says 4"):
        read_targets(more, "train")
    other = [{"name": "height", "type": "number"}]
    absent = dataset(tmp_path, None, features=other)
    with pytest.raises(WorkspaceError, match="has no column 'height'"):
        read_split(absent, "train")
    with pytest.raises(WorkspaceError, match="has no column 'height'"):
        next(iterate_features(absent.split("train"), other))
    with pytest.raises(WorkspaceError, match="has no column 'height'"):
        count_values(absent.split("train"), "height")
