"""The one fitted object: what it is made of, what it refuses, and equal bytes."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from prepared_rows import fit, write_split

from modelyard.data.columns import iterate_features
from modelyard.data.preprocessing import Preprocessing
from modelyard.errors import ParamsError, WorkspaceError

FEATURES = [
    {"name": "text", "type": "text"},
    {"name": "kind", "type": "category"},
    {"name": "age", "type": "integer"},
    {"name": "paid", "type": "boolean"},
]
COLUMNS: dict[str, list[Any]] = {
    "text": ["a b", None, "b c a", "a a"],
    "kind": ["x", "y", "x", None],
    "age": [1, None, 3, 8],
    "paid": [True, False, True, True],
}
PREPARE = {"text": {"min_count": 1, "ngrams": [1, 1]}}
EMBEDDED = {**PREPARE, "categories": {"encode": "embedding", "dimension": 3}}


@pytest.fixture
def train(tmp_path: Path) -> Path:
    return write_split(tmp_path / "train.parquet", FEATURES, COLUMNS)


def test_columns_stand_in_their_order(train: Path) -> None:
    preprocessing = fit(train, FEATURES, prepare=PREPARE)
    (raw,) = iterate_features(train, FEATURES)
    tensor = preprocessing.transform(raw)
    assert tensor.shape == (4, *preprocessing.input_shape) == (4, 3 + 4 + 3)
    std = np.std([1, 3, 8])
    np.testing.assert_allclose(tensor[:, 0], [-3 / std, -1 / std, -1 / std, 4 / std], rtol=1e-6)
    np.testing.assert_array_equal(tensor[:, 1], [1, 0, 1, 1])
    np.testing.assert_array_equal(tensor[:, 2], [0, 1, 0, 0])  # age is missing
    np.testing.assert_array_equal(tensor[:, 3:7], np.eye(4)[[2, 3, 2, 0]])
    np.testing.assert_array_equal(tensor[:, 7:] > 0, [[1, 1, 0], [0, 0, 0], [1, 1, 1], [1, 0, 0]])


def test_places_of_embedded_categories_come_last(train: Path) -> None:
    preprocessing = fit(train, FEATURES, prepare=EMBEDDED)
    assert preprocessing.embeddings == ((4, 3),)
    (raw,) = iterate_features(train, FEATURES)
    raw["kind"][0] = "never seen"
    np.testing.assert_array_equal(preprocessing.transform(raw)[:, -1], [1, 3, 2, 0])


@pytest.mark.parametrize("prepare", [PREPARE, EMBEDDED])
def test_rows_are_taken_as_transform_gives_them(train: Path, prepare: dict[str, Any]) -> None:
    preprocessing = fit(train, FEATURES, prepare=prepare)
    (raw,) = iterate_features(train, FEATURES)
    whole = preprocessing.transform(raw)
    batches = [{name: values[part] for name, values in raw.items()}
               for part in (slice(0, 1), slice(1, 4))]  # fmt: skip
    rows = np.array([3, 0, 0, 2, 1])
    np.testing.assert_array_equal(preprocessing.prepare(batches, 4).take(rows), whole[rows])


def test_a_regressions_target_is_fitted_too(tmp_path: Path) -> None:
    import pyarrow as pa

    target = pa.array([1.0, 2.0, 3.0, 10.0])
    path = write_split(tmp_path / "train.parquet", FEATURES, COLUMNS, target)
    found = fit(path, FEATURES, task="regression", prepare=PREPARE).target
    assert found is not None
    assert (found.mean, found.median, found.typical_error) == (4.0, 2.5, 2.5)
    assert found.std == pytest.approx(np.std([1, 2, 3, 10]))
    assert fit(path, FEATURES, prepare=PREPARE).target is None


@pytest.mark.parametrize("task", ["classification", "regression"])
@pytest.mark.parametrize("prepare", [PREPARE, EMBEDDED])
def test_written_and_read_it_is_the_same(train: Path, prepare: dict[str, Any], task: str) -> None:
    fitted = fit(train, FEATURES, task=task, prepare=prepare)
    first, second = train.with_name("one.json"), train.with_name("two.json")
    fitted.write(first)
    assert Preprocessing.read(first) == fitted
    fit(train, FEATURES, task=task, prepare=prepare).write(second)
    assert first.read_bytes() == second.read_bytes()


def test_features_that_cannot_be_learned_from_are_refused(train: Path) -> None:
    with pytest.raises(ParamsError, match="no column is left"):
        fit(train, [])
    with pytest.raises(ParamsError, match="cannot be named 'prediction'"):
        fit(train, [{"name": "prediction", "type": "number"}])
    image = {"name": "scan", "type": "image", "height": 1, "width": 1, "channels": 1}
    with pytest.raises(ParamsError, match="age cannot be learned from beside scan"):
        fit(train, [{"name": "age", "type": "integer"}, image])


def test_a_damaged_split_is_refused(tmp_path: Path) -> None:
    with pytest.raises(WorkspaceError, match=r"train\.parquet of the dataset cannot be read"):
        fit(tmp_path / "train.parquet", FEATURES)
    (tmp_path / "train.parquet").write_bytes(b"PAR1 no PAR1")
    with pytest.raises(WorkspaceError, match="cannot be read"):
        fit(tmp_path / "train.parquet", FEATURES)
