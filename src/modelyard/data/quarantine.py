"""Rows that were refused, each with the column, the value and the reason.

Nothing is dropped without a trace.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Self

import numpy as np

if TYPE_CHECKING:
    import pyarrow as pa

WHOLE_ROW = "(row)"
_LONGEST_VALUE = 80
_NUM_SHOWN = 200
_MOST_REASONS = 1000
_COLUMNS = ("row", "column", "value", "reason")


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


@dataclass(frozen=True)
class Refused:
    """Refused rows, summed up: for messages and the report.

    ``num_counted`` are those that count against ``max_rejected``; ``reasons`` are the commonest
    columns and reasons, as lines; ``first`` the rejections of the first rows.
    """

    num_rows: int = 0
    num_counted: int = 0
    reasons: tuple[str, ...] = ()
    first: tuple[Rejection, ...] = ()
    num_rejections: int = 0

    @classmethod
    def of(cls, rejections: Iterable[Rejection]) -> Self:
        """Sum up rejections in memory."""
        items = sorted(set(rejections))
        return cls(
            num_rows(items),
            num_counted(items),
            tuple(commonest(items)),
            tuple(items[:_NUM_SHOWN]),
            len(items),
        )


class Quarantine:
    """Refused rows of a table, as many as there may be: they are kept in a file, and counted.

    A row is refused once: what is added together is all that is known of its rows. Rows are given
    as ordinals and become positions in the source in the end.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._parts: list[Path] = []
        self._reasons: Counter[tuple[str, str]] = Counter()
        self._first: dict[tuple[str, str], Rejection] = {}
        self._shown: list[Rejection] = []
        self._num_rows = self._num_counted = self._num_rejections = 0
        self._aside: tuple[Rejection, ...] = ()

    def add(self, found: "pa.Table") -> None:
        """Take in ``row`` int64, ``column``, ``value``, ``reason`` (text), ``allowed`` (bool)."""
        import pyarrow as pa

        if not found.num_rows:
            return
        rows, allowed = found["row"].to_numpy(), found["allowed"].to_numpy()
        self._num_rows += len(np.unique(rows))
        self._num_counted += len(np.unique(rows[~allowed]))
        self._num_rejections += found.num_rows
        pairs = Counter(zip(found["column"].to_pylist(), found["reason"].to_pylist(), strict=True))
        for key in pairs:
            if key not in self._first and len(self._first) < _MOST_REASONS:
                self._first[key] = _first_of(found, key)
        self._reasons.update(key for key in pairs.elements() if key in self._first)
        if len(self._shown) < _NUM_SHOWN:
            self._shown += [
                rejection(item["row"], item["column"], item["value"], item["reason"])
                for item in found.slice(0, _NUM_SHOWN).to_pylist()
            ]
        part = self._folder / f"quarantine-{len(self._parts):05d}.arrow"
        with pa.OSFile(str(part), "wb") as file, pa.ipc.new_file(file, found.schema) as writer:
            writer.write_table(found)
        self._parts.append(part)

    def set_aside(self, rejections: Iterable[Rejection]) -> None:
        """Take in rows that could not be taken apart, by their position in the source."""
        self._aside = tuple(rejections)

    def count(self, column: str, reason: str) -> tuple[int, int]:
        """How many rejections there are of a kind, and the ordinal of the first one."""
        first = self._first.get((column, reason))
        return self._reasons[column, reason], -1 if first is None else first.row

    def refused(self, positions: Callable[[np.ndarray], np.ndarray]) -> Refused:
        """Sum up; ``positions`` turns ordinals int64 [N] into positions in the source."""

        def moved(item: Rejection) -> Rejection:
            (row,) = positions(np.array([item.row], np.int64)).tolist()
            return Rejection(row, item.column, item.value, item.reason, item.allowed)

        first = {key: moved(item) for key, item in self._first.items()}
        reasons = Counter(self._reasons)
        for item in self._aside:
            first.setdefault((item.column, item.reason), item)
            reasons[item.column, item.reason] += 1
        ranked = sorted(reasons.items(), key=lambda pair: (-pair[1], first[pair[0]]))
        shown = sorted([*map(moved, self._shown), *self._aside[:_NUM_SHOWN]])
        aside = len(self._aside)
        return Refused(
            self._num_rows + aside,
            self._num_counted + num_counted(self._aside),
            tuple(_line(count, *key, first[key]) for key, count in ranked[:5]),
            tuple(shown[:_NUM_SHOWN]),
            self._num_rejections + aside,
        )

    def write(self, path: Path, positions: Callable[[np.ndarray], np.ndarray]) -> None:
        """Write ``quarantine.parquet`` in the order of the source."""
        import pyarrow as pa
        import pyarrow.parquet as pq

        parts = [_table(self._aside)]
        for part in self._parts:
            with pa.OSFile(str(part)) as file:
                table = pa.ipc.open_file(file).read_all()
            rows = pa.array(positions(table["row"].to_numpy()))
            parts.append(table.set_column(0, "row", rows).select(_COLUMNS))
        table = pa.concat_tables(parts)
        table = table.sort_by([(name, "ascending") for name in _COLUMNS])
        pq.write_table(table, path, compression="zstd")


def rejection(row: int, column: str, value: object, reason: str) -> Rejection:
    """A rejection whose value is shortened to what a person reads."""
    text = "" if value is None else str(value)
    if len(text) > _LONGEST_VALUE:
        text = text[: _LONGEST_VALUE - 3] + "..."
    return Rejection(int(row), column, text, reason)


def shortened(values: "pa.Array") -> "pa.Array":
    """Texts as ``rejection`` shortens them."""
    import pyarrow as pa
    import pyarrow.compute as pc

    long = pc.call_function("greater", [pc.call_function("utf8_length", [values]), _LONGEST_VALUE])
    options = pc.SliceOptions(0, _LONGEST_VALUE - 3)
    cut = pc.call_function("utf8_slice_codeunits", [values], options)
    cut = pc.call_function("binary_join_element_wise", [cut, pa.scalar("..."), pa.scalar("")])
    return pc.call_function("if_else", [long, cut, values])


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
    return [_line(count, *key, first[key]) for key, count in ranked[:num]]


def write_quarantine(path: Path, rejections: Iterable[Rejection]) -> None:
    """Write ``quarantine.parquet``.

    Row int64, column, value and reason as text, in the source's order.
    """
    import pyarrow.parquet as pq

    pq.write_table(_table(sorted(set(rejections))), path, compression="zstd")


def _table(items: Sequence[Rejection]) -> "pa.Table":
    import pyarrow as pa

    return pa.table(
        {
            "row": pa.array([item.row for item in items], pa.int64()),
            "column": pa.array([item.column for item in items], pa.string()),
            "value": pa.array([item.value for item in items], pa.string()),
            "reason": pa.array([item.reason for item in items], pa.string()),
        }
    )


def _line(count: int, column: str, reason: str, first: Rejection) -> str:
    return f"{count} x {column}: {reason} (first: row {first.row}, value {first.value!r})"


def _first_of(found: "pa.Table", key: tuple[str, str]) -> Rejection:
    import pyarrow.compute as pc

    column, reason = key
    same = (pc.field("column") == column) & (pc.field("reason") == reason)
    item = found.filter(same).slice(0, 1).to_pylist()[0]
    return rejection(item["row"], column, item["value"], reason)


def _group(column: str) -> str:
    """``image[3,4]`` counts as ``image``."""
    return column.partition("[")[0]
