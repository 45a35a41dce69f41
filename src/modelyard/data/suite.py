"""The expectations that a dataset must meet: of contract, quality metrics and the user."""

import math
from dataclasses import dataclass, field
from difflib import get_close_matches
from typing import Any

from modelyard.data.manifest import columns_of
from modelyard.data.patterns import is_plain
from modelyard.data.scalars import bound_of
from modelyard.data.spectrogram import num_samples
from modelyard.errors import ParamsError
from modelyard.params import DataParams, Field, Quality

DTYPES = {
    "integer": "int64",
    "number": "float64",
    "boolean": "bool",
    "string": "str",
    "category": "str",
    "text": "str",
    "date": "datetime64[us]",
    "datetime": "datetime64[us]",
}
"""How a field's values stand in the frame that is checked, by its type, where none is missing."""


@dataclass(frozen=True)
class Expected:
    """One expectation of the suite.

    ``origin`` is the key of params.yaml that asked for it, ``reason`` what a row breaks.

    Where ``by_row``, rows that break it are quarantined; else it is about the set as a whole.
    """

    type: str
    kwargs: dict[str, Any] = field(hash=False)
    origin: str
    reason: str

    @property
    def by_row(self) -> bool:
        """Whether a row may be refused for it: not where ``mostly`` makes it a bound on a share."""
        return self.kwargs.get("mostly", 1) == 1


def build_suite(params: DataParams, present: dict[str, int]) -> list[Expected]:
    """The suite for a manifest with ``present[column]`` values (nulls not counted) in each column.

    Raises:
        ParamsError: an expectation or a quality metric names a column that the manifest does not
            have.
    """
    columns = columns_of(params)
    suite = _of_media(params.media, columns)
    for item in params.schema_.fields:
        if item.name != params.media.name:
            required = item.constraints.required or params.needs(item)
            origin = f"data.schema.fields.{item.name}"
            dtype = "str" if item.pii else DTYPES[item.type]
            if dtype == "int64" and present[item.name] < present["row"]:
                dtype = "float64"
            suite += field_rules(item, origin, dtype, required=required)
    for index, quality in enumerate(params.quality):
        origin = f"data.quality.{index}"
        column = _quality_column(quality, origin, params)
        suite.append(quality_bounds(quality, origin, column, present["row"], present[column]))
    for index, expectation in enumerate(params.expectations):
        origin = f"data.expectations.{index}"
        _refuse_unknown_columns(expectation.type, expectation.kwargs, origin, columns)
        reason = f"breaks {expectation.type} ({spoken(expectation.kwargs)})"
        suite.append(Expected(expectation.type, expectation.kwargs, origin, reason))
    return suite


def _of_media(media: Field, columns: list[str]) -> list[Expected]:
    origin = f"data.schema.fields.{media.name}"

    def rule(kind: str, column: str, reason: str, **kwargs: Any) -> Expected:
        return Expected(
            f"expect_column_values_to_{kind}", {"column": column, **kwargs}, origin, reason
        )

    suite = [
        Expected(
            "expect_table_columns_to_match_ordered_list",
            {"column_list": columns},
            "data.schema.fields",
            "has other columns than the schema",
        ),
        rule("be_unique", "row", "has the position of another row"),
        rule("be_in_set", "decodable", "cannot be decoded", value_set=[True]),
        rule("match_regex", "sha256", "has no sha256", regex="^[0-9a-f]{64}$"),
    ]
    if media.type == "image":
        sizes = {"height": media.height, "width": media.width, "channels": media.channels}
        bounded, top = ("pixel_min", "pixel_max", "pixel_mean"), 255
        reason = "has a pixel out of 0 to 255"
    else:
        sizes = {"sample_rate": media.sample_rate, "samples": num_samples(media)}
        bounded, top, reason = ("peak", "rms"), 1, "is louder than full scale"
    for name, size in sizes.items():
        suite.append(rule("be_in_set", name, f"has a {name} other than {size}", value_set=[size]))
    for name in bounded:
        suite.append(rule("be_between", name, reason, min_value=0, max_value=top))
    return suite


