"""The contract of params.yaml applied to rows.

Each is accepted as typed values, or refused with column, value, reason.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

from modelyard.data.quarantine import Rejection, rejection
from modelyard.data.readers import Batch
from modelyard.data.values import Values, to_integers, to_numbers, to_pixels, to_strings
from modelyard.errors import DataRejected, SourceError
from modelyard.params import DataParams, Field

_MISSING_TARGET = "the target is missing"


@dataclass(frozen=True)
class Column:
    """One scalar field of the accepted rows: ``array`` [N] int64, float64 or str, ``null`` [N]."""

    array: np.ndarray
    null: np.ndarray

    def take(self, keep: np.ndarray) -> "Column":
        """The rows that ``keep`` (bool [N] or indices) selects."""
        return Column(self.array[keep], self.null[keep])


@dataclass(frozen=True)
class Checked:
    """The accepted rows.

    ``rows`` int64 [N], ``pixels`` uint8 [N, height*width*channels], scalars by field name.

    ``num_read`` counts all rows of the source, ``rejections`` says why the others were refused.
    """

    rows: np.ndarray
    pixels: np.ndarray
    scalars: dict[str, Column]
    rejections: tuple[Rejection, ...]
    num_read: int

    def take(self, keep: np.ndarray) -> "Checked":
        """The accepted rows that ``keep`` (bool [N]) selects; rejections and ``num_read`` stay."""
        scalars = {name: column.take(keep) for name, column in self.scalars.items()}
        return Checked(self.rows[keep], self.pixels[keep], scalars, self.rejections, self.num_read)


def check(batches: Iterable[Batch], params: DataParams) -> Checked:
    """Apply the contract to every row.

    Raises:
        ParamsError: a constraint does not fit its field's type.
        SourceError: a quotation mark is opened and not closed, so that rows run into each other.
        DataRejected: a target is missing and ``data.missing_target`` is ``fail``.
    """
    parts = [_check_batch(batch, params) for batch in batches]
    rows = np.concatenate([part.rows for part in parts])
    scalars = {
        name: Column(
            np.concatenate([part.scalars[name].array for part in parts]),
            np.concatenate([part.scalars[name].null for part in parts]),
        )
        for name in parts[0].scalars
    }
    rejections = tuple(sorted({item for part in parts for item in part.rejections}))
    _refuse_missing_target(rejections, params)
    return Checked(
        rows=rows,
        pixels=np.concatenate([part.pixels for part in parts]),
        scalars=scalars,
        rejections=rejections,
        num_read=sum(part.num_read for part in parts),
    )


def _check_batch(batch: Batch, params: DataParams) -> Checked:
    num_rows = len(batch.rows)
    accepted = np.ones(num_rows, dtype=bool)
    rejections = list(batch.rejections)
    scalars: dict[str, Column] = {}
    pixels = np.empty((num_rows, params.image.num_columns), np.uint8)
    for field in params.schema_.fields:
        arrays = batch.columns.get(field.name, [])
        if field.type == "image":
            found = _fill_pixels(arrays, batch.rows, field, params, pixels)
        else:
            scalars[field.name], found = _check_scalar(arrays, batch.rows, field, params)
        rejections += found
        accepted &= ~np.isin(batch.rows, [item.row for item in found])
    kept = {name: column.take(accepted) for name, column in scalars.items()}
    num_read = num_rows + len(batch.rejections)
    return Checked(batch.rows[accepted], pixels[accepted], kept, tuple(rejections), num_read)


def _check_scalar(
    arrays: list[Any], rows: np.ndarray, field: Field, params: DataParams
) -> tuple[Column, list[Rejection]]:
    convert = {"integer": to_integers, "number": to_numbers, "string": to_strings}[field.type]
    missing = params.schema_.missing_values
    values = convert(arrays[0], missing) if arrays else convert(_no_rows(), missing)
    null = np.zeros(len(values.array), dtype=bool)
    problem_at = np.zeros(len(values.array), dtype=bool)
    found: list[Rejection] = []
    for problem in values.problems:
        row, problem_at[problem.index] = rows[problem.index], True
        null[problem.index] = problem.missing
        if problem.missing and field.name == params.target:
            item = rejection(row, field.name, problem.value, _MISSING_TARGET)
            found.append(_allow(item) if not field.constraints.required else item)
        elif not problem.missing or field.constraints.required:
            _refuse_open_quote(problem.value, row, field.name)
            reason = problem.reason if not problem.missing else "is required and missing"
            found.append(rejection(row, field.name, problem.value, reason))
    for broken, reason in _broken(values, field):
        for index in np.flatnonzero(broken & ~problem_at):
            found.append(rejection(rows[index], field.name, values.array[index], reason))
    return Column(values.array, null), found


def _broken(values: Values, field: Field) -> Iterable[tuple[np.ndarray, str]]:
    """For each bound of the field's constraints: where it is broken (bool [N]), and the reason."""
    bounds = field.constraints
    if bounds.minimum is not None:
        yield values.array < bounds.minimum, f"is below the minimum {bounds.minimum:g}"
    if bounds.maximum is not None:
        yield values.array > bounds.maximum, f"is above the maximum {bounds.maximum:g}"
    if bounds.enum is not None:
        allowed = ", ".join(str(value) for value in bounds.enum)
        yield ~np.isin(values.array, list(bounds.enum)), f"is not one of {allowed}"


