"""One value of a row, as a request writes it and as the model takes it.

A request has JSON's own types, and dates as ISO 8601; a model takes float64 (NaN where missing,
days or seconds since 1970-01-01 UTC for times) and text ("" where missing).
"""

import math
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from typing import Any

NUMBERS = ("number", "integer", "boolean", "date", "datetime")
TEXTS = ("category", "text")
SCALARS = frozenset((*NUMBERS, *TEXTS))
"""The types of inputs of shape [rows]; in a request such a value may be null or absent."""

_EPOCH_DAY = date(1970, 1, 1).toordinal()
_EPOCH_TIME = datetime(1970, 1, 1, tzinfo=UTC)
_EXPECTED = {
    "number": "a number",
    "integer": "a whole number",
    "boolean": "true or false",
    "date": 'a date in ISO 8601, as "2024-01-31"',
    "datetime": 'a time in ISO 8601, as "2024-01-31T12:30:00Z"',
    "category": "text",
    "text": "text",
}


_FROM_NUMBER: dict[str, Callable[[float], Any]] = {
    "number": float,
    "integer": int,
    "boolean": bool,
    "date": lambda days: date.fromordinal(_EPOCH_DAY + int(days)).isoformat(),
    "datetime": lambda seconds: (_EPOCH_TIME + timedelta(seconds=seconds)).isoformat(),
}


def to_tensor(kind: str, value: Any) -> float | str:
    """A value of a request as the model takes it.

    Args:
        kind: One of ``SCALARS``.
        value: As JSON gives it; None is a missing value.

    Raises:
        ValueError: the value is of another type; the message says which is expected.
    """
    if kind in TEXTS:
        if value is None or type(value) is str:
            return value or ""
        raise ValueError(expected(kind))
    if value is None:
        return math.nan
    number = _number(kind, value)
    if not math.isfinite(number):
        raise ValueError(expected(kind))
    return number


def from_tensor(kind: str, value: Any) -> float | int | str | bool | None:
    """The inverse of ``to_tensor``: a value of the model as a request writes it."""
    if kind in TEXTS:
        return str(value) or None
    number = float(value)
    return None if math.isnan(number) else _FROM_NUMBER[kind](number)


def from_text(kind: str, text: str) -> Any:
    """A cell of a CSV file as JSON would give it; an empty one is missing.

    Raises:
        ValueError: as ``to_tensor``.
    """
    if kind in TEXTS or not text:
        return text or None
    match kind:
        case "boolean":
            if text.lower() not in ("true", "false"):
                raise ValueError(expected(kind))
            return text.lower() == "true"
        case "date" | "datetime":
            return text
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not math.isfinite(number) or "_" in text:  # Python reads 1_000, and nan
        raise ValueError(expected(kind))
    return number


def expected(kind: str) -> str:
    """What a request must give for an input of this type, in words."""
    return _EXPECTED[kind]


def _number(kind: str, value: Any) -> float:
    """A value of one of ``NUMBERS`` as float; days for a date, seconds for a time."""
    if kind == "boolean":
        if type(value) is bool:
            return float(value)
    elif kind in ("date", "datetime"):
        if type(value) is str:
            return _time(kind, value)
    elif type(value) is int or (type(value) is float and (kind == "number" or value.is_integer())):
        return float(value)
    raise ValueError(expected(kind))


def _time(kind: str, text: str) -> float:
    try:
        if kind == "date":
            return float(date.fromisoformat(text).toordinal() - _EPOCH_DAY)
        time = datetime.fromisoformat(text)
    except ValueError:
        raise ValueError(expected(kind)) from None
    aware = time if time.tzinfo else time.replace(tzinfo=UTC)
    return (aware - _EPOCH_TIME) / timedelta(seconds=1)
