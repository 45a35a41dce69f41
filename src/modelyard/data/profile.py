"""Each column in figures: for the report, and for drift between datasets.

Ranges, means and deviations are over all rows; quantiles, histograms and counts of categories over
at most ``SAMPLE_ROWS`` evenly spaced ones. Figures have nine digits: the last bits of a sum differ
from one kind of CPU to another.
"""

import math
from collections import Counter
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import pyarrow as pa

SAMPLE_ROWS = 200_000
NUM_BINS = 20
NUM_VALUES = 100
_THREADS = 2
_COUNTED = ("string", "category", "boolean")


class ColumnProfile:
    """One column, told from its parts as they come; ``kind`` is the field's type."""

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self.num_rows = self.missing = 0
        self._sums: list[float] = []
        self._squares: list[float] = []
        self._shift: float | None = None
        self._low, self._high = math.inf, -math.inf
        self._sample: list[np.ndarray] = []
        self._counts: Counter[Any] = Counter()
        self._first: Any = None
        self._is_single = True

    def add(self, column: "pa.ChunkedArray", first: int, stride: int) -> None:
        """Take in the next rows; the first is row ``first``, one in ``stride`` is sampled."""
        self.num_rows += len(column)
        self.missing += column.null_count
        if self.kind in _COUNTED:
            self._count(column, first, stride)
        elif self.kind == "text":
            self._numbers(_lengths(column), first, stride)
        else:
            self._numbers(_numeric(column), first, stride)

    @property
    def is_constant(self) -> bool:
        """Whether there is no value, or one single value in all rows."""
        if self.missing == self.num_rows:
            return True
        if self.missing or self.kind == "text":
            return False
        return self._is_single if self.kind in _COUNTED else self._low == self._high

    def as_json(self) -> dict[str, Any]:
        """An entry of ``profile.json``."""
        tree: dict[str, Any] = {
            "type": self.kind,
            "rows": self.num_rows,
            "missing": _digits(self.missing / self.num_rows) if self.num_rows else 0.0,
        }
        if self.kind in _COUNTED:
            common = sorted(self._counts.items(), key=lambda pair: (-pair[1], str(pair[0])))
            shown = common[:NUM_VALUES]
            tree["values"] = [[_text(value), count] for value, count in shown]
            sampled = sum(self._counts.values())
            others = sampled - sum(count for _, count in shown)
            return tree | {
                "sampled": sampled,
                "num_distinct": len(self._counts),
                "others": others,
            }
        number = self.num_rows - (self.missing if self.kind != "text" else 0)
        if not number or self._shift is None:
            return tree
        mean = math.fsum(self._sums) / number
        variance = max(0.0, math.fsum(self._squares) / number - mean * mean)
        values = np.concatenate(self._sample)
        edges = np.quantile(values, np.arange(NUM_BINS + 1) / NUM_BINS) if len(values) else []
        bounds = sorted({_digits(edge) for edge in edges})
        return tree | {
            "min": _digits(self._low),
            "max": _digits(self._high),
            "mean": _digits(mean + self._shift),
            "std": _digits(math.sqrt(variance)),
            "sampled": len(values),
            "quantiles": [_digits(edge) for edge in edges],
            "histogram": _histogram(values, bounds),
            "bars": _bars(values, self._low, self._high),
        }

    def _count(self, column: Any, first: int, stride: int) -> None:
        import pyarrow as pa

        if self._is_single:
            low, high = _ends(column)
            self._first = low if self._first is None else self._first
            self._is_single = low == high and low in (None, self._first)
        places = pa.array(np.arange((-first) % stride, len(column), stride))
        found = column.take(places).value_counts()
        counts = zip(found.field(0).to_pylist(), found.field(1).to_pylist(), strict=True)
        self._counts.update({item: count for item, count in counts if item is not None})

    def _numbers(self, values: np.ndarray, first: int, stride: int) -> None:
        # A copy: a view would keep the whole column.
        self._sample.append(_present(values[(-first) % stride :: stride].copy()))
        values = _present(values) if self.missing else values
        if not len(values):
            return
        if self._shift is None:
            self._shift = float(values[0])
        moved = values - self._shift
        self._sums.append(float(moved.sum()))
        self._squares.append(float(moved @ moved))
        self._low = min(self._low, float(values.min()))
        self._high = max(self._high, float(values.max()))


def profile_columns(
    tables: "Iterable[tuple[np.ndarray, pa.Table]]", kinds: dict[str, str], num_rows: int
) -> dict[str, ColumnProfile]:
    """Profile the columns of ``kinds`` (types by name) over parts of a table of ``num_rows``."""
    profiles = {name: ColumnProfile(kind) for name, kind in kinds.items()}
    stride = max(1, -(-num_rows // SAMPLE_ROWS))
    done = 0
    # NumPy and Arrow let go of Python's lock, and no column knows of another.
    with ThreadPoolExecutor(_THREADS) as pool:
        for _, table in tables:
            added = [
                pool.submit(profile.add, table.column(name), done, stride)
                for name, profile in profiles.items()
            ]
            for future in added:
                future.result()
            done += table.num_rows
    return profiles


def _numeric(column: Any) -> np.ndarray:
    """float64 [n], NaN where missing; dates in days, times in seconds since 1970."""
    import pyarrow as pa

    if pa.types.is_date(column.type):
        column = column.cast(pa.int32())
    if pa.types.is_timestamp(column.type):
        return column.cast(pa.int64()).cast(pa.float64(), safe=False).to_numpy() / 1e6
    return column.cast(pa.float64(), safe=False).to_numpy()


def _lengths(column: Any) -> np.ndarray:
    import pyarrow as pa
    import pyarrow.compute as pc

    lengths = pc.call_function("utf8_length", [column.cast(pa.string())])
    return lengths.fill_null(0).cast(pa.float64()).to_numpy()


def _ends(column: Any) -> tuple[Any, Any]:
    """The first and last value in the order of values, of those that there are."""
    import pyarrow as pa
    import pyarrow.compute as pc

    if pa.types.is_dictionary(column.type):
        column = column.unique().cast(column.type.value_type)
    found = pc.call_function("min_max", [column]).as_py()
    return found["min"], found["max"]


def _present(values: np.ndarray) -> np.ndarray:
    missing = np.isnan(values)
    return values[~missing] if missing.any() else values


def _histogram(values: np.ndarray, edges: list[float]) -> list[int]:
    """How many values lie from each edge to the next; the last bin has both its ends."""
    if len(edges) < 2:
        return [len(values)]
    places = np.clip(np.searchsorted(edges, values, side="right") - 1, 0, len(edges) - 2)
    return np.bincount(places, minlength=len(edges) - 1).tolist()


def _bars(values: np.ndarray, low: float, high: float) -> list[int]:
    """Twenty bins of equal width, for the picture."""
    return np.histogram(values, bins=NUM_BINS, range=(low, high))[0].tolist() if low < high else []


def _digits(value: float) -> float:
    return float(f"{value:.9g}")


def _text(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
