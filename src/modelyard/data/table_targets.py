"""The target of a table's rows, its splits, and what must not leak from one to another."""

from typing import TYPE_CHECKING, Any

import numpy as np

from modelyard.data import leakage, splits, targets
from modelyard.data.pii import HIDDEN
from modelyard.data.table_clean import row_hashes, stable_hashes
from modelyard.data.table_scan import Places
from modelyard.data.table_stage import Stage
from modelyard.data.targets import Targets
from modelyard.errors import DataRejected
from modelyard.params import DataParams, Field
from modelyard.params.fields import NUMERIC

if TYPE_CHECKING:
    import pyarrow as pa

_COPY = 1 - 1e-6
_FIRST_ROWS = 4096


def read_targets(stage: Stage, params: DataParams) -> Targets:
    """The target of each row that is still there.

    Raises:
        DataRejected: there is nothing to learn; see ``modelyard.data.targets``.
    """
    names = list(params.targets)
    name = names[0]
    if params.task == "regression":
        return targets.number(stage.column(name).cast("float64", safe=False).to_numpy(), params)
    if params.task == "multi-label" and len(names) > 1:
        return targets.several({name: stage.column(name).to_numpy() for name in names})
    if params.task == "multi-label":
        separator = params.field(name).separator
        assert separator is not None
        return targets.separated(stage.column(name).to_pylist(), separator, params)
    codes, values = read_codes(stage, name)
    labels = [str(value).lower() if isinstance(value, bool) else str(value) for value in values]
    return targets.coded(labels, codes, params)


def read_codes(stage: Stage, name: str) -> tuple[np.ndarray, list[Any]]:
    """A column as positions int32 [n] in the list of its values, sorted; -1 where missing."""
    known: dict[Any, int] = {}
    used: set[int] = set()
    parts = []
    for _, table in stage.tables([name]):
        column = table.column(0).combine_chunks()
        encoded = column if _is_dictionary(column) else column.dictionary_encode()
        values = encoded.dictionary.to_pylist()
        codes = np.array([*(known.setdefault(value, len(known)) for value in values), -1], np.int32)
        indices = encoded.indices.fill_null(len(values)).to_numpy(zero_copy_only=False)
        # Rows that were left out may have been the only ones with a value.
        used.update(codes[np.flatnonzero(np.bincount(indices, minlength=1))].tolist())
        parts.append(codes[indices])
    values = list(known)
    ordered = sorted(used - {-1}, key=lambda code: values[code])
    place = np.full(len(values) + 1, -1, np.int32)
    place[ordered] = np.arange(len(ordered), dtype=np.int32)
    for part in parts:
        part[:] = place[part]
    return np.concatenate(parts), [values[code] for code in ordered]


def divide(stage: Stage, target: Targets, features: list[str], params: DataParams) -> np.ndarray:
    """Which split each row goes to, int8 [n].

    Raises:
        DataRejected: the rows cannot be divided as ``data.split`` says.
    """
    split = params.split
    parts = _parts(stage, target, features, params)
    splits.refuse_empty(parts, split)
    if params.task == "classification":
        everywhere = split.type == "stratify" and split.column == params.targets[0]
        splits.refuse_absent(target.values, target.labels, parts, params.targets[0], everywhere)
    return parts


def refuse_leaks(
    stage: Stage,
    target: Targets,
    parts: np.ndarray,
    features: dict[str, Field],
    params: DataParams,
    places: Places,
) -> None:
    """Stop where the test would be known beforehand; see ``data.leakage``.

    Raises:
        DataRejected: splits share a row or a group, or a feature is the target.
    """
    ordinals: list[np.ndarray] = []

    def rows(chosen: np.ndarray) -> np.ndarray:
        if not ordinals:
            ordinals.append(stage.ordinals())
        return places.positions(ordinals[0][chosen])

    if params.leakage.target == "fail":
        _refuse_copies(stage, target, features, params)
    for name in params.leakage.groups:
        codes, values = read_codes(stage, name)
        hidden = params.field(name).pii

        def show(code: int, values: list[Any] = values, hidden: bool = hidden) -> str:
            return HIDDEN if hidden else str(values[code])

        leakage.refuse_shared_groups(codes, parts, name, show, rows)
    if params.leakage.rows == "fail" and features:
        leakage.refuse_equal_rows(row_hashes(stage, list(features)), parts, list(features), rows)


def _parts(stage: Stage, target: Targets, features: list[str], params: DataParams) -> np.ndarray:
    split = params.split
    if split.type == "hash":
        return splits.by_hash(stable_hashes(stage, list(split.keys) or features), split)
    assert split.column is not None
    if split.type == "stratify":
        codes, names = _strata(stage, target, params)
        return splits.stratify(codes, split, names)
    _refuse_missing(stage, split.column)
    if split.type == "datetime":
        return splits.by_time(stage.column(split.column).to_numpy(), split)
    codes, values = read_codes(stage, split.column)
    if split.type == "group":
        return splits.by_group(codes, split)
    return splits.fixed(codes, [str(value) for value in values], split, targets.strata(target))


