"""Columns of text or numbers turned into typed arrays, with the place of each value that is not."""

import math
import re
from dataclasses import dataclass
from typing import Any

import numpy as np

_INTEGER = re.compile(r"[+-]?[0-9]+")
_INT64 = np.iinfo(np.int64)


@dataclass(frozen=True)
class Problem:
    """A value, at ``index`` of its array, that is missing or is not of the declared type."""

    index: int
    value: str
    reason: str
    missing: bool = False


@dataclass(frozen=True)
class Values:
    """A typed array with its problems; where there is a problem the array holds a placeholder."""

    array: np.ndarray
    problems: tuple[Problem, ...]


def to_pixels(column: Any, missing: tuple[str, ...]) -> Values:
    """A column of pixels, ``pyarrow.Array`` [N] of text or numbers, as uint8 [N]."""
    import pyarrow as pa
    import pyarrow.compute as pc

    may_be_missing = any(_INTEGER.fullmatch(token.strip()) for token in missing)
    plain, numbers = pa.types.is_integer(column.type), column
    if pa.types.is_string(column.type) and not may_be_missing:
        numbers = pc.call_function("utf8_trim_whitespace", [column])
        # Asked first, because the cast reads hexadecimal as well.
        plain = pc.call_function("all", [pc.call_function("ascii_is_decimal", [numbers])]).as_py()
    if plain and column.null_count == 0:
        try:
            return Values(pc.cast(numbers, pa.uint8()).to_numpy(), ())
        except pa.ArrowInvalid:
            pass  # A value is out of range; found one by one below.
    integers = to_integers(column, missing)
    outside = np.flatnonzero((integers.array < 0) | (integers.array > 255))
    problems = [
        Problem(int(index), str(integers.array[index]), "is not a pixel from 0 to 255")
        for index in outside
    ]
    array = np.clip(integers.array, 0, 255).astype(np.uint8)
    return Values(array, integers.problems + tuple(problems))


def to_integers(column: Any, missing: tuple[str, ...]) -> Values:
    """A column as int64 [N].

    A number with no fraction counts as an integer where it was stored as a number.
    """
    array = np.zeros(len(column), np.int64)
    problems: list[Problem] = []
    for index, value in enumerate(column.to_pylist()):
        parsed, problem = _integer(index, value, missing)
        if problem is None:
            array[index] = parsed
        else:
            problems.append(problem)
    return Values(array, tuple(problems))


def to_numbers(column: Any, missing: tuple[str, ...]) -> Values:
    """A column as float64 [N]; NaN and infinity are no numbers."""
    array = np.zeros(len(column), np.float64)
    problems: list[Problem] = []
    for index, value in enumerate(column.to_pylist()):
        if _is_missing(value, missing):
            problems.append(_missing(index, value))
            continue
        try:
            number = float(value)
        except (TypeError, ValueError):
            number = np.nan
        if np.isfinite(number):
            array[index] = number
        else:
            problems.append(Problem(index, str(value), "is not a number"))
    return Values(array, tuple(problems))


def to_strings(column: Any, missing: tuple[str, ...]) -> Values:
    """A column as an object array of ``str`` [N]."""
    array = np.full(len(column), "", dtype=object)
    problems: list[Problem] = []
    for index, value in enumerate(column.to_pylist()):
        if _is_missing(value, missing):
            problems.append(_missing(index, value))
        else:
            array[index] = str(value)
    return Values(array, tuple(problems))


def _integer(index: int, value: Any, missing: tuple[str, ...]) -> tuple[int, Problem | None]:
    if _is_missing(value, missing):
        return 0, _missing(index, value)
    text = value.strip() if isinstance(value, str) else value
    number: int | None = None
    if isinstance(text, str):
        number = int(text) if len(text) < 25 and _INTEGER.fullmatch(text) else None
    elif isinstance(text, int | float) and not isinstance(text, bool):
        number = int(text) if text % 1 == 0 else None
    if number is None or not _INT64.min <= number <= _INT64.max:
        return 0, Problem(index, str(value), "is not an integer")
    return number, None


def _is_missing(value: Any, missing: tuple[str, ...]) -> bool:
    """Null, NaN, or one of the schema's ``missingValues``, with or without space around it."""
    if isinstance(value, str):
        return value in missing or value.strip() in missing
    return value is None or (isinstance(value, float) and math.isnan(value))


def _missing(index: int, value: Any) -> Problem:
    return Problem(index, value if isinstance(value, str) else "", "is missing", missing=True)
