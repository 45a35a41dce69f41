"""What a dataset version holds, and how two of them differ: read from DVC's cache."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from modelyard.artifacts import SPLITS, read_json
from modelyard.data.drift import DatasetFiles, Drift, compare
from modelyard.registry.flatten import flat_params
from modelyard.runs.versions import DatasetVersion, output_files

if TYPE_CHECKING:
    import pyarrow.parquet as pq

_NO_COLUMNS = ("row", "target")
_BATCH_ROWS = 100_000


@dataclass(frozen=True)
class Column:
    """A column, its type and the share of rows where it is missing."""

    name: str
    type: str
    missing: float


@dataclass(frozen=True)
class Description:
    """A version's content; ``classes`` has the rows of train, validation and test by label.

    ``rejected`` are reasons and how many rows each refused, the commonest first; no value is shown.
    """

    kind: str
    task: str
    rows: dict[str, int]
    num_rejected: int
    rejected: tuple[tuple[str, int], ...]
    columns: tuple[Column, ...]
    classes: tuple[tuple[str, tuple[int, ...]], ...]


@dataclass(frozen=True)
class Difference:
    """From one version to another: counts before and after, lines that a person reads, drift."""

    rows: dict[str, tuple[int, int]]
    schema: tuple[str, ...]
    contract: tuple[str, ...]
    drift: tuple[Drift, ...]


def describe(root: Path, version: DatasetVersion) -> Description:
    """Look into a version.

    Raises:
        WorkspaceError: its files are not in the cache.
    """
    dataset = _open(root, version)
    tree = dataset.tree
    return Description(
        kind=tree["kind"],
        task=tree["task"],
        rows=tree["rows"],
        num_rejected=tree["num_rejected"],
        rejected=_rejected(dataset),
        columns=_columns(dataset),
        classes=_classes(dataset),
    )


def difference(root: Path, old: DatasetVersion, new: DatasetVersion) -> Difference:
    """Compare two versions.

    Raises:
        WorkspaceError: the files of one are not in the cache.
    """
    before, after = _open(root, old), _open(root, new)
    counts = {
        name: (before.tree["rows"].get(name, 0), after.tree["rows"].get(name, 0)) for name in SPLITS
    }
    counts["rejected"] = (before.tree["num_rejected"], after.tree["num_rejected"])
    return Difference(
        rows=counts,
        schema=tuple(_schema_changes(before.tree, after.tree)),
        contract=tuple(contract_changes(old.contract, new.contract)),
        drift=tuple(compare(before, after)),
    )


def contract_changes(before: dict[str, Any], after: dict[str, Any]) -> list[str]:
    """How two sections ``data`` differ, as lines; fields of the schema are compared by name."""
    plain, fields = zip(*map(_apart, (before, after)), strict=True)
    lines = _changes(*map(flat_params, plain))
    old, new = fields
    lines += [f"- schema.fields.{name} ({old[name]['type']})" for name in old if name not in new]
    lines += [f"+ schema.fields.{name} ({new[name]['type']})" for name in new if name not in old]
    both = [name for name in new if name in old]
    for name in both:
        found = _changes(flat_params(old[name]), flat_params(new[name]))
        lines += [f"schema.fields.{name}.{line}" for line in found]
    if both != [name for name in old if name in new]:
        lines.append("schema.fields: in another order")
    return lines


def _apart(data: dict[str, Any]) -> tuple[dict[str, Any], dict[str, dict[str, Any]]]:
    """A section ``data`` without the schema's fields, and these by name."""
    schema = dict(data.get("schema", {}))
    fields = {field["name"]: field for field in schema.pop("fields", ())}
    return data | {"schema": schema}, fields


def _open(root: Path, version: DatasetVersion) -> DatasetFiles:
    files = output_files(root, version.stages, "data/dataset")
    return DatasetFiles(read_json(files["dataset.json"]), files)


def _rejected(dataset: DatasetFiles) -> tuple[tuple[str, int], ...]:
    import pyarrow.parquet as pq

    table = pq.read_table(dataset.files["quarantine.parquet"], columns=["column", "reason"])
    pairs = zip(table["column"].to_pylist(), table["reason"].to_pylist(), strict=True)
    return tuple(Counter(f"{column}: {reason}" for column, reason in pairs).most_common())


