"""Which split each row goes to: by class, by hash, by group, by time, or as the source says.

Each function returns ``parts``, int8 [N]: the position of the row's split in ``SPLITS``. Equal
columns, shares and seeds give equal parts on every machine. A column of personal data counts by its
tokens, which come of the project's key: where rows are divided by one, with another key they are
divided otherwise.
"""

from collections.abc import Sequence
from fractions import Fraction

import numpy as np

from modelyard.artifacts import SPLITS
from modelyard.errors import DataRejected
from modelyard.params import Split

TRAIN, VALIDATION, TEST = range(3)
NAMES = {
    "train": ("train", "training"),
    "validation": ("validation", "valid", "val", "dev"),
    "test": ("test", "testing"),
}
"""What a column may call the parts of a fixed split, where ``split.names`` does not say."""

_FEW_GROUPS = 10_000
_NUM_STRATA = 10
_MIX = np.uint64(0x9E3779B97F4A7C15)


def stratify(classes: np.ndarray, split: Split, names: Sequence[str] | None = None) -> np.ndarray:
    """Keep the share of each class.

    Validation and test have ``round(N x share)`` rows; of each class they have its share rounded up
    or down (controlled rounding by largest remainder), and train has the rest. Within a class the
    rows are shuffled by a generator of its own, seeded by ``split.seed`` and the class's position,
    so that other classes' rows do not move them.

    Args:
        classes: [N], any dtype that sorts; the class of each row.
        split: shares and seed.
        names: of the classes, each of which is there; ``classes`` are then positions in it.

    Raises:
        DataRejected: a class has too few rows to be in each split.
    """
    if names is None:
        found, classes = np.unique(classes, return_inverse=True)
        names = [str(name) for name in found]
    counts = np.bincount(classes, minlength=len(names))
    _refuse_small(names, counts, split)
    _, validation, test = split.probabilities
    num_validation, num_test = _rounded(counts, validation), _rounded(counts, test)
    parts = np.zeros(len(classes), np.int8)
    for code in range(len(names)):
        rows = np.flatnonzero(classes == code)
        rows = np.random.default_rng([split.seed, code]).permutation(rows)
        first, second = num_validation[code], num_validation[code] + num_test[code]
        parts[rows[:first]] = VALIDATION
        parts[rows[first:second]] = TEST
    return parts


def by_hash(digests: np.ndarray, split: Split) -> np.ndarray:
    """Rows of equal ``digests``, uint64 [N], go to the same part, whatever other rows there are."""
    position = (mixed(digests, split.seed) >> np.uint64(11)).astype(np.float64) / 2.0**53
    train, validation, _ = split.probabilities
    bounds = np.array([train, train + validation])
    return np.searchsorted(bounds, position, side="right").astype(np.int8)


