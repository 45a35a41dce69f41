"""What is learned: classes as positions of their labels, several labels at once, or a number."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from modelyard.errors import DataRejected
from modelyard.params import DataParams

MAX_LABELS = 10_000


@dataclass(frozen=True)
class Targets:
    """The target of each row.

    ``values``: integers [N] (positions in ``labels``), uint8 [N,K] for several labels at once,
    float64 [N] for a number, where there are no labels.
    """

    labels: tuple[str, ...]
    values: np.ndarray

    def take(self, positions: np.ndarray) -> np.ndarray:
        """The targets of some rows."""
        return self.values[positions]

    def arrow(self, values: np.ndarray) -> Any:
        """As the column ``target`` of the dataset."""
        import pyarrow as pa

        if values.ndim == 2:
            return pa.FixedSizeListArray.from_arrays(pa.array(values.ravel()), values.shape[1])
        return pa.array(values, pa.int64() if self.labels else pa.float64())


def classes(values: np.ndarray, params: DataParams) -> Targets:
    """Classes from the target's values [N], which sort as their labels do.

    Raises:
        DataRejected: there are fewer than two, or more than ``MAX_LABELS``.
    """
    names, codes = np.unique(values, return_inverse=True)
    return coded([_label(name) for name in names.tolist()], codes.astype(np.int64), params)


def coded(labels: Sequence[str], codes: np.ndarray, params: DataParams) -> Targets:
    """Classes from ``labels`` in their order and positions in them, integers [N].

    Raises:
        DataRejected: see ``classes``.
    """
    name = params.targets[0]
    if len(labels) < 2:
        raise DataRejected(
            f"the accepted rows hold {len(labels)} class of {name!r}"
            + (f" ({labels[0]})" if labels else "")
            + "; there is nothing to tell apart",
            "Check data.target, or add rows of another class.",
        )
    if len(labels) > MAX_LABELS:
        raise DataRejected(
            f"the target {name!r} has {len(labels):,} classes, more than {MAX_LABELS:,}",
            "Is it an id or a number? Name another data.target, or set data.task: regression.",
        )
    return Targets(tuple(labels), codes)


def number(values: np.ndarray, params: DataParams) -> Targets:
    """A number for each row, float64 [N].

    Raises:
        DataRejected: all are the same.
    """
    if not len(values) or values.min() == values.max():
        raise DataRejected(
            f"the target {params.targets[0]!r} has the same value in all {len(values)} rows",
            "Check data.target: there is nothing to learn.",
        )
    return Targets((), values.astype(np.float64))


def several(flags: dict[str, np.ndarray]) -> Targets:
    """Labels that are fields of their own: bool [N] by name.

    Raises:
        DataRejected: a label is true in all rows or in none.
    """
    return _told_apart(
        Targets(tuple(flags), np.stack(list(flags.values()), axis=1).astype(np.uint8))
    )


def separated(texts: Sequence[str | None], separator: str, params: DataParams) -> Targets:
    """Labels that stand in one text, divided by ``separator``; an empty or missing one has none.

    Raises:
        DataRejected: there are more than ``MAX_LABELS``, or a label is in all rows.
    """
    known: dict[str | None, list[str]] = {}
    for text in texts:
        if text not in known:
            parts = (part.strip() for part in (text or "").split(separator))
            known[text] = [part for part in parts if part]
    labels = sorted({label for parts in known.values() for label in parts})
    if len(labels) > MAX_LABELS:
        raise DataRejected(
            f"the target {params.targets[0]!r} has {len(labels):,} labels, "
            f"more than {MAX_LABELS:,}",
            "Check the separator of its field.",
        )
    if not labels:
        raise DataRejected(f"the target {params.targets[0]!r} holds no label", "Check data.target.")
    column = {label: index for index, label in enumerate(labels)}
    values = np.zeros((len(texts), len(labels)), np.uint8)
    for row, text in enumerate(texts):
        values[row, [column[label] for label in known[text]]] = 1
    return _told_apart(Targets(tuple(labels), values))


def strata(targets: Targets) -> np.ndarray:
    """By which a part of train is chosen, integers [N]: the class, or zeros."""
    values = targets.values
    return values if targets.labels and values.ndim == 1 else np.zeros(len(values), np.int64)


def _told_apart(targets: Targets) -> Targets:
    counts = targets.values.sum(axis=0, dtype=np.int64)
    for label, count in zip(targets.labels, counts.tolist(), strict=True):
        if count in (0, len(targets.values)):
            raise DataRejected(
                f"label {label!r} is in {count} of {len(targets.values)} rows; "
                "there is nothing to tell apart",
                "Leave the label out of data.target, or add rows.",
            )
    return targets


def _label(value: Any) -> str:
    return ("false", "true")[value] if isinstance(value, bool) else str(value)