def _columns(dataset: DatasetFiles) -> tuple[Column, ...]:
    """Features and sensitive columns."""
    import pyarrow.parquet as pq

    missing, num_rows = Counter[str](), 0
    names: list[str] = []
    for split in SPLITS:
        with pq.ParquetFile(dataset.files[f"{split}.parquet"]) as file:
            num_rows += file.metadata.num_rows
            names = [name for name in file.schema_arrow.names if name not in _NO_COLUMNS]
            missing.update(null_counts(file, [name for name in names if not _is_list(file, name)]))
    types = {item["name"]: item["type"] for item in dataset.tree["features"]}
    return tuple(
        Column(name, types.get(name, "sensitive"), missing[name] / max(num_rows, 1))
        for name in names
        if name in types or name in dataset.tree.get("sensitive", ())
    )


def null_counts(file: "pq.ParquetFile", names: Sequence[str]) -> dict[str, int]:
    """Missing values of each flat column, by the file's own statistics.

    A column without them is read.
    """
    counts = dict.fromkeys(names, 0)
    unknown = set()
    for index in range(file.metadata.num_row_groups):
        group = file.metadata.row_group(index)
        for place in range(group.num_columns):
            column = group.column(place)
            name, statistics = column.path_in_schema, column.statistics
            if name not in counts:
                continue
            if statistics is None or not statistics.has_null_count:
                unknown.add(name)
            else:
                counts[name] += statistics.null_count
    if unknown:
        counts |= dict.fromkeys(unknown, 0)
        for batch in file.iter_batches(_BATCH_ROWS, columns=sorted(unknown)):
            for name in unknown:
                counts[name] += batch.column(name).null_count
    return counts


def _is_list(file: Any, name: str) -> bool:
    import pyarrow as pa

    return pa.types.is_fixed_size_list(file.schema_arrow.field(name).type)


def _classes(dataset: DatasetFiles) -> tuple[tuple[str, tuple[int, ...]], ...]:
    import pyarrow.parquet as pq

    labels = [str(label) for label in dataset.tree["labels"]]
    if dataset.tree["task"] == "regression":
        return ()
    by_split = []
    for split in SPLITS:
        column = pq.read_table(dataset.files[f"{split}.parquet"], columns=["target"])["target"]
        if dataset.tree["task"] == "multi-label":
            rows = column.combine_chunks().flatten().to_numpy().reshape(len(column), -1)
            by_split.append(rows.sum(axis=0, dtype=np.int64))
        else:
            by_split.append(np.bincount(column.to_numpy(), minlength=len(labels)))
    counts = np.stack(by_split, axis=1).tolist()
    return tuple((label, tuple(row)) for label, row in zip(labels, counts, strict=True))


def _schema_changes(before: dict[str, Any], after: dict[str, Any]) -> list[str]:
    lines = []
    for key in ("kind", "task"):
        if before[key] != after[key]:
            lines.append(f"{key}: {before[key]} → {after[key]}")
    old, new = ({item["name"]: item for item in tree["features"]} for tree in (before, after))
    lines += [f"- {name} ({old[name]['type']})" for name in old if name not in new]
    lines += [f"+ {name} ({new[name]['type']})" for name in new if name not in old]
    for name in old.keys() & new.keys():
        lines += [f"{name}.{line}" for line in _changes(old[name], new[name])]
    labels = [list(map(str, tree["labels"])) for tree in (before, after)]
    lines += [f"- class {label}" for label in labels[0] if label not in labels[1]]
    lines += [f"+ class {label}" for label in labels[1] if label not in labels[0]]
    return lines


def _changes(before: dict[str, Any], after: dict[str, Any]) -> list[str]:
    return [
        f"{key}: {before.get(key, 'not given')} → {after.get(key, 'not given')}"
        for key in sorted(before.keys() | after.keys())
        if before.get(key) != after.get(key)
    ]
