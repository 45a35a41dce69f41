"""Columns of text or numbers turned into typed arrays, with the place of each value that is not.

What Arrow can parse is parsed a column at a time; the few values that are left are looked at one by
one, by the functions that define what is meant.
"""

import datetime
import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

_INTEGER = re.compile(r"[+-]?[0-9]+")
_INT64 = np.iinfo(np.int64)
_EPOCH = datetime.datetime(1970, 1, 1)
_MICROSECOND = datetime.timedelta(microseconds=1)
_ISO_TIME = re.compile(
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}"
    r"([T ][0-9]{2}:[0-9]{2}(:[0-9]{2}([.,][0-9]{1,6})?)?(Z|[+-][0-9]{2}(:?[0-9]{2})?)?)?"
)
_PLAIN_INTEGER = "^-?[0-9]{1,18}$"
_PLAIN_NUMBER = "^-?[0-9]{1,200}([.][0-9]{1,50})?$"


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
    done = _parse_plain(column, missing, _PLAIN_INTEGER, array)
    return _parse_rest(column, missing, array, done, _integer, "is not an integer")


def to_numbers(column: Any, missing: tuple[str, ...]) -> Values:
    """A column as float64 [N]; NaN and infinity are no numbers."""
    array = np.zeros(len(column), np.float64)
    done = _parse_plain(column, missing, _PLAIN_NUMBER, array)
    return _parse_rest(column, missing, array, done, _number, "is not a number")


def to_strings(column: Any, missing: tuple[str, ...], *, trim: bool = False) -> Values:
    """A column as an object array of ``str`` [N], without the space around them where ``trim``."""
    array = np.full(len(column), "", dtype=object)
    done = _parse_plain(column, missing, "", array, trim=trim)
    return _parse_rest(column, missing, array, done, lambda value: _text(value, trim=trim), "")


def to_booleans(
    column: Any, missing: tuple[str, ...], true: tuple[str, ...], false: tuple[str, ...]
) -> Values:
    """A column as bool [N]; ``true`` and ``false`` are the texts that say so."""
    known = dict.fromkeys(false, False) | dict.fromkeys(true, True)

    def parse(value: Any) -> bool | None:
        if isinstance(value, float) and value in (0, 1):
            value = int(value)
        return value if isinstance(value, bool) else known.get(str(value).strip())

    array = np.zeros(len(column), bool)
    reason = f"is neither true ({', '.join(true)}) nor false ({', '.join(false)})"
    return _parse_rest(column, missing, array, np.zeros(len(column), bool), parse, reason)


def to_dates(column: Any, missing: tuple[str, ...], form: str | None) -> Values:
    """A column as datetime64[D] [N]; ``form`` is that of strptime, by default ISO 8601."""
    array = np.zeros(len(column), "datetime64[D]")
    reason = f"is no date of the form {form or 'YYYY-MM-DD'}"

    def parse(value: Any) -> np.datetime64 | None:
        moment = _moment(value, form)
        return None if moment is None or moment.time() != datetime.time() else _stamp(moment, "D")

    return _parse_rest(column, missing, array, np.zeros(len(column), bool), parse, reason)


def to_datetimes(column: Any, missing: tuple[str, ...], form: str | None) -> Values:
    """A column as datetime64[us] [N] in UTC; a time without a zone is taken as UTC."""
    array = np.zeros(len(column), "datetime64[us]")
    reason = f"is no time of the form {form or 'YYYY-MM-DDThh:mm:ss'}"

    def parse(value: Any) -> np.datetime64 | None:
        moment = _moment(value, form)
        return None if moment is None else _stamp(moment, "us")

    return _parse_rest(column, missing, array, np.zeros(len(column), bool), parse, reason)


