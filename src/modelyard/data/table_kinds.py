"""How each expectation of a table is evaluated: on single rows, on figures, or on all at once."""

from collections.abc import Sequence

from modelyard.data.suite import Expected
from modelyard.data.table_suite import columns_named
from modelyard.data.validation import configured

ROW, SCHEMA, UNIQUE, METRIC, WHOLE = "row", "schema", "unique", "metric", "whole"

ACROSS_ROWS = frozenset(
    {
        "expect_column_values_to_be_unique",
        "expect_column_values_to_be_increasing",
        "expect_column_values_to_be_decreasing",
        "expect_column_value_z_scores_to_be_less_than",
        "expect_column_values_to_not_be_outliers",
        "expect_compound_columns_to_be_unique",
        "expect_multicolumn_values_to_be_unique",
    }
)
"""Expectations that refuse a row for what stands in other rows."""
_TYPES = ("expect_column_values_to_be_of_type", "expect_column_values_to_be_in_type_list")
_SCHEMA_METRICS = {"table.columns", "table.column_types", "table.column_count"}


def sort_suite(suite: Sequence[Expected], metrics: set[str]) -> dict[str, list[Expected]]:
    """The suite by how it is evaluated; ``metrics`` are those that are computed over all rows.

    Raises:
        ParamsError: there is no such expectation, or it does not take its arguments.
    """
    kinds: dict[str, list[Expected]] = {name: [] for name in (ROW, SCHEMA, UNIQUE, METRIC, WHOLE)}
    for item in suite:
        kinds[_kind(item, metrics)].append(item)
    return kinds


def needed_columns(suite: Sequence[Expected], columns: Sequence[str]) -> list[str]:
    """The columns that expectations name; all of them where one does not say."""
    named = [columns_named(item.kwargs) for item in suite]
    if not all(named):
        return list(columns)
    wanted = {name for names in named for name in names}
    return [name for name in columns if name in wanted]


def _kind(item: Expected, metrics: set[str]) -> str:
    from great_expectations.expectations.expectation import (
        ColumnMapExpectation,
        ColumnPairMapExpectation,
        MulticolumnMapExpectation,
    )

    kind = type(configured(item, 0))
    if item.type == "expect_column_values_to_be_unique":
        return UNIQUE
    needed = set(getattr(kind, "metric_dependencies", None) or ())
    if item.type in _TYPES or (needed and needed <= _SCHEMA_METRICS):
        return SCHEMA
    if needed and needed <= metrics:
        return METRIC
    by_row = (ColumnMapExpectation, ColumnPairMapExpectation, MulticolumnMapExpectation)
    return ROW if issubclass(kind, by_row) and item.type not in ACROSS_ROWS else WHOLE
