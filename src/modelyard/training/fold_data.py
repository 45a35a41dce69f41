"""The rows of a fold as a dataset folder of its own: its parts as splits, its own preprocessing."""

import shutil
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from modelyard.artifacts import SPLITS, Dataset, read_json, write_json
from modelyard.data.outputs import disk_errors
from modelyard.data.preprocessing import Preprocessing
from modelyard.errors import WorkspaceError
from modelyard.params import Clean, Leakage, Prepare
from modelyard.training.folds import Keys

if TYPE_CHECKING:
    import pyarrow as pa

LEARNED = ("train", "validation")
"""The splits that folds are made of, in the order of their rows."""
_BATCH_ROWS = 65_536


def keys_of(dataset: Dataset) -> tuple[Keys, str]:
    """What folds are made by, and what is to be said of it.

    As the dataset was split: by group, by equal values (hash) or by time; another split goes by the
    first of ``leakage.groups``. Where those columns are not in the dataset, or none is named, by
    class or by rows.

    Raises:
        WorkspaceError: a split's file is missing or damaged.
    """
    split = _section(dataset, "split")
    kind = split.get("type")
    columns: list[str] = [split["column"]] if split.get("column") else [*split.get("columns", ())]
    if kind == "hash" and not columns:
        columns = [feature["name"] for feature in dataset.features]
    groups = Leakage.model_validate(_section(dataset, "leakage")).groups
    if kind not in ("group", "hash", "datetime"):
        kind, columns = "group", [*groups[:1]]
    rows = _column(dataset, "row").to_numpy()
    mixed = [name for name in groups if columns != [name]]
    note = f"folds do not keep groups of {', '.join(mixed)} together" if mixed else ""
    if not columns:
        return _by_target(dataset, rows), note
    if set(columns) <= set(_names(dataset)) and not _are_lists(dataset, columns):
        if kind == "datetime":
            return Keys("time", _plain(_column(dataset, columns[0])), rows), note
        values = _groups(dataset, columns)
        if kind == "group":
            missing = _column(dataset, columns[0]).is_null().to_numpy()
            values[missing] = len(rows) + np.arange(missing.sum())  # each a group of its own
        return Keys("group", values, rows), note
    what = {"group": "groups", "hash": "equal rows", "datetime": "time"}[kind]
    said = f"folds do not heed {what}: the dataset does not hold {', '.join(columns)} as values"
    return _by_target(dataset, rows), f"{said}; {note}" if note else said


def vocabulary_note(dataset: Dataset) -> str:
    """What is to be said of the vocabulary of folds: empty where each finds its own.

    A package's list is no part of the dataset; a fold chooses among those of its tokens that the
    whole train split has kept. So rows that judge a fold have a say in which are common enough.
    """
    listed = Prepare.model_validate(_section(dataset, "prepare")).text.vocabulary is not None
    if listed and any(feature["type"] == "text" for feature in dataset.features):
        return "folds choose their vocabulary among the tokens that the whole train split kept"
    return ""


def write_fold(dataset: Dataset, parts: np.ndarray, digest: str, folder: Path) -> Dataset:
    """Write a fold's rows as a dataset folder; the rows that judge it are its ``test`` split.

    Args:
        dataset: What the rows come from.
        parts: int8 [n], for each row of ``LEARNED`` the position of its split, -1 for none.
        digest: Of the new dataset.
        folder: Replaced.

    Raises:
        WorkspaceError: a split's file is damaged, or there is no space.
    """
    shutil.rmtree(folder, ignore_errors=True)
    with disk_errors(folder):
        folder.mkdir(parents=True)
        _write_splits(dataset, parts, folder)
        counts = {name: int((parts == code).sum()) for code, name in enumerate(SPLITS)}
        tree = read_json(dataset.path / "dataset.json")
        write_json(folder / "dataset.json", {**tree, "rows": counts, "digest": digest})
        _fit(dataset, folder / "train.parquet").write(folder / "preprocessing.json")
    return Dataset.read(folder)


