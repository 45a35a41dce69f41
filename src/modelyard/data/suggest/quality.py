"""Bounds that the next delivery of the data should keep, by what this one shows."""

import math
from typing import Any

from modelyard.data.suggest.fields import Suggested
from modelyard.data.suggest.proposal import bounds_of

_MAX_NULLS = 8
_MAX_MEANS = 3
_MAX_REPEATS = 0.01
_NUMBERS = ("integer", "number")


def quality_of(fields: tuple[Suggested, ...], num_left: int, num_repeats: int) -> dict[str, Any]:
    """The keys ``quality`` and ``expectations``: rows, repeats, missing values, means.

    Where many of the rows are repeats that are dropped, shares and means are not what they seem.
    """
    quality = bounds_of(num_left)
    if num_repeats > _MAX_REPEATS * num_left:
        return {"quality": quality}
    lacking = [item for item in fields if item.is_feature and item.column.num_missing]
    lacking.sort(key=lambda item: -item.column.num_missing)
    for item in lacking[:_MAX_NULLS]:
        share = item.column.num_missing / item.column.num_rows
        bound = min(1.0, round(max(1.5 * share, share + 0.05), 2))
        quality.append(
            {
                "metric": "nullValues",
                "column": item.name,
                "mustBeLessThan": bound,
                "unit": "share",
            }
        )
    means = [item for item in fields if item.is_feature and item.tree["type"] in _NUMBERS]
    means = [item for item in means if item.column.deviation > 0][:_MAX_MEANS]
    tree: dict[str, Any] = {"quality": quality}
    if means:
        tree["expectations"] = [_mean(item) for item in means]
    return tree


def _mean(item: Suggested) -> dict[str, Any]:
    """Its mean within half a standard deviation of now."""
    column = item.column
    digits = 2 - math.floor(math.log10(column.deviation))
    low = round(column.mean - column.deviation / 2, digits)
    high = round(column.mean + column.deviation / 2, digits)
    kwargs = {"column": item.name, "min_value": low, "max_value": high}
    return {"type": "expect_column_mean_to_be_between", "kwargs": kwargs}
