"""Small splits on disk as ingest writes them, and both ways from raw columns to features."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from modelyard.data.preprocessing import Preprocessing
from modelyard.data.spectrogram import Spectrogram
from modelyard.params import Clean, Prepare

OPSET, IR_VERSION = 20, 10

_ARROW = {
    "number": pa.float64(),
    "integer": pa.int64(),
    "boolean": pa.bool_(),
    "date": pa.date32(),
    "datetime": pa.timestamp("us", "UTC"),
    "category": pa.string(),
    "text": pa.string(),
}


def write_split(
    path: Path,
    features: Sequence[dict[str, Any]],
    columns: Mapping[str, Any],
    target: Any = None,
    **more: Any,
) -> Path:
    """Write a split; media columns are numpy arrays, all others lists with None where missing."""
    arrays: dict[str, Any] = {}
    for feature in features:
        name, values = feature["name"], columns[feature["name"]]
        if feature["type"] in _ARROW:
            arrays[name] = pa.array(values, _ARROW[feature["type"]])
        else:
            arrays[name] = _lists(values)
        if feature["type"] == "audio":
            arrays[f"{name}.mel"] = _lists(Spectrogram.of_feature(feature).transform(values))
    rows = len(next(iter(arrays.values())))
    arrays["target"] = pa.array([0] * rows) if target is None else target
    pq.write_table(pa.table({"row": pa.array(range(rows)), **arrays, **more}), path)
    return path


def fit(
    path: Path,
    features: Sequence[dict[str, Any]],
    task: str = "classification",
    prepare: Mapping[str, Any] | None = None,
    clean: Mapping[str, Any] | None = None,
    vocabulary: Sequence[str] | None = None,
) -> Preprocessing:
    """Fit on a split's file with the given params."""
    return Preprocessing.fit(
        path,
        features,
        task,
        Prepare.model_validate(prepare or {}),
        Clean.model_validate(clean or {}),
        vocabulary,
    )


def by_graph(preprocessing: Preprocessing, columns: Mapping[str, np.ndarray]) -> np.ndarray:
    """What ONNX Runtime makes of raw columns."""
    import onnxruntime as ort

    model = preprocessing.onnx_model(OPSET, IR_VERSION)
    session = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    (features,) = session.run(["features"], dict(columns))
    return np.asarray(features)


def _lists(values: np.ndarray) -> pa.Array:
    size = int(np.prod(values.shape[1:]))
    return pa.FixedSizeListArray.from_arrays(pa.array(values.ravel()), size)
