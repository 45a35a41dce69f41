"""Shards as pandas frames, and the expectations on single rows evaluated over them."""

import gc
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from modelyard.data.pii import HIDDEN
from modelyard.data.suite import Expected
from modelyard.data.table_stage import plain_table
from modelyard.data.table_suite import columns_named
from modelyard.data.validation import run_suite

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

INDEX = "(index)"
"""The frame's column that says which row of the stage a row is."""
_NUM_SHOWN = 5
_LONGEST_VALUE = 200


@dataclass(frozen=True)
class Outcome:
    """One expectation over the rows of a shard.

    ``judged`` rows were looked at (of ``num_rows``; those without a value are not), ``broken`` of
    them break it; ``failing`` are their indices and the values that are shown.
    """

    num_rows: int
    judged: int
    broken: int
    failing: tuple[tuple[int, str], ...]

    @classmethod
    def add(cls, outcomes: Sequence["Outcome"]) -> "Outcome":
        """The same expectation over several shards."""
        return cls(
            sum(item.num_rows for item in outcomes),
            sum(item.judged for item in outcomes),
            sum(item.broken for item in outcomes),
            tuple(pair for item in outcomes for pair in item.failing),
        )


def to_frame(table: "pa.Table", start: int, kept: np.ndarray) -> "pd.DataFrame":
    """The rows that ``kept`` (bool [n]) selects, with their index in the stage from ``start``.

    Text with a dictionary becomes a categorical, in which a set is looked up once a value; integers
    with missing values become float64, times datetime64[us]: other types are compared row by row.
    """
    import pandas as pd
    import pyarrow as pa

    if not kept.all():
        table = table.filter(kept)
    indices = start + np.flatnonzero(kept)
    columns: dict[str, Any] = {INDEX: indices}
    for name in table.column_names:
        column = table.column(name)
        if pa.types.is_date(column.type) or pa.types.is_timestamp(column.type):
            column = column.cast(pa.timestamp("us"))
        columns[name] = column.to_pandas()
    return pd.DataFrame(columns)


def empty_frame(schema: "pa.Schema", columns: Iterable[str]) -> "pd.DataFrame":
    """The columns' types and no row, for expectations that are about nothing else."""
    import pyarrow as pa

    table = plain_table(schema.empty_table().select(list(columns)))
    kinds = {pa.date32(): pa.timestamp("us")}
    fields = [(field.name, kinds.get(field.type, field.type)) for field in table.schema]
    return table.cast(pa.schema(fields)).to_pandas()


def evaluate_rows(
    frame: "pd.DataFrame", suite: Sequence[Expected], hidden: set[str]
) -> list[Outcome]:
    """Evaluate expectations on single rows over a shard.

    Args:
        frame: Of ``to_frame``.
        suite: The expectations.
        hidden: Columns whose values are not shown.

    Raises:
        ParamsError: one cannot be evaluated.
    """
    if not len(frame):
        return [Outcome(0, 0, 0, ()) for _ in suite]
    counted = run_suite(frame, suite, None)
    broken = [index for index, result in enumerate(counted) if result.get("unexpected_count")]
    # Only where rows break something does it pay to ask which ones.
    named = run_suite(frame, [suite[index] for index in broken], INDEX) if broken else []
    results = dict(zip(broken, named, strict=True))
    # Great Expectations keeps frames in cycles, which the collector would find much later.
    gc.collect(1)
    return [
        _outcome(item, results.get(index, counted[index]), len(frame), hidden)
        for index, item in enumerate(suite)
    ]


def as_result(item: Expected, outcome: Outcome) -> dict[str, Any]:
    """Outcomes of all shards as one result of Great Expectations.

    Success is by its own rule: at least ``mostly`` of the values that there are.
    """
    met = outcome.judged - outcome.broken
    success = outcome.judged == 0 or met >= item.kwargs.get("mostly", 1) * outcome.judged
    return {
        "success": bool(success),
        "element_count": outcome.num_rows,
        "unexpected_count": outcome.broken,
        "partial_unexpected_list": [value for _, value in outcome.failing[:_NUM_SHOWN]],
    }


def _outcome(item: Expected, result: dict[str, Any], num_rows: int, hidden: set[str]) -> Outcome:
    named = columns_named(item.kwargs)
    shown = None if hidden & set(named) else item.kwargs.get("column")
    failing = tuple(
        (int(row[INDEX]), HIDDEN if hidden & set(named) else _shown(row, shown))
        for row in result.get("unexpected_index_list") or ()
    )
    return Outcome(
        num_rows,
        int(result["element_count"]) - int(result.get("missing_count", 0)),
        int(result["unexpected_count"]),
        failing,
    )


def _shown(row: dict[str, Any], column: str | None) -> str:
    """The value that breaks it; of all columns where several are compared."""
    value = row.get(column) if column else {k: v for k, v in row.items() if k != INDEX}
    return "" if value is None else str(value)[:_LONGEST_VALUE]