def field_rules(field: Field, origin: str, dtype: str, *, required: bool) -> list[Expected]:
    """What a field's type and constraints ask of its column, which has the ``dtype`` of pandas."""

    def rule(kind: str, reason: str, **kwargs: Any) -> Expected:
        return Expected(
            f"expect_column_values_to_{kind}", {"column": field.name, **kwargs}, origin, reason
        )

    bounds = field.constraints
    suite = [rule("be_of_type", f"is not of type {field.type}", type_=dtype)]
    if required:
        suite.append(rule("not_be_null", "is required and missing"))
    if bounds.unique:
        suite.append(rule("be_unique", "must be unique, and is the value of an earlier row"))
    if field.pii:
        return suite  # What is here is a token: the bounds were checked before.
    if limits := _given(min_value=bounds.minimum, max_value=bounds.maximum):
        limits = {key: _plain(value, field) for key, value in limits.items()}
        suite.append(rule("be_between", "is out of range", **limits))
    if bounds.enum is not None and field.type not in ("date", "datetime"):
        reason = f"is not one of {', '.join(map(str, bounds.enum))}"
        values = [_plain(value, field) for value in bounds.enum]
        suite.append(rule("be_in_set", reason, value_set=values))
    # Great Expectations would read another pattern otherwise than the contract did.
    if bounds.pattern is not None and is_plain(bounds.pattern):
        reason = f"does not match {bounds.pattern}"
        suite.append(rule("match_regex", reason, regex=f"^(?:{bounds.pattern})$"))
    if lengths := _given(min_value=bounds.min_length, max_value=bounds.max_length):
        suite.append(
            Expected(
                "expect_column_value_lengths_to_be_between",
                {"column": field.name, **lengths},
                origin,
                "has another length than the schema says",
            )
        )
    return suite


def _plain(bound: str | float, field: Field) -> str | float | bool:
    """A bound as an expectation takes it, and JSON."""
    value = bound_of(bound, field)
    if field.type in ("date", "datetime"):
        # With a time of day: a day alone would be a date, which no column of times is compared to.
        return str(value.astype("datetime64[s]"))
    return bool(value) if field.type == "boolean" else value


def _given(**values: Any) -> dict[str, Any]:
    return {name: value for name, value in values.items() if value is not None}


def quality_bounds(
    quality: Quality, origin: str, column: str, num_rows: int, present: int
) -> Expected:
    """A quality metric as bounds on whole numbers, so that no rounding decides.

    Args:
        quality: Of params.
        origin: Its key in params.yaml.
        column: What it is about; not used by ``rowCount``.
        num_rows: Rows of the table, of which shares are taken.
        present: Values in the column, nulls not counted.
    """
    share = quality.unit == "share" and quality.metric != "rowCount"
    total = num_rows if share else 1
    lowest, highest = -math.inf, math.inf
    if quality.must_be_greater_than is not None:
        lowest = math.floor(quality.must_be_greater_than * total + 1e-9) + 1
    if quality.must_be_less_than is not None:
        highest = math.ceil(quality.must_be_less_than * total - 1e-9) - 1
    bounds = spoken(quality.model_dump(by_alias=True, exclude_none=True, exclude={"metric"}))
    reason = f"{quality.metric} ({bounds})"
    if quality.metric == "rowCount":
        kwargs = _limits(lowest, highest)
        return Expected("expect_table_row_count_to_be_between", kwargs, origin, reason)
    if quality.metric == "duplicateValues":
        # N values with D duplicates among them are N - D different ones.
        kwargs = {"column": column, **_limits(present - highest, present - lowest)}
        return Expected("expect_column_unique_value_count_to_be_between", kwargs, origin, reason)
    # Half a row of room: the expectation divides, and only whole rows can be null.
    full = max(num_rows, 1)
    low = max(0.0, 1 - (highest + 0.5) / full) if highest != math.inf else None
    high = min(1.0, 1 - (lowest - 0.5) / full) if lowest != -math.inf else None
    kwargs = {"column": column, "min_value": low, "max_value": high}
    return Expected(
        "expect_column_proportion_of_non_null_values_to_be_between",
        {name: value for name, value in kwargs.items() if value is not None},
        origin,
        reason,
    )


def _limits(lowest: float, highest: float) -> dict[str, int]:
    limits = {"min_value": lowest, "max_value": highest}
    return {name: int(value) for name, value in limits.items() if math.isfinite(value)}


def _quality_column(quality: Quality, origin: str, params: DataParams) -> str:
    """A picture or sound is compared by its sha256."""
    if quality.column in (None, params.media.name):
        return "sha256"
    _refuse_unknown_columns("", {"column": quality.column}, origin, columns_of(params))
    return quality.column


def _refuse_unknown_columns(
    kind: str, kwargs: dict[str, Any], origin: str, columns: list[str]
) -> None:
    if kind == "expect_column_to_exist":
        return
    for key in ("column", "column_A", "column_B"):
        if key in kwargs and kwargs[key] not in columns:
            near = get_close_matches(str(kwargs[key]), columns, n=1, cutoff=0.4)
            hint = f"nearest: {near[0]!r}; " if near else ""
            raise ParamsError(
                f"{origin}: there is no column {kwargs[key]!r} to check; {hint}"
                f"columns: {', '.join(columns)}",
                "Correct params.yaml; pixels are checked by pixel_min, pixel_max and pixel_mean.",
            )


def spoken(kwargs: dict[str, Any]) -> str:
    """Arguments as a person reads them."""
    return ", ".join(f"{name} {value}" for name, value in kwargs.items())