def mixed(values: np.ndarray, seed: int) -> np.ndarray:
    """Another uint64 [N] for each seed, equal where ``values``, uint64 [N], are.

    The finalizer of SplitMix64 (Steele, Lea and Flood 2014) but for its last shift, which would
    move low bits alone: rows that were once test must stay so.
    """
    with np.errstate(over="ignore"):
        bits = values + _MIX * np.uint64(seed + 1)
        bits = (bits ^ (bits >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        return (bits ^ (bits >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)


def by_group(groups: np.ndarray, split: Split) -> np.ndarray:
    """Rows of equal ``groups`` (positions, int [N]) go to the same part.

    The largest groups, in an order shuffled by the seed where they are equally large, go one by one
    to the part that lacks most rows; of the small ones that follow, each part takes what it lacks.

    Raises:
        DataRejected: there are fewer groups than parts.
    """
    sizes = np.bincount(groups)
    used = np.flatnonzero(sizes)
    if len(used) < len(SPLITS):
        raise DataRejected(
            f"column {split.column!r} has {len(used)} different values, "
            "so that it cannot divide rows into train, validation and test",
            "Name another data.split.column, or another data.split.type.",
        )
    shuffled = np.random.default_rng(split.seed).permutation(used)
    ordered = shuffled[np.argsort(-sizes[shuffled], kind="stable")]
    total = int(sizes.sum())
    lacking = [share * total for share in split.probabilities]
    part_of = np.zeros(len(sizes), np.int8)
    for group in ordered[:_FEW_GROUPS].tolist():
        part = max(range(len(SPLITS)), key=lambda index: lacking[index])
        part_of[group] = part
        lacking[part] -= int(sizes[group])
    rest = np.random.default_rng([split.seed, 1]).permutation(ordered[_FEW_GROUPS:])
    ends = np.cumsum(sizes[rest])
    bounds = np.cumsum([max(0.0, lacking[VALIDATION]), max(0.0, lacking[TEST])])
    order = np.array([VALIDATION, TEST, TRAIN], np.int8)
    part_of[rest] = order[np.searchsorted(bounds, ends - sizes[rest], side="right")]
    return part_of[groups]


def by_time(times: np.ndarray, split: Split) -> np.ndarray:
    """The newest rows are the test, those before them validation; ``times`` is [N] and sorts.

    Rows of the same time stay together, so that the shares are met as nearly as times allow.

    Raises:
        DataRejected: there are too few different times.
    """
    values, counts = np.unique(times, return_counts=True)
    if len(values) < len(SPLITS):
        raise DataRejected(
            f"column {split.column!r} has {len(values)} different times, "
            "so that it cannot divide rows into train, validation and test",
            "Name another data.split.column, or another data.split.type.",
        )
    before = np.concatenate([[0], np.cumsum(counts)])
    train, validation, _ = split.probabilities
    last = len(values) - 1
    first = _nearest(before, len(times) * train, 1, last - 1)
    second = _nearest(before, len(times) * (train + validation), first + 1, last)
    parts = np.zeros(len(times), np.int8)
    parts[times >= values[first]] = VALIDATION
    parts[times >= values[second]] = TEST
    return parts


def fixed(codes: np.ndarray, names: Sequence[str], split: Split, strata: np.ndarray) -> np.ndarray:
    """The part that the source names for each row.

    Where no row is named validation, ``split.validation`` of train becomes it, by ``strata``.

    Args:
        codes: int [N], positions in ``names``.
        names: what the column says, such as ``train``.
        split: which names mean what, the share to carve out, and the seed.
        strata: int [N], the class of each row; zeros where there are none.

    Raises:
        DataRejected: a value names no part, or train or test has no row.
    """
    known = {
        text: SPLITS.index(part) for part, texts in (split.names or NAMES).items() for text in texts
    }
    counts = np.bincount(codes, minlength=len(names))
    part_of = np.zeros(len(names), np.int8)
    for code, name in enumerate(names):
        part = known.get(name, known.get(name.lower()))
        if part is None and counts[code]:
            raise DataRejected(
                f"column {split.column!r}: {name!r} ({counts[code]} rows) names no split; "
                f"known: {', '.join(known)}",
                "Say in data.split.names which values mean train, validation and test.",
            )
        part_of[code] = part or 0
    parts = part_of[codes]
    for part in (TRAIN, TEST):
        if not np.any(parts == part):
            raise DataRejected(
                f"column {split.column!r} names no row for {SPLITS[part]}",
                "Correct data.split.names, or split by another data.split.type.",
            )
    if not np.any(parts == VALIDATION):
        _carve(parts, strata, split)
    return parts


def tenths(values: np.ndarray, split: Split) -> np.ndarray:
    """Strata of numbers float64 [N], by their size: ten, or as many as have rows for each split.

    All are equally large, equal numbers going by their place. Positions int64 [N].
    """
    needed = int(-(-1 // Fraction(repr(min(split.probabilities)))))
    number = max(1, min(_NUM_STRATA, len(values) // needed))
    ranks = np.empty(len(values), np.int64)
    ranks[np.argsort(values, kind="stable")] = np.arange(len(values))
    return ranks * number // max(1, len(values))


def positions(parts: np.ndarray) -> dict[str, np.ndarray]:
    """Row positions by split, int64, ascending; together each of 0..N-1 once."""
    return {name: np.flatnonzero(parts == part) for part, name in enumerate(SPLITS)}


def refuse_empty(parts: np.ndarray, split: Split) -> None:
    """Each split has a row.

    Raises:
        DataRejected: one has none.
    """
    counts = np.bincount(parts, minlength=len(SPLITS))
    for name, count in zip(SPLITS, counts.tolist(), strict=True):
        if not count:
            raise DataRejected(
                f"{name} has no row, of {len(parts)} in all that data.split divides ({split.type})",
                f"Add rows, raise the share of {name} in data.split.probabilities, or divide by "
                "another data.split.type.",
            )


def refuse_absent(
    codes: np.ndarray, labels: Sequence[str], parts: np.ndarray, target: str, everywhere: bool
) -> None:
    """Every class stands in train and, where ``everywhere``, in each split.

    Raises:
        DataRejected: one does not; the message names the class and its number of rows.
    """
    for part, name in enumerate(SPLITS if everywhere else SPLITS[:1]):
        present = np.bincount(codes[parts == part], minlength=len(labels))
        absent = np.flatnonzero(present == 0)
        if len(absent):
            code = int(absent[0])
            raise DataRejected(
                f"class {labels[code]!r} of {target!r} has no row in {name}, "
                f"of {np.count_nonzero(codes == code)} in all",
                f"Add rows of the class, leave it out, or set data.split.type: stratify "
                f"with data.split.column: {target}",
            )


def _nearest(ends: np.ndarray, wanted: float, low: int, high: int) -> int:
    """The place from ``low`` to ``high`` whose end is nearest to ``wanted``."""
    return low + int(np.argmin(np.abs(ends[low : high + 1] - wanted)))


def _carve(parts: np.ndarray, strata: np.ndarray, split: Split) -> None:
    """Turn a share of train into validation, of each stratum its own; in place."""
    found, codes = np.unique(strata, return_inverse=True)
    counts = np.bincount(codes[parts == TRAIN], minlength=len(found))
    numbers = _rounded(counts, split.validation)
    for code, number in enumerate(numbers):
        rows = np.flatnonzero((codes == code) & (parts == TRAIN))
        chosen = np.random.default_rng([split.seed, code]).permutation(rows)[:number]
        # A class of one single row is of more use in train.
        parts[chosen if number < len(rows) else chosen[:-1]] = VALIDATION
    if not np.any(parts == VALIDATION):
        raise DataRejected(
            f"train has {len(parts[parts == TRAIN])} rows: a share of {split.validation:g} of it "
            "for validation is no row",
            "Raise data.split.validation, or name rows for validation in the source.",
        )


def _rounded(counts: np.ndarray, share: float) -> list[int]:
    """Of each class its share, rounded up or down so that the sum is that of all rows, rounded."""
    # Fractions of the decimal text: 0.1 means a tenth, not the nearest binary number.
    exact = [int(count) * Fraction(repr(share)) for count in counts]
    floors = [int(value) for value in exact]
    missing = round(sum(exact)) - sum(floors)
    order = sorted(range(len(exact)), key=lambda code: (floors[code] - exact[code], code))
    for code in order[:missing]:
        floors[code] += 1
    return floors


def _refuse_small(names: Sequence[str], counts: np.ndarray, split: Split) -> None:
    smallest = min(split.probabilities)
    needed = -(-1 // Fraction(repr(smallest)))
    for name, count in zip(names, counts, strict=True):
        if count < needed:
            raise DataRejected(
                f"class {name!r} of {split.column!r} has {count} rows; "
                f"a share of {smallest:g} needs at least {needed} for one to be in each split",
                "Add rows of the class, leave it out of the data, "
                "or raise the smallest of data.split.probabilities.",
            )