def _strata(stage: Stage, target: Targets, params: DataParams) -> tuple[np.ndarray, list[str]]:
    """By which rows are stratified: classes, or tenths of a number that is learned."""
    name = params.split.column
    assert name is not None
    if name == params.targets[0] and target.labels and target.values.ndim == 1:
        return target.values, list(target.labels)
    if params.task == "regression" and name == params.targets[0]:
        codes = splits.tenths(target.values, params.split)
        return codes, list(map(str, range(1 + int(codes.max()))))
    if params.field(name).type == "number":
        numbers = stage.column(name).cast("float64").to_numpy()
        codes = splits.tenths(numbers, params.split)
        return codes, list(map(str, range(1 + int(codes.max()))))
    codes, values = read_codes(stage, name)
    names = ["(missing)", *map(str, values)] if np.any(codes < 0) else list(map(str, values))
    return codes + (names[:1] == ["(missing)"]), names


def _refuse_missing(stage: Stage, name: str) -> None:
    missing = sum(table.column(0).null_count for _, table in stage.tables([name]))
    if missing:
        raise DataRejected(
            f"{missing} rows have no {name!r}, which divides them",
            f"Set constraints: {{required: true}} on {name}, so that such rows are refused.",
        )


def _refuse_copies(
    stage: Stage, target: Targets, features: dict[str, Field], params: DataParams
) -> None:
    if params.task == "regression":
        numbers = [name for name, field in features.items() if field.type in NUMERIC]
        copies = [name for name in numbers if _is_linear(stage, name, target.values)]
        detail = "it is a straight line of it, |correlation| above 0.999999"
    else:
        texts = [name for name, field in features.items() if field.type != "text"]
        wanted = target.values if target.values.ndim == 2 else target.values[:, np.newaxis]
        copies = [
            name
            for name in texts
            if any(_is_renamed(stage, name, wanted[:, k]) for k in range(wanted.shape[1]))
        ]
        detail = "each of its values stands for one class, and each class for one value"
    leakage.refuse_copies(copies, ", ".join(params.targets), detail)


def _is_linear(stage: Stage, name: str, target: np.ndarray) -> bool:
    """Whether a number is the target by another scale; told by the first shard in most cases."""
    done, shift_x, shift_y = 0, 0.0, 0.0
    sums = np.zeros(6)
    for _, table in stage.tables([name]):
        x = table.column(0).cast("float64", safe=False).to_numpy()
        y = target[done : done + len(x)]
        done += len(x)
        valid = ~np.isnan(x)
        x, y = x[valid], y[valid]
        if not len(x):
            continue
        if not sums[0]:
            shift_x, shift_y = x[0], y[0]
        x, y = x - shift_x, y - shift_y
        sums += [len(x), x.sum(), y.sum(), x @ x, y @ y, x @ y]
        if not _correlates(sums):
            return False
    return bool(sums[0] > 2) and _correlates(sums)


def _correlates(sums: np.ndarray) -> bool:
    number, x, y, xx, yy, xy = sums
    spread = (xx - x * x / number) * (yy - y * y / number)
    return spread > 0 and abs(xy - x * y / number) > _COPY * np.sqrt(spread)


def _is_renamed(stage: Stage, name: str, target: np.ndarray) -> bool:
    """Whether values and classes stand for each other one to one; most columns fail at once."""
    done = 0
    classes: dict[Any, int] = {}
    values: dict[int, Any] = {}
    most = len(np.unique(target))
    for _, table in stage.tables([name]):
        if len(table.column(0)[:_FIRST_ROWS].unique()) > most + 1:
            return False
        column: pa.Array = table.column(0).combine_chunks()
        encoded = column if _is_dictionary(column) else column.dictionary_encode()
        missing = len(encoded.dictionary)
        indices = encoded.indices.fill_null(missing).to_numpy(zero_copy_only=False)
        part = target[done : done + len(indices)].astype(np.int64)
        done += len(indices)
        used = np.unique(indices)
        if len(used) > most:
            return False
        known = {place: encoded.dictionary[place].as_py() for place in used if place < missing}
        for pair in np.unique(indices.astype(np.int64) * (int(target.max()) + 1) + part).tolist():
            place, code = divmod(pair, int(target.max()) + 1)
            value = known.get(place)
            if classes.setdefault(value, code) != code or values.setdefault(code, value) != value:
                return False
    return len(classes) == most > 1


def _is_dictionary(column: Any) -> bool:
    import pyarrow as pa

    return pa.types.is_dictionary(column.type)
