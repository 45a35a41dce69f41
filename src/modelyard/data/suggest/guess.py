"""What a column of text holds, judged by a sample of its values."""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from modelyard.data.suggest.dialect import NUMBER

ALWAYS_MISSING = frozenset(
    {"?", "NaN", "nan", "NAN", "null", "NULL", "Null", "#N/A", "<NA>", "N/A", "n/a", "\\N", "NaT"}
)
"""Marks of a missing value wherever they stand."""
PERHAPS_MISSING = frozenset({"NA", "na", "-", "--", ".", "None", "none", "NONE", "missing"})
"""The same, but a word of the language elsewhere: believed beside numbers and dates alone."""
MARKERS = ALWAYS_MISSING | PERHAPS_MISSING
BOOLEANS = (("true", "false"), ("yes", "no"), ("y", "n"), ("t", "f"))
INTEGER = re.compile(r"[+-]?[0-9]+")
ISO_DATE = "[0-9]{4}-[0-9]{2}-[0-9]{2}"
ISO_TIME = (
    ISO_DATE + r"[T ][0-9]{2}:[0-9]{2}(:[0-9]{2}([.][0-9]{1,6})?)?(Z|[+-][0-9]{2}:?[0-9]{2})?"
)
_DATE_FORMS = (
    "%d.%m.%Y",
    "%d/%m/%Y",
    "%m/%d/%Y",
    "%Y/%m/%d",
    "%d-%m-%Y",
    "%m-%d-%Y",
    "%d.%m.%y",
    "%m/%d/%y",
    "%d/%m/%y",
    "%d %b %Y",
    "%d %B %Y",
    "%b %d, %Y",
    "%B %d, %Y",
    "%d-%b-%Y",
    "%d-%b-%y",
)
_CLOCKS = (" %H:%M:%S", " %H:%M", "T%H:%M:%S")
_PACKED_DATE = re.compile("(19|20)[0-9]{2}(0[1-9]|1[0-2])(0[1-9]|[12][0-9]|3[01])")
_ENOUGH = 0.98
"""Share of values that must be of a type for it to be the column's."""
_MOSTLY = 0.6
_WRITTEN_OTHERWISE = tuple(
    (re.compile(form), f"numbers {said}")
    for form, said in (
        (
            r"[+-]?([1-9][0-9]{0,2}([,' ][0-9]{3})*|0)([.][0-9]+)?",
            "with parted thousands: give it type: number and groupChar",
        ),
        (
            r"[+-]?([0-9]+|[0-9]{1,3}([.' ][0-9]{3})+)(,[0-9]+)?",
            "with a decimal comma: give it type: number and decimalChar: ','",
        ),
        (r"[+-]?[0-9]+([.,][0-9]+)? ?%", "with a percent sign: write them without"),
        (
            r"[$€£¥] ?[+-]?[0-9][0-9.,]*|[0-9][0-9.,]* ?[$€£¥]",
            "with a currency: write them without",
        ),
    )
)
_LIKE_DATE = re.compile(
    r"([0-9]{4}[-/.][0-9]{1,2}[-/.][0-9]{1,2}|[0-9]{1,2}[-/.][0-9]{1,2}[-/.][0-9]{4})([T ].*)?"
)
_MAX_INT64 = 2**63 - 1


@dataclass(frozen=True)
class Guess:
    """A column's type by a sample; ``form`` is strptime's, ``also`` another that fits as well.

    ``hint`` says why what looks like numbers or dates is text.
    """

    kind: str
    form: str | None = None
    also: str | None = None
    hint: str = ""


def guess(name: str, sample: Iterable[str]) -> Guess:
    """The type of a column called ``name``, by values that are trimmed, empty where missing."""
    values = [value for value in sample if value and value not in MARKERS]
    if not values:
        return Guess("empty")
    distinct = set(values)
    if len(distinct) == 2 and {value.lower() for value in distinct} in map(set, BOOLEANS):
        return Guess("boolean")
    if _share(values, lambda value: NUMBER.fullmatch(value) is not None) >= _ENOUGH:
        return _of_numbers(name, values)
    if _share(values, re.compile(ISO_DATE).fullmatch) >= _ENOUGH:
        return Guess("date")
    if _share(values, re.compile(ISO_TIME).fullmatch) >= _ENOUGH:
        return Guess("datetime")
    return _of_dates(values) or Guess("text", hint=_nearly(values))


def _nearly(values: list[str]) -> str:
    """Why texts that a person takes for numbers or dates are none; empty where they are words."""
    for form, said in _WRITTEN_OTHERWISE:
        if _share(values, form.fullmatch) >= _ENOUGH:
            return said
    if _share(values, _LIKE_DATE.fullmatch) >= _ENOUGH:
        return "dates in more than one form: write them in one"
    odd = next((value for value in values if not NUMBER.fullmatch(value)), "")
    if (share := _share(values, NUMBER.fullmatch)) >= _MOSTLY:
        return f"{100 * share:.0f} % are numbers, but not {odd[:20]!r}"
    return ""


def _of_numbers(name: str, values: list[str]) -> Guess:
    """A number, unless the digits are a code (leading zeros) or a date without a separator."""
    whole = [value for value in values if INTEGER.fullmatch(value)]
    if any(len(value) > 1 and value[0] == "0" for value in whole):
        return Guess("text")
    if any(abs(int(value)) > _MAX_INT64 for value in whole):
        return Guess("text")
    dated = re.search("date|day|datum", name, re.IGNORECASE)
    if dated and all(_PACKED_DATE.fullmatch(value) for value in values):
        return Guess("date", "%Y%m%d")
    if _share(values, INTEGER.fullmatch) >= _ENOUGH:
        return Guess("integer")
    return Guess("number")


def _of_dates(values: list[str]) -> Guess | None:
    """The first form that fits enough of the values, and another that does."""
    some = values[:: max(1, len(values) // 500)]
    for kind, forms in (
        ("date", _DATE_FORMS),
        ("datetime", [form + clock for form in _DATE_FORMS for clock in _CLOCKS]),
    ):
        fit = [form for form in forms if _share(some, lambda value: _reads(value, form)) >= _ENOUGH]  # noqa: B023 - called at once
        if fit:
            return Guess(kind, fit[0], fit[1] if len(fit) > 1 else None)
    return None


def _reads(value: str, form: str) -> bool:
    try:
        datetime.strptime(value, form)
    except ValueError:
        return False
    return True


def _share(values, holds) -> float:  # noqa: ANN001 - a list of texts and a question about one
    return sum(1 for value in values if holds(value)) / len(values)
