"""The expectations that a table must meet: of contract, quality metrics and the user."""

from collections.abc import Callable, Collection
from difflib import get_close_matches
from typing import Any

from modelyard.data.quarantine import WHOLE_ROW
from modelyard.data.suite import DTYPES, Expected, field_rules, quality_bounds, spoken
from modelyard.errors import ParamsError
from modelyard.params import DataParams, Field

_NAMES = ("column", "column_A", "column_B")


def table_suite(params: DataParams, columns: dict[str, Field]) -> list[Expected]:
    """All expectations but those of ``data.quality``, for a table of ``columns``.

    Raises:
        ParamsError: an expectation names a column that there is not.
    """
    suite = [
        Expected(
            "expect_table_columns_to_match_ordered_list",
            {"column_list": list(columns)},
            "data.schema.fields",
            "has other columns than the schema",
        )
    ]
    declared = {field.name for field in params.schema_.fields}
    for field in columns.values():
        undeclared = "data.features" if params.features else "data.schema.rest"
        origin = f"data.schema.fields.{field.name}" if field.name in declared else undeclared
        required = field.constraints.required or params.needs(field)
        required = required or (params.kind == "text" and field.type == "text")
        suite += field_rules(field, origin, DTYPES[field.type], required=required)
    for index, expectation in enumerate(params.expectations):
        origin = f"data.expectations.{index}"
        refuse_unknown(expectation.type, expectation.kwargs, origin, columns)
        reason = f"breaks {expectation.type} ({spoken(expectation.kwargs)})"
        suite.append(Expected(expectation.type, expectation.kwargs, origin, reason))
    return suite


def quality_suite(
    params: DataParams, columns: Collection[str], counts: Callable[[str], int]
) -> list[Expected]:
    """The expectations of ``data.quality``; without a column they are about ``WHOLE_ROW``.

    Args:
        params: The contract.
        columns: Those of the table.
        counts: How many values a column has, nulls not counted; of ``WHOLE_ROW`` all rows.

    Raises:
        ParamsError: a metric names a column that there is not.
    """
    suite = []
    for index, quality in enumerate(params.quality):
        origin, column = f"data.quality.{index}", quality.column or WHOLE_ROW
        refuse_unknown("", {"column": column}, origin, [*columns, WHOLE_ROW])
        suite.append(quality_bounds(quality, origin, column, counts(WHOLE_ROW), counts(column)))
    return suite


def columns_named(kwargs: dict[str, Any]) -> list[str]:
    """The columns that an expectation is about."""
    found = [str(kwargs[key]) for key in _NAMES if key in kwargs]
    for key in ("column_list", "column_set"):
        found += [str(name) for name in kwargs.get(key) or ()]
    return list(dict.fromkeys(found))


def refuse_unknown(
    kind: str, kwargs: dict[str, Any], origin: str, columns: Collection[str]
) -> None:
    """An expectation must be about columns that there are.

    Raises:
        ParamsError: it is not; the message names the nearest column.
    """
    if kind == "expect_column_to_exist" or kind.startswith("expect_table_columns"):
        return
    for name in columns_named(kwargs):
        if name not in columns:
            near = get_close_matches(name, columns, n=1, cutoff=0.4)
            hint = f"nearest: {near[0]!r}; " if near else ""
            raise ParamsError(
                f"{origin}: there is no column {name!r} to check; {hint}"
                f"columns: {', '.join(columns)}",
                "Correct params.yaml.",
            )
