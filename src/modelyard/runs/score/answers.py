"""What the model says of a block, as the columns of the result."""

import json
import os
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import numpy as np

from modelyard.serving.model import Model

if TYPE_CHECKING:
    import pyarrow as pa

_BATCH_ROWS = 1024
GIVEN = 0.5
"""A label of several is given where its probability is above."""


def answer(model: Model, inputs: dict[str, np.ndarray]) -> np.ndarray:
    """The first output of the model, float32 [n, width], for inputs of n rows, on all cores.

    Batches have the same rows whatever the number of cores, so that answers have the same bits.
    """
    num_rows = len(next(iter(inputs.values()), ()))
    starts = range(0, num_rows, _BATCH_ROWS)

    def run(start: int) -> np.ndarray:
        part = {name: values[start : start + _BATCH_ROWS] for name, values in inputs.items()}
        return model.run(part)[0]

    if not num_rows:
        width = 1 if model.task == "regression" else len(model.labels)
        return np.empty((0, width), np.float32)
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        return np.concatenate(list(pool.map(run, starts)))


def to_table(
    model: Model, rows: np.ndarray, answers: np.ndarray, about: dict[str, str]
) -> "pa.Table":
    """The result's columns: ``row``, then by task.

    Classification: ``label`` (text) and ``probabilities`` (a list, one a label). Multi-label:
    ``labels`` (a list of texts) and ``probabilities``. Regression: ``prediction`` (float32).

    Args:
        model: What answered.
        rows: int64 [n], positions in the source.
        answers: float32 [n, width].
        about: For the file's metadata.
    """
    import pyarrow as pa

    columns: dict[str, pa.Array] = {"row": pa.array(rows, pa.int64())}
    if model.task == "regression":
        columns["prediction"] = pa.array(answers[:, 0], pa.float32())
    else:
        names = pa.array(model.labels, pa.string())
        if model.task == "classification":
            columns["label"] = names.take(pa.array(answers.argmax(axis=1)))
        else:
            given = answers > GIVEN
            starts = np.concatenate([[0], given.sum(axis=1).cumsum()]).astype(np.int32)
            labels = names.take(pa.array(np.nonzero(given)[1]))
            columns["labels"] = pa.ListArray.from_arrays(pa.array(starts), labels)
        flat = pa.array(np.ascontiguousarray(answers, np.float32).ravel())
        columns["probabilities"] = pa.FixedSizeListArray.from_arrays(flat, answers.shape[1])
    labels = {"modelyard.labels": json.dumps(list(model.labels), ensure_ascii=False)}
    return pa.table(columns).replace_schema_metadata(about | labels)
