"""The stratified split: exact shares, every class in every part, fixed by the seed."""

from fractions import Fraction

import numpy as np

from modelyard.artifacts import SPLITS
from modelyard.errors import DataRejected
from modelyard.params import Split


def stratify(classes: np.ndarray, split: Split) -> dict[str, np.ndarray]:
    """Assign each row to train, validation or test, keeping the share of each class.

    Validation and test have ``round(N x share)`` rows; of each class they have its share rounded up
    or down (controlled rounding by largest remainder), and train has the rest. Within a class the
    rows are shuffled by a generator of its own, seeded by ``split.seed`` and the class's position,
    so that other classes' rows do not move them.

    Args:
        classes: [N], any dtype that sorts; the class of each row.
        split: shares and seed.

    Returns:
        Row positions by split, int64, ascending; together each of 0..N-1 once.

    Raises:
        DataRejected: a class has too few rows to be in each split.
    """
    names, codes = np.unique(classes, return_inverse=True)
    counts = np.bincount(codes, minlength=len(names))
    _refuse_small(names, counts, split)
    _, validation, test = split.probabilities
    num_validation = _rounded(counts, validation)
    num_test = _rounded(counts, test)
    parts: dict[str, list[np.ndarray]] = {name: [] for name in SPLITS}
    for code in range(len(names)):
        rows = np.flatnonzero(codes == code)
        rows = np.random.default_rng([split.seed, code]).permutation(rows)
        first, second = num_validation[code], num_validation[code] + num_test[code]
        for name, part in zip(
            SPLITS, (rows[second:], rows[:first], rows[first:second]), strict=True
        ):
            parts[name].append(part)
    return {name: np.sort(np.concatenate(part)) for name, part in parts.items()}


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


def _refuse_small(names: np.ndarray, counts: np.ndarray, split: Split) -> None:
    smallest = min(split.probabilities)
    needed = -(-1 // Fraction(repr(smallest)))
    for name, count in zip(names, counts, strict=True):
        if count < needed:
            raise DataRejected(
                f"class {str(name)!r} of {split.column!r} has {count} rows; "
                f"a share of {smallest:g} needs at least {needed} for one to be in each split",
                "Add rows of the class, leave it out of the data, "
                "or raise the smallest of data.split.probabilities.",
            )
