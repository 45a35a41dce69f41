"""Rows that were refused, each with the column, the value and the reason.

Nothing is dropped without a trace.
"""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

WHOLE_ROW = "(row)"
_LONGEST_VALUE = 80


@dataclass(frozen=True, order=True)
class Rejection:
    """Why the source's row ``row`` (from 0) was refused.

    ``allowed`` ones do not count against ``max_rejected``.
    """

    row: int
    column: str
    value: str
    reason: str
    allowed: bool = False

    def __str__(self) -> str:
        return f"row {self.row}, {self.column}: {self.reason}"


def rejection(row: int, column: str, value: object, reason: str) -> Rejection:
    """A rejection whose value is shortened to what a person reads."""
    text = "" if value is None else str(value)
    if len(text) > _LONGEST_VALUE:
        text = text[: _LONGEST_VALUE - 3] + "..."
    return Rejection(int(row), column, text, reason)


def num_rows(rejections: Iterable[Rejection]) -> int:
    """How many different rows were refused."""
    return len({item.row for item in rejections})


def num_counted(rejections: Iterable[Rejection]) -> int:
    """How many different rows count against ``max_rejected``."""
    return len({item.row for item in rejections if not item.allowed})


def commonest(rejections: Iterable[Rejection], num: int = 5) -> list[str]:
    """The ``num`` commonest columns and reasons, as lines with their count and first row."""
    items = sorted(rejections)
    groups = Counter((_group(item.column), item.reason) for item in items)
    first = {(_group(item.column), item.reason): item for item in reversed(items)}
    ranked = sorted(groups.items(), key=lambda pair: (-pair[1], first[pair[0]]))
    return [
        f"{count} x {column}: {reason} (first: row {first[column, reason].row}, "
        f"value {first[column, reason].value!r})"
        for (column, reason), count in ranked[:num]
    ]


def write_quarantine(path: Path, rejections: Iterable[Rejection]) -> None:
    """Write ``quarantine.parquet``.

    Row int64, column, value and reason as text, in the source's order.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    items = sorted(set(rejections))
    table = pa.table(
        {
            "row": pa.array([item.row for item in items], pa.int64()),
            "column": pa.array([item.column for item in items], pa.string()),
            "value": pa.array([item.value for item in items], pa.string()),
            "reason": pa.array([item.reason for item in items], pa.string()),
        }
    )
    pq.write_table(table, path, compression="zstd")


def _group(column: str) -> str:
    """``image[3,4]`` counts as ``image``."""
    return column.partition("[")[0]
