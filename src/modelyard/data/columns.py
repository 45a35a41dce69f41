"""A split of the dataset as numpy columns, for training and evaluation; light."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from modelyard.artifacts import Dataset
from modelyard.errors import WorkspaceError


@dataclass(frozen=True)
class SplitColumns:
    """Rows of a split.

    ``rows`` int64 [N] (position in the source), ``targets`` int64 [N] (index into the labels).

    ``features`` by name: an image is uint8 [N,H,W] (grey) or [N,H,W,3]. The arrays may be read-only
    views.
    """

    rows: np.ndarray
    features: dict[str, np.ndarray]
    targets: np.ndarray


def read_split(dataset: Dataset, split: str) -> SplitColumns:
    """Read train, validation or test.

    Raises:
        WorkspaceError: the file is missing, damaged, or not the one that ``dataset.json``
            describes.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    path = dataset.split(split)
    try:
        table = pq.read_table(path, memory_map=True)
    except (FileNotFoundError, pa.ArrowInvalid) as error:
        raise WorkspaceError(
            f"{path.name} of the dataset cannot be read: {error}", "Run the stage ingest again."
        ) from error
    if table.num_rows != dataset.rows[split]:
        raise WorkspaceError(
            f"{path.name} has {table.num_rows} rows, dataset.json says {dataset.rows[split]}",
            "Run the stage ingest again.",
        )
    features = {feature["name"]: _image(table, feature) for feature in dataset.features}
    return SplitColumns(_numbers(table, "row"), features, _numbers(table, "target"))


def _image(table: Any, feature: dict[str, Any]) -> np.ndarray:
    flat = table.column(feature["name"]).combine_chunks().flatten().to_numpy()
    shape = [table.num_rows, feature["height"], feature["width"]]
    return flat.reshape(shape if feature["channels"] == 1 else [*shape, feature["channels"]])


def _numbers(table: Any, name: str) -> np.ndarray:
    return table.column(name).combine_chunks().to_numpy()