def _fill_pixels(
    arrays: list[Any], rows: np.ndarray, field: Field, params: DataParams, pixels: np.ndarray
) -> list[Rejection]:
    """Fill ``pixels`` uint8 [N, P].

    Return a rejection for each row that has a bad pixel, naming the first one.
    """
    missing = params.schema_.missing_values
    if not arrays:
        return []
    if len(arrays) == 1 and _is_list(arrays[0]):
        return _fill_from_lists(arrays[0], rows, field, missing, pixels)
    found: dict[int, Rejection] = {}
    for position, array in enumerate(arrays):
        values = to_pixels(array, missing)
        pixels[:, position] = values.array
        for problem in values.problems:
            row = int(rows[problem.index])
            _refuse_open_quote(problem.value, row, field.name)
            place = _pixel_name(field, position)
            found.setdefault(row, rejection(row, place, problem.value, problem.reason))
    return list(found.values())


def _fill_from_lists(
    array: Any, rows: np.ndarray, field: Field, missing: tuple[str, ...], pixels: np.ndarray
) -> list[Rejection]:
    import pyarrow.compute as pc

    lengths = pc.call_function("list_value_length", [array]).fill_null(-1).to_numpy()
    whole = np.flatnonzero(lengths == field.num_columns)
    found: dict[int, Rejection] = {}
    for index in np.flatnonzero(lengths != field.num_columns):
        reason = "is missing"
        if lengths[index] >= 0:
            reason = f"has {lengths[index]} pixels, not {field.num_columns}"
        found[int(rows[index])] = rejection(rows[index], field.name, "", reason)
    flat = pc.call_function("list_flatten", [array.take(whole)])
    values = to_pixels(flat, missing)
    pixels[whole] = values.array.reshape(len(whole), field.num_columns)
    for problem in values.problems:
        index, position = divmod(problem.index, field.num_columns)
        row = int(rows[whole[index]])
        place = _pixel_name(field, position)
        found.setdefault(row, rejection(row, place, problem.value, problem.reason))
    return list(found.values())


def _pixel_name(field: Field, position: int) -> str:
    """``image[3,4]``: line 3, column 4 of the picture; with three channels ``image[3,4,0]``."""
    assert field.width is not None
    assert field.channels is not None
    cell, channel = divmod(position, field.channels)
    line, column = divmod(cell, field.width)
    inner = f"{line},{column},{channel}" if field.channels > 1 else f"{line},{column}"
    return f"{field.name}[{inner}]"


def _is_list(array: Any) -> bool:
    import pyarrow as pa

    kind = array.type
    tests = (pa.types.is_list, pa.types.is_large_list, pa.types.is_fixed_size_list)
    return any(test(kind) for test in tests)


def _no_rows() -> Any:
    import pyarrow as pa

    return pa.array([], pa.string())


def _allow(item: Rejection) -> Rejection:
    return Rejection(item.row, item.column, item.value, item.reason, allowed=True)


def _refuse_open_quote(value: str, row: int, column: str) -> None:
    if "\n" in value:
        raise SourceError(
            f"row {row}, column {column}: the value runs over several lines",
            "A quotation mark is opened there and not closed; mend the file.",
        )


def _refuse_missing_target(rejections: tuple[Rejection, ...], params: DataParams) -> None:
    if params.missing_target != "fail":
        return
    missing = [item for item in rejections if item.reason == _MISSING_TARGET]
    if missing:
        raise DataRejected(
            f"{len(missing)} rows have no {params.target!r}, first row {missing[0].row}, "
            "and data.missing_target is fail",
            "Complete the rows, or set data.missing_target: drop.",
        )
