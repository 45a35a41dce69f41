"""What would let a model know the test beforehand: equal rows, shared groups, a copied target."""

from collections.abc import Callable, Sequence

import numpy as np

from modelyard.artifacts import SPLITS
from modelyard.errors import DataRejected

_NUM_SHOWN = 3
_REMEDY_ROWS = (
    "Set data.clean.duplicates: drop, or data.split.type: hash, which keeps equal rows together; "
    "data.leakage.rows: allow takes them as they are."
)
Positions = Callable[[np.ndarray], np.ndarray]


def repeats(hashes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The rows whose hash, uint64 [N], an earlier row has: their places, and that of the first.

    Two different rows among ten million have the same 64 bits in 3 of a million datasets.
    """
    ordered = np.sort(hashes)
    repeated = ordered[1:][ordered[1:] == ordered[:-1]]
    if not len(repeated):
        return np.empty(0, np.int64), np.empty(0, np.int64)
    known = np.unique(repeated)
    nearest = np.minimum(np.searchsorted(known, hashes), len(known) - 1)
    places = np.flatnonzero(known[nearest] == hashes)
    codes = nearest[places]
    first = np.full(len(known), len(hashes), np.int64)
    np.minimum.at(first, codes, places)
    later = places != first[codes]
    return places[later], first[codes[later]]


def refuse_equal_rows(
    hashes: np.ndarray, parts: np.ndarray, names: Sequence[str], rows: Positions
) -> None:
    """Rows of equal features must stand in one split.

    Args:
        hashes: uint64 [N], of a row's features.
        parts: int8 [N], a row's split.
        names: the features, for the message.
        rows: from places to positions in the source.

    Raises:
        DataRejected: two splits have a row in common.
    """
    later, first = repeats(hashes)
    # Of rows that are equal each is compared with the first, so that two splits are never missed.
    across = parts[later] != parts[first]
    if not across.any():
        return
    later, first = later[across], first[across]
    pairs = zip(
        rows(first[:_NUM_SHOWN]), parts[first], rows(later[:_NUM_SHOWN]), parts[later], strict=False
    )
    shown = "; ".join(
        f"row {one} ({SPLITS[part]}) = row {two} ({SPLITS[other]})"
        for one, part, two, other in pairs
    )
    raise DataRejected(
        f"{len(later)} rows equal a row of another split in all features ({_listed(names)}): "
        f"{shown}{'; ...' if len(later) > _NUM_SHOWN else ''}",
        _REMEDY_ROWS,
    )


def refuse_shared_groups(
    groups: np.ndarray, parts: np.ndarray, column: str, show: Callable[[int], str], rows: Positions
) -> None:
    """Rows of equal ``groups`` (positions, int [N]; -1 is missing) must stand in one split.

    Raises:
        DataRejected: two splits have a value in common; ``show`` gives it as text.
    """
    places = np.flatnonzero(groups >= 0)
    if not len(places):
        return
    present = np.zeros((int(groups.max()) + 1, len(SPLITS)), bool)
    present[groups[places], parts[places]] = True
    shared = np.flatnonzero(present.sum(axis=1) > 1)
    if not len(shared):
        return
    code = int(shared[0])
    where = [
        f"row {int(rows(np.flatnonzero((groups == code) & (parts == part))[:1])[0])} ({name})"
        for part, name in enumerate(SPLITS)
        if present[code, part]
    ]
    raise DataRejected(
        f"{len(shared)} values of the group column {column!r} stand in more than one split; "
        f"the first is {show(code)!r}: {', '.join(where)}",
        f"Set data.split: {{type: group, column: {column}}}, or take it out of "
        "data.leakage.groups.",
    )


def refuse_copies(copies: Sequence[str], target: str, detail: str) -> None:
    """No feature may be the target by another name.

    Raises:
        DataRejected: ``copies`` names some; ``detail`` says how they were found.
    """
    if copies:
        raise DataRejected(
            f"the target {target!r} is copied into {_listed(copies)}: {detail}",
            "Set use: false on these fields; data.leakage.target: allow takes them as they are.",
        )


def _listed(names: Sequence[str]) -> str:
    shown = ", ".join(names[:5])
    return shown + (f" and {len(names) - 5} more" if len(names) > 5 else "")
