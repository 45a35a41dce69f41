"""The expectations that a dataset must meet: of contract, quality metrics and the user."""

import math
from dataclasses import dataclass, field
from difflib import get_close_matches
from typing import Any

from modelyard.data.manifest import columns_of
from modelyard.errors import ParamsError
from modelyard.params import DataParams, Field, Quality

_DTYPES = {"integer": "int64", "number": "float64", "string": "str"}


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
    suite = _of_image(params.image, columns)
    for item in params.schema_.fields:
        if item.type != "image":
            suite += _of_field(
                item, required=item.constraints.required or item.name == params.target
            )
    for index, quality in enumerate(params.quality):
        suite.append(_of_quality(quality, f"data.quality.{index}", params, present))
    for index, expectation in enumerate(params.expectations):
        origin = f"data.expectations.{index}"
        _refuse_unknown_columns(expectation.type, expectation.kwargs, origin, columns)
        reason = f"breaks {expectation.type} ({_spoken(expectation.kwargs)})"
        suite.append(Expected(expectation.type, expectation.kwargs, origin, reason))
    return suite


def _of_image(image: Field, columns: list[str]) -> list[Expected]:
    origin = f"data.schema.fields.{image.name}"

    def rule(kind: str, column: str, reason: str, **kwargs: Any) -> Expected:
        return Expected(
            f"expect_column_values_to_{kind}", {"column": column, **kwargs}, origin, reason
        )

    sizes = {"height": image.height, "width": image.width, "channels": image.channels}
    return [
        Expected(
            "expect_table_columns_to_match_ordered_list",
            {"column_list": columns},
            "data.schema.fields",
            "has other columns than the schema",
        ),
        rule("be_unique", "row", "has the position of another row"),
        rule("be_in_set", "decodable", "cannot be decoded", value_set=[True]),
        rule("match_regex", "sha256", "has no sha256", regex="^[0-9a-f]{64}$"),
        *(
            rule("be_in_set", name, f"has a {name} other than {size}", value_set=[size])
            for name, size in sizes.items()
        ),
        *(
            rule("be_between", name, "has a pixel out of 0 to 255", min_value=0, max_value=255)
            for name in ("pixel_min", "pixel_max", "pixel_mean")
        ),
    ]


def _of_field(item: Field, *, required: bool) -> list[Expected]:
    origin, bounds = f"data.schema.fields.{item.name}", item.constraints
    suite = [
        Expected(
            "expect_column_values_to_be_of_type",
            {"column": item.name, "type_": _DTYPES[item.type]},
            origin,
            f"is not of type {item.type}",
        )
    ]
    if required:
        suite.append(
            Expected(
                "expect_column_values_to_not_be_null",
                {"column": item.name},
                origin,
                "is required and missing",
            )
        )
    limits = {"min_value": bounds.minimum, "max_value": bounds.maximum}
    limits = {name: value for name, value in limits.items() if value is not None}
    if limits:
        suite.append(
            Expected(
                "expect_column_values_to_be_between",
                {"column": item.name, **limits},
                origin,
                "is out of range",
            )
        )
    if bounds.enum is not None:
        suite.append(
            Expected(
                "expect_column_values_to_be_in_set",
                {"column": item.name, "value_set": list(bounds.enum)},
                origin,
                f"is not one of {', '.join(map(str, bounds.enum))}",
            )
        )
    return suite


def _of_quality(
    quality: Quality, origin: str, params: DataParams, present: dict[str, int]
) -> Expected:
    """A quality metric as bounds on whole numbers, so that no rounding decides."""
    num_rows = present["row"]
    share = quality.unit == "share" and quality.metric != "rowCount"
    total = num_rows if share else 1
    lowest, highest = -math.inf, math.inf
    if quality.must_be_greater_than is not None:
        lowest = math.floor(quality.must_be_greater_than * total + 1e-9) + 1
    if quality.must_be_less_than is not None:
        highest = math.ceil(quality.must_be_less_than * total - 1e-9) - 1
    bounds = _spoken(quality.model_dump(by_alias=True, exclude_none=True, exclude={"metric"}))
    reason = f"{quality.metric} ({bounds})"
    if quality.metric == "rowCount":
        kwargs = _limits(lowest, highest)
        return Expected("expect_table_row_count_to_be_between", kwargs, origin, reason)
    column = _quality_column(quality, origin, params)
    if quality.metric == "duplicateValues":
        # N values with D duplicates among them are N - D different ones.
        num = present[column]
        kwargs = {"column": column, **_limits(num - highest, num - lowest)}
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
    """An image is compared by its sha256."""
    if quality.column in (None, params.image.name):
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


def _spoken(kwargs: dict[str, Any]) -> str:
    return ", ".join(f"{name} {value}" for name, value in kwargs.items())
