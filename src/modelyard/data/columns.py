"""A split of the dataset as numpy columns, for training and evaluation; light."""

from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from modelyard.artifacts import Dataset
from modelyard.errors import WorkspaceError

MEL_SUFFIX = ".mel"
"""Of the column beside an audio feature that holds its log-mel spectrogram."""

_BATCH_ROWS = {"text": 8192, "image": 8192, "audio": 1024}
_TABLE_ROWS = 65_536
_COUNTED_ROWS = 1 << 20
_REMEDY = "Run the stage ingest again."


@dataclass(frozen=True)
class SplitColumns:
    """Rows of a split; the arrays may be read-only views.

    ``rows``: int64 [N], positions in the source.

    ``features`` by name: number, integer and boolean float64 [N] (NaN where missing), date float64
    days and datetime float64 seconds since 1970 (UTC); category and text str objects [N] ("" where
    missing); an image uint8 [N,H,W] (grey) or [N,H,W,3]; audio int16 [N,S].

    ``targets``: int64 [N] (index into the labels), float64 [N], or uint8 [N,K] for multi-label.

    ``sensitive`` by name: str objects [N], "" where missing.
    """

    rows: np.ndarray
    features: dict[str, np.ndarray]
    targets: np.ndarray
    sensitive: dict[str, np.ndarray] = field(default_factory=dict)


def read_split(dataset: Dataset, split: str) -> SplitColumns:
    """Read train, validation or test whole.

    Raises:
        WorkspaceError: the file is missing, damaged, or not the one that ``dataset.json``
            describes.
    """
    names = [feature["name"] for feature in dataset.features]
    table = _whole(dataset, split, ["row", *names, *dataset.sensitive, "target"])
    return SplitColumns(
        table.column("row").to_numpy(),
        {feature["name"]: raw_feature(table, feature) for feature in dataset.features},
        _targets(table),
        {name: _texts(table.column(name)) for name in dataset.sensitive},
    )


def read_targets(dataset: Dataset, split: str) -> np.ndarray:
    """``SplitColumns.targets`` alone.

    Raises:
        WorkspaceError: as ``read_split``.
    """
    return _targets(_whole(dataset, split, ["target"]))


def iterate_features(
    path: Path, features: Sequence[dict[str, Any]]
) -> Iterator[dict[str, np.ndarray]]:
    """Features of a split's file in the order of its rows, a batch at a time, in bounded memory.

    As in ``SplitColumns.features``, but for audio: that is the log-mel spectrogram that ingest
    computed, float32 [n,M,F], in place of the waveform.

    Args:
        path: A Parquet file of a split.
        features: Those wanted, as ``dataset.json`` describes them.

    Raises:
        WorkspaceError: the file is missing, damaged, or has no such column.
    """
    import pyarrow as pa

    columns = [_prepared_column(feature) for feature in features]
    rows = min((_BATCH_ROWS.get(item["type"], _TABLE_ROWS) for item in features), default=1)
    with _opened(path, columns) as file:
        for batch in file.iter_batches(rows, columns=columns):
            table = pa.Table.from_batches([batch])
            yield {feature["name"]: _prepared(table, feature) for feature in features}


def read_feature(path: Path, feature: dict[str, Any]) -> np.ndarray:
    """One whole column of a split's file, as in ``SplitColumns.features``.

    Raises:
        WorkspaceError: as ``iterate_features``.
    """
    with _opened(path, [feature["name"]]) as file:
        return raw_feature(file.read([feature["name"]]), feature)


def count_values(path: Path, name: str) -> dict[str, int]:
    """How many rows of a split's file have each text of a column; missing ones are left out.

    Raises:
        WorkspaceError: as ``iterate_features``.
    """
    counts: Counter[str] = Counter()
    with _opened(path, [name]) as file:
        for batch in file.iter_batches(_COUNTED_ROWS, columns=[name]):
            found = batch.column(0).drop_null().value_counts()
            pairs = zip(found.field(0).to_pylist(), found.field(1).to_pylist(), strict=True)
            counts.update(dict(pairs))
    return dict(counts)


def _prepared_column(feature: dict[str, Any]) -> str:
    return feature["name"] + (MEL_SUFFIX if feature["type"] == "audio" else "")


def _prepared(table: Any, feature: dict[str, Any]) -> np.ndarray:
    if feature["type"] != "audio":
        return raw_feature(table, feature)
    return _lists(table.column(_prepared_column(feature)), feature["mels"], feature["frames"])


def raw_feature(table: Any, feature: dict[str, Any]) -> np.ndarray:
    """A column of a table (``pyarrow``) as ``SplitColumns.features`` has it."""
    column = table.column(feature["name"])
    match feature["type"]:
        case "image":
            colour = () if feature["channels"] == 1 else (feature["channels"],)
            return _lists(column, feature["height"], feature["width"], *colour)
        case "audio":
            return _lists(column, feature["samples"])
        case "category" | "text":
            return _texts(column)
        case kind:
            return _numbers(column, kind)


def _lists(column: Any, *shape: int) -> np.ndarray:
    """A column of lists of one length as [N, *shape], without a copy where the file has one."""
    return column.combine_chunks().flatten().to_numpy().reshape(-1, *shape)


def _numbers(column: Any, kind: str) -> np.ndarray:
    """float64 [N], NaN where missing."""
    import pyarrow as pa

    if kind == "boolean":
        column = column.cast(pa.uint8())
    elif kind == "date":
        column = column.cast(pa.int32())
    elif kind == "datetime":
        column = column.cast(pa.int64())
    values = column.cast(pa.float64(), safe=False).to_numpy(zero_copy_only=False)
    return values / 1e6 if kind == "datetime" else values


def _texts(column: Any) -> np.ndarray:
    """Str objects [N], "" where missing; equal ones share one object."""
    import pyarrow as pa
    import pyarrow.compute as pc

    texts = pc.fill_null(column.cast(pa.large_string()), "").combine_chunks().dictionary_encode()
    known = np.array([*texts.dictionary.to_pylist(), ""], dtype=object)
    return known[texts.indices.to_numpy()]


def _targets(table: Any) -> np.ndarray:
    import pyarrow as pa

    column = table.column("target")
    if pa.types.is_fixed_size_list(column.type):
        return _lists(column, column.type.list_size)
    return column.to_numpy()


def _whole(dataset: Dataset, split: str, columns: Sequence[str]) -> Any:
    """The named columns of a split, once its number of rows is what ``dataset.json`` says."""
    path = dataset.split(split)
    with _opened(path, columns) as file:
        if file.metadata.num_rows != dataset.rows[split]:
            raise WorkspaceError(
                f"{path.name} has {file.metadata.num_rows} rows, "
                f"dataset.json says {dataset.rows[split]}",
                _REMEDY,
            )
        return file.read(list(columns))


@contextmanager
def _opened(path: Path, columns: Sequence[str]) -> Iterator[Any]:
    """A split's file that has these columns."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(path, memory_map=True) as file:
            if absent := sorted(set(columns) - set(file.schema_arrow.names)):
                raise WorkspaceError(
                    f"{path.name} of the dataset has no column {absent[0]!r}", _REMEDY
                )
            yield file
    except (OSError, pa.ArrowInvalid) as error:
        raise WorkspaceError(
            f"{path.name} of the dataset cannot be read: {error}", _REMEDY
        ) from error
