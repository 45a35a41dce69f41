"""Which rows a fold leaves out, and which it stops by: functions of rows, keys and seed alone.

Axes: n rows, all of train and validation in their order.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np

from modelyard.data.splits import mixed
from modelyard.errors import ParamsError

By = Literal["rows", "class", "group", "time"]
_INNER_SALT = 0x5EED
TRAIN, STOP, HELD, OUT = 0, 1, 2, -1
"""What a row is to a fold, as a position in ``SPLITS``: learned from, stopped by, judged on."""


@dataclass(frozen=True)
class Keys:
    """What the rows are told apart by.

    Args:
        by: ``class`` keeps the share of each, ``group`` keeps rows of one value together, ``time``
            never trains on what comes after, ``rows`` is none of these.
        values: [n], any dtype that sorts: classes, groups or times; unused for ``rows``.
        rows: int64 [n], the positions in the source.
    """

    by: By
    values: np.ndarray
    rows: np.ndarray


def plan(keys: Keys, folds: int, share: float, seed: int) -> list[np.ndarray]:
    """For each fold the part of every row: ``TRAIN``, ``STOP``, ``HELD``, or ``OUT``; int8 [n].

    The held-out parts do not overlap. By time there is one block more than folds, and a fold learns
    from all blocks before the one that it is judged on (forward chaining; Hyndman and
    Athanasopoulos, "Forecasting", section 5.10); else each row is held out once. Early stopping
    looks at a part of a fold's own rows, never at those that judge it.

    Args:
        keys: Of the rows.
        folds: How many, at least 2.
        share: Of a fold's own rows, the part to stop by.
        seed: Of the hashing.

    Raises:
        ParamsError: there are fewer rows, groups or times than folds need.
    """
    inner = max(2, round(1 / share))
    blocks = _deal(keys, folds + (keys.by == "time"), seed)
    parts = []
    for fold in range(folds):
        later = fold + 1 if keys.by == "time" else fold
        own = blocks < later if keys.by == "time" else blocks != later
        part = np.where(blocks == later, HELD, np.where(own, TRAIN, OUT)).astype(np.int8)
        positions = np.flatnonzero(own)
        mine = Keys(keys.by, keys.values[positions], keys.rows[positions])
        dealt = _deal(mine, inner, seed ^ _INNER_SALT)
        stop = positions[dealt == (inner - 1 if keys.by == "time" else 0)]
        part[stop] = STOP
        parts.append(part)
    return parts


def _deal(keys: Keys, hands: int, seed: int) -> np.ndarray:
    """The hand of each row, int64 [n] from 0 to ``hands - 1``; hands are as equal as can be."""
    match keys.by:
        case "time":
            _, ranks = np.unique(keys.values, return_inverse=True)
            _refuse_few(ranks.max() + 1 if len(ranks) else 0, hands, "different times")
            return _blocks(ranks, hands)
        case "group":
            _, codes = np.unique(keys.values, return_inverse=True)
            return _deal_groups(codes, hands, seed)
        case "class":
            _refuse_few(len(keys.rows), hands, "rows")
            _, codes = np.unique(keys.values, return_inverse=True)
            order = np.lexsort((_hashed(keys.rows, seed), codes))
        case _:
            _refuse_few(len(keys.rows), hands, "rows")
            order = np.argsort(_hashed(keys.rows, seed), kind="stable")
    dealt = np.empty(len(order), np.int64)
    # Round robin over the whole order: classes keep their shares, and hands differ by one row.
    dealt[order] = np.arange(len(order)) % hands
    return dealt


def _blocks(ranks: np.ndarray, hands: int) -> np.ndarray:
    """Blocks of about equal size in the order of time; rows of one time stay together."""
    counts = np.bincount(ranks)
    middle = np.cumsum(counts) - (counts + 1) / 2
    block = np.minimum((middle * hands / len(ranks)).astype(np.int64), hands - 1)
    if len(np.unique(block)) < hands:  # a few times hold most of the rows
        block = np.arange(len(counts)) * hands // len(counts)
    return block[ranks]


def _deal_groups(codes: np.ndarray, hands: int, seed: int) -> np.ndarray:
    """Largest group first to the hand that has least; equals in the order of their hashes."""
    counts = np.bincount(codes)
    _refuse_few(len(counts), hands, "groups")
    order = np.lexsort((_hashed(np.arange(len(counts)), seed), -counts))
    held = [0] * hands
    hand = np.empty(len(counts), np.int64)
    for group in order:
        least = held.index(min(held))
        hand[group] = least
        held[least] += int(counts[group])
    return hand[codes]


def _hashed(values: np.ndarray, seed: int) -> np.ndarray:
    return mixed(values.astype(np.uint64), seed)


def _refuse_few(count: int, hands: int, what: str) -> None:
    if count < hands:
        raise ParamsError(
            f"evaluate.folds: the rows outside the test split have {count} {what}, and {hands} "
            "parts are needed",
            "Lower evaluate.folds.",
        )