def _parse_plain(
    column: Any, missing: tuple[str, ...], pattern: str, array: np.ndarray, *, trim: bool = True
) -> np.ndarray:
    """Fill ``array`` where a value needs no thought; return where that was, bool [N]."""
    import pyarrow as pa
    import pyarrow.compute as pc

    written = array.dtype == object
    target = pa.string() if written else pa.from_numpy_dtype(array.dtype)
    done = np.zeros(len(column), bool)
    if pa.types.is_string(column.type):
        text = pc.call_function("utf8_trim_whitespace", [column])
        options = pc.MatchSubstringOptions(pattern)
        plain = pc.call_function("match_substring_regex", [text], options).fill_null(False)
        known = pc.SetLookupOptions(pa.array(missing, pa.string()))
        for form in (text, column):
            plain = pc.call_function("and_not", [plain, pc.call_function("is_in", [form], known)])
        done = plain.to_numpy(zero_copy_only=False)
        kept = (text if trim else column).filter(plain)
        array[done] = pc.cast(kept, target).to_numpy(zero_copy_only=False)
    elif not written and (column.type == target or pa.types.is_signed_integer(column.type)):
        numbers = pc.cast(column.fill_null(0), target).to_numpy()
        done = column.is_valid().to_numpy(zero_copy_only=False) & np.isfinite(numbers)
        array[done] = numbers[done]
    return done


def _parse_rest(
    column: Any,
    missing: tuple[str, ...],
    array: np.ndarray,
    done: np.ndarray,
    parse: Callable[[Any], Any],
    reason: str,
) -> Values:
    """Fill ``array`` where it is not ``done``; ``parse`` gives None for what is not of the type."""
    problems: list[Problem] = []
    left = np.flatnonzero(~done)
    for index, value in zip(left.tolist(), column.take(left).to_pylist(), strict=True):
        if _is_missing(value, missing):
            text = value if isinstance(value, str) else ""
            problems.append(Problem(index, text, "is missing", missing=True))
            continue
        parsed = parse(value)
        if parsed is None:
            problems.append(Problem(index, str(value), reason))
        else:
            array[index] = parsed
    return Values(array, tuple(problems))


def _text(value: Any, *, trim: bool) -> str:
    return str(value).strip() if trim else str(value)


def _integer(value: Any) -> int | None:
    text = value.strip() if isinstance(value, str) else value
    number: int | None = None
    if isinstance(text, str):
        number = int(text) if len(text) < 25 and _INTEGER.fullmatch(text) else None
    elif isinstance(text, int | float) and not isinstance(text, bool):
        number = int(text) if text % 1 == 0 else None
    return number if number is not None and _INT64.min <= number <= _INT64.max else None


def _number(value: Any) -> float | None:
    try:
        number = float(value)
    except (TypeError, ValueError):
        return None
    return number if math.isfinite(number) else None


def _moment(value: Any, form: str | None) -> datetime.datetime | None:
    """A date or time, stored as one or written, as a time in UTC without a zone."""
    if isinstance(value, str):
        text = value.strip()
        if not form and not _ISO_TIME.fullmatch(text):
            return None
        try:
            value = (
                datetime.datetime.strptime(text, form)
                if form
                else datetime.datetime.fromisoformat(text)
            )
        except ValueError:
            return None
    if isinstance(value, datetime.datetime):
        return value.astimezone(datetime.UTC).replace(tzinfo=None) if value.tzinfo else value
    if isinstance(value, datetime.date):
        return datetime.datetime.combine(value, datetime.time())
    return None


def _stamp(moment: datetime.datetime, unit: str) -> np.datetime64:
    return np.datetime64((moment - _EPOCH) // _MICROSECOND, "us").astype(f"datetime64[{unit}]")


def _is_missing(value: Any, missing: tuple[str, ...]) -> bool:
    """Null, NaN, or one of the schema's ``missingValues``, with or without space around it."""
    if isinstance(value, str):
        return value in missing or value.strip() in missing
    return value is None or (isinstance(value, float) and math.isnan(value))