def _fit(dataset: Dataset, train: Path) -> Preprocessing:
    prepare = Prepare.model_validate(_section(dataset, "prepare"))
    clean = Clean.model_validate(_section(dataset, "clean"))
    known = None
    if prepare.text.vocabulary is not None:
        # Of a package's list, what the dataset kept of it (see vocabulary_note).
        whole = Preprocessing.read(dataset.path / "preprocessing.json")
        known = {token for bag in whole.table.bags for token in bag.vocabulary}
    features = dataset.features
    return Preprocessing.fit(train, features, dataset.task, prepare, clean, known)


def _write_splits(dataset: Dataset, parts: np.ndarray, folder: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    with ExitStack() as stack:
        writers: dict[str, pq.ParquetWriter] = {}
        start = 0
        for table in _batches(dataset, None):
            own = parts[start : start + table.num_rows]
            start += table.num_rows
            for code, name in enumerate(SPLITS):
                if name not in writers:
                    path = folder / f"{name}.parquet"
                    writer = pq.ParquetWriter(
                        path, table.schema, compression="lz4", use_dictionary=False
                    )
                    writers[name] = stack.enter_context(writer)
                writers[name].write_table(table.filter(pa.array(own == code)))


def _section(dataset: Dataset, name: str) -> dict[str, Any]:
    """A section of params.data that the dataset was made with."""
    tree = read_json(dataset.path / "dataset.json")
    if name not in tree:
        raise WorkspaceError(
            f"dataset.json has no {name}: an earlier version of Modelyard made this dataset",
            "Run the stage ingest again.",
        )
    return tree[name]


def _by_target(dataset: Dataset, rows: np.ndarray) -> Keys:
    if dataset.task == "classification":
        return Keys("class", _column(dataset, "target").to_numpy(), rows)
    return Keys("rows", rows, rows)


def _groups(dataset: Dataset, columns: list[str]) -> np.ndarray:
    """A number for each row, equal where all columns are equal; int64 [n]."""
    codes = np.zeros(sum(dataset.rows[name] for name in LEARNED), np.int64)
    for name in columns:
        values = _column(dataset, name).dictionary_encode("encode").combine_chunks()
        indices = values.indices.to_numpy()
        codes = codes * (len(values.dictionary) + 1) + indices
        _, codes = np.unique(codes, return_inverse=True)
    return codes


def _plain(column: "pa.ChunkedArray") -> np.ndarray:
    """Times as int64 [n]; missing ones come first."""
    import pyarrow as pa

    if pa.types.is_date32(column.type):
        column = column.cast(pa.int32())
    low = np.iinfo(np.int64).min
    return column.cast(pa.int64()).fill_null(low).to_numpy()


def _are_lists(dataset: Dataset, columns: list[str]) -> bool:
    import pyarrow as pa
    import pyarrow.parquet as pq

    schema = pq.read_schema(dataset.split("train"))
    return any(pa.types.is_nested(schema.field(name).type) for name in columns)


def _names(dataset: Dataset) -> list[str]:
    import pyarrow.parquet as pq

    try:
        return pq.read_schema(dataset.split("train")).names
    except (OSError, ValueError) as error:
        raise WorkspaceError(
            f"train.parquet of the dataset cannot be read: {error}", "Run the stage ingest again."
        ) from error


def _column(dataset: Dataset, name: str) -> "pa.ChunkedArray":
    """A column of all rows of ``LEARNED``."""
    import pyarrow as pa

    tables = [batch.column(name) for batch in _batches(dataset, [name])]
    return pa.chunked_array([chunk for column in tables for chunk in column.chunks])


def _batches(dataset: Dataset, columns: list[str] | None) -> "Iterator[pa.Table]":
    import pyarrow as pa
    import pyarrow.parquet as pq

    for split in LEARNED:
        try:
            with pq.ParquetFile(dataset.split(split), memory_map=True) as file:
                for batch in file.iter_batches(_BATCH_ROWS, columns=columns):
                    yield pa.Table.from_batches([batch])
        except (OSError, ValueError) as error:
            raise WorkspaceError(
                f"{split}.parquet of the dataset cannot be read: {error}",
                "Run the stage ingest again.",
            ) from error
