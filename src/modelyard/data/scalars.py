"""One scalar field of the schema, checked: typed, within its constraints, or refused by row."""

import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from modelyard.data.pii import HIDDEN
from modelyard.data.quarantine import Rejection, rejection
from modelyard.data.values import (
    Values,
    to_booleans,
    to_dates,
    to_datetimes,
    to_integers,
    to_numbers,
    to_strings,
)
from modelyard.errors import ParamsError, SourceError
from modelyard.params import DataParams, Field
from modelyard.params.data import MEDIA_KINDS

MISSING_TARGET = "the target is missing"


@dataclass(frozen=True)
class Column:
    """One scalar field of the accepted rows.

    ``array`` [N] is int64, float64, bool, datetime64[D], datetime64[us] (UTC) or object (str), as
    the field's type says; ``null`` bool [N].
    """

    array: np.ndarray
    null: np.ndarray

    def take(self, keep: np.ndarray) -> "Column":
        """The rows that ``keep`` (bool [N] or indices) selects."""
        return Column(self.array[keep], self.null[keep])


def check_scalars(
    columns: dict[str, Any], rows: np.ndarray, params: DataParams
) -> tuple[dict[str, Column], list[Rejection]]:
    """Check every field but the picture or sound, in the rows ``rows`` int64 [N].

    ``columns`` gives a ``pyarrow.Array`` [N] by field. ``unique`` is not checked here, since it is
    about all rows (see ``refuse_repeated``).

    Raises:
        ParamsError: a bound of the field is no value of its type.
        SourceError: a quotation mark is opened and not closed, so that rows run into each other.
    """
    import pyarrow as pa

    scalars: dict[str, Column] = {}
    found: list[Rejection] = []
    for field in params.schema_.fields:
        if field.type not in MEDIA_KINDS:
            column = columns.get(field.name, pa.array([], pa.string()))
            scalars[field.name], refused = _check_scalar(column, rows, field, params)
            found += refused
    return scalars, found


def refuse_repeated(column: Column, rows: np.ndarray, field: Field) -> list[Rejection]:
    """A rejection for each row whose value stands in an earlier row; missing ones may repeat."""
    positions = np.flatnonzero(~column.null)
    values, kept = column.array[positions], rows[positions].tolist()
    _, first, codes = np.unique(values, return_index=True, return_inverse=True)
    earlier = first[codes]
    return [
        rejection(
            kept[index],
            field.name,
            HIDDEN if field.pii else values[index],
            f"must be unique, and is the value of row {kept[earlier[index]]}",
        )
        for index in np.flatnonzero(earlier != np.arange(len(positions)))
    ]


def refuse_open_quote(value: str, row: int, column: str) -> None:
    """Stop where a value of a delimited file holds a line break.

    Raises:
        SourceError: it does.
    """
    if "\n" in value:
        raise SourceError(
            f"row {row}, column {column}: the value runs over several lines",
            "A quotation mark is opened there and not closed; mend the file.",
        )


def _check_scalar(
    column: Any, rows: np.ndarray, field: Field, params: DataParams
) -> tuple[Column, list[Rejection]]:
    values = _typed(column, field, params.schema_.missing_values, trim=params.clean.trim)
    null = np.zeros(len(values.array), dtype=bool)
    problem_at = np.zeros(len(values.array), dtype=bool)
    found: list[Rejection] = []

    def refuse(index: int, value: object, reason: str) -> None:
        shown = HIDDEN if field.pii else value
        found.append(rejection(rows[index], field.name, shown, reason))

    for problem in values.problems:
        problem_at[problem.index] = True
        null[problem.index] = problem.missing
        if problem.missing and params.needs(field):
            refuse(problem.index, problem.value, MISSING_TARGET)
            found.append(replace(found.pop(), allowed=not field.constraints.required))
        elif not problem.missing or field.constraints.required:
            refuse_open_quote(problem.value, rows[problem.index], field.name)
            reason = problem.reason if not problem.missing else "is required and missing"
            refuse(problem.index, problem.value, reason)
    for broken, reason in _broken(values, field):
        for index in np.flatnonzero(broken & ~problem_at):
            refuse(int(index), values.array[index], reason)
    return Column(values.array, null), found


def _typed(column: Any, field: Field, missing: tuple[str, ...], *, trim: bool = True) -> Values:
    if field.type == "integer":
        return to_integers(column, missing)
    if field.type == "number":
        return to_numbers(column, missing)
    if field.type == "boolean":
        return to_booleans(column, missing, field.true_values, field.false_values)
    if field.type == "date":
        return to_dates(column, missing, field.format)
    if field.type == "datetime":
        return to_datetimes(column, missing, field.format)
    return to_strings(column, missing, trim=trim)


def _broken(values: Values, field: Field) -> Iterable[tuple[np.ndarray, str]]:
    """For each bound of the field's constraints: where it is broken (bool [N]), and the reason."""
    bounds, array = field.constraints, values.array
    if bounds.minimum is not None:
        low = bounds.minimum
        yield array < bound_of(low, field), f"is below the minimum {_shown(low)}"
    if bounds.maximum is not None:
        high = bounds.maximum
        yield array > bound_of(high, field), f"is above the maximum {_shown(high)}"
    if bounds.enum is not None:
        allowed = ", ".join(str(value) for value in bounds.enum)
        known = [bound_of(value, field) for value in bounds.enum]
        yield ~np.isin(array, np.array(known, array.dtype)), f"is not one of {allowed}"
    if bounds.min_length is not None or bounds.max_length is not None:
        lengths = np.fromiter(map(len, array), np.int64, len(array))
        if bounds.min_length is not None:
            yield lengths < bounds.min_length, f"is shorter than {bounds.min_length} characters"
        if bounds.max_length is not None:
            yield lengths > bounds.max_length, f"is longer than {bounds.max_length} characters"
    if bounds.pattern is not None:
        pattern = re.compile(bounds.pattern)
        matches = (pattern.fullmatch(text) is not None for text in array)
        yield ~np.fromiter(matches, bool, len(array)), f"does not match {bounds.pattern}"
    if array.dtype == object:
        yield np.fromiter(("\0" in text for text in array), bool, len(array)), "holds a null byte"


def bound_of(bound: str | float, field: Field) -> Any:
    """A bound or an allowed value as what the field's array holds.

    Raises:
        ParamsError: it is no value of the field's type.
    """
    if field.type not in ("date", "datetime", "boolean"):
        return bound
    import pyarrow as pa

    # Bounds are ISO 8601 whatever the source's form is: only then do they sort as text.
    iso = field.model_copy(update={"format": None})
    values = _typed(pa.array([str(bound)]), iso, ())
    if values.problems:
        raise ParamsError(
            f"data.schema.fields.{field.name}: its bound {bound!r} {values.problems[0].reason}",
            "Correct the field's constraints.",
        )
    return values.array[0]


def _shown(bound: str | float) -> str:
    return bound if isinstance(bound, str) else f"{bound:g}"
