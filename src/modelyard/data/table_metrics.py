"""Figures of a column over all rows, under the names that Great Expectations has for them."""

from collections.abc import Callable
from functools import lru_cache
from typing import Any

import numpy as np

from modelyard.data.leakage import repeats
from modelyard.data.quarantine import WHOLE_ROW
from modelyard.data.table_clean import row_hashes
from modelyard.data.table_stage import Stage

_LONGEST_VALUE = 200


class Metrics:
    """Figures of the rows that are still there; one column is in memory at a time."""

    def __init__(self, stage: Stage) -> None:
        self._stage = stage
        self.values: Callable[[str], np.ndarray] = lru_cache(1)(self._values)
        self.distinct: Callable[[str], list[Any]] = lru_cache(4)(self._distinct)

    def count(self, column: str) -> int:
        """Rows, of ``WHOLE_ROW``; else values in the column, nulls not counted."""
        if column == WHOLE_ROW:
            return self._stage.num_kept
        return sum(
            table.num_rows - table.column(0).null_count for _, table in self._stage.tables([column])
        )

    def count_distinct(self, column: str) -> int:
        """How many different values there are; of ``WHOLE_ROW`` how many different rows."""
        names = self._stage.names if column == WHOLE_ROW else [column]
        hashes = row_hashes(self._stage, names)
        present = None if column == WHOLE_ROW else self._stage.present(column)
        hashes = hashes if present is None else hashes[present]
        hashes.sort()
        return int(np.count_nonzero(hashes[1:] != hashes[:-1])) + bool(len(hashes))

    def repeated(self, column: str) -> tuple[np.ndarray, list[str], int]:
        """Indices and values of all rows whose value another row has; how many rows have one."""
        hashes, present = row_hashes(self._stage, [column]), self._stage.present(column)
        later, first = repeats(hashes if present is None else hashes[present])
        num_present = len(hashes) if present is None else len(present)
        places = np.unique(np.concatenate([later, first]))
        if not len(places):
            return places, [], num_present
        places = places if present is None else present[places]
        taken = self._stage.column(column).take(places).to_pylist()
        indices = np.flatnonzero(self._stage.kept)[places]
        return indices, [str(value)[:_LONGEST_VALUE] for value in taken], num_present

    def _values(self, column: str) -> np.ndarray:
        """The values that there are: float64, or datetime64[us]; text as objects."""
        import pyarrow as pa

        found = self._stage.column(column).drop_null()
        if pa.types.is_date(found.type):
            found = found.cast(pa.timestamp("us"))
        return found.to_numpy()

    def _distinct(self, column: str) -> list[Any]:
        seen: set[Any] = set()
        for _, table in self._stage.tables([column]):
            seen |= set(table.column(0).unique().to_pylist())
        return sorted(seen - {None}, key=lambda value: (str(type(value)), value))


def _figure(compute: Callable[[np.ndarray], Any]) -> Callable[[Metrics, str, dict[str, Any]], Any]:
    def metric(metrics: Metrics, column: str, _: dict[str, Any]) -> Any:
        values = metrics.values(column)
        if not len(values):
            return None
        found = compute(values)
        return found.item() if hasattr(found, "item") else found

    return metric


def _outside(metrics: Metrics, column: str, kwargs: dict[str, Any]) -> list[Any]:
    allowed = set(kwargs["value_set"])
    return [value for value in metrics.distinct(column) if value not in allowed]


def _absent(metrics: Metrics, column: str, kwargs: dict[str, Any]) -> list[Any]:
    found = set(metrics.distinct(column))
    return [value for value in kwargs["value_set"] if value not in found]


def _quantiles(metrics: Metrics, column: str, kwargs: dict[str, Any]) -> list[Any]:
    ranges = kwargs["quantile_ranges"]
    asked = ranges["quantiles"] if isinstance(ranges, dict) else ranges.quantiles
    method = kwargs.get("allow_relative_error") or "nearest"
    return np.quantile(metrics.values(column), asked, method=method).tolist()


def _share(metrics: Metrics, column: str, _: dict[str, Any]) -> float | None:
    present = metrics.count(column)
    return metrics.count_distinct(column) / present if present else None


METRICS: dict[str, Callable[[Metrics, str, dict[str, Any]], Any]] = {
    "table.row_count": lambda metrics, _, __: metrics.count(WHOLE_ROW),
    "column.min": _figure(np.min),
    "column.max": _figure(np.max),
    "column.mean": _figure(np.mean),
    "column.sum": _figure(np.sum),
    "column.median": _figure(np.median),
    "column.standard_deviation": _figure(lambda values: values.std(ddof=1)),
    "column.distinct_values.count": lambda metrics, column, _: metrics.count_distinct(column),
    "column.unique_proportion": _share,
    "column.non_null_proportion": lambda metrics, column, _: (
        metrics.count(column) / max(metrics.count(WHOLE_ROW), 1)
    ),
    "column.distinct_values.not_in_set": _outside,
    "column.distinct_values.not_in_set.count": lambda *args: len(_outside(*args)),
    "column.distinct_values.missing_from_column": _absent,
    "column.distinct_values.missing_from_column.count": lambda *args: len(_absent(*args)),
    "column.quantile_values": _quantiles,
}
