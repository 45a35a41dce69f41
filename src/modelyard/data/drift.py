"""How far the columns of two datasets are apart: PSI, Kolmogorov-Smirnov, chi-squared.

The population stability index says how large a shift is (Siddiqi 2006: below 0.1 is none, from 0.25
on it is large); chi-squared over the same bins says whether so few rows can show it.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from modelyard.artifacts import SPLITS

NUM_BINS = 10
MODERATE, LARGE = 0.1, 0.25
SIGNIFICANT = 0.01
_FLOOR = 1e-4
"""Least share of a bin: an empty one would make the index infinite."""
_MIN_EXPECTED = 5
"""Rows that chi-squared needs in a bin (Cochran 1954); rarer ones are counted together."""
_BATCH = 2048
_CATEGORICAL = ("category", "boolean")

Verdict = Literal["stable", "moderate", "large", "too few rows to tell", "all missing"]


@dataclass(frozen=True)
class Drift:
    """How one column shifted; ``ks`` and ``ks_p`` are of numbers alone."""

    column: str
    psi: float
    chi2: float
    chi2_p: float
    ks: float | None
    ks_p: float | None
    verdict: Verdict


@dataclass(frozen=True)
class DatasetFiles:
    """A dataset by its ``dataset.json`` and its files' places, by their names in the folder."""

    tree: dict[str, Any]
    files: dict[str, Path]


def compare(reference: DatasetFiles, current: DatasetFiles) -> list[Drift]:
    """The drift of each feature and target that both datasets have, over all rows of all splits.

    A text counts by its number of characters, a picture by its mean brightness, a sound by its
    root mean square.
    """
    found = []
    types = {item["name"]: item["type"] for item in current.tree["features"]}
    for feature in reference.tree["features"]:
        name, kind = feature["name"], feature["type"]
        if types.get(name) != kind:
            continue
        if kind in _CATEGORICAL:
            counts = (_categories(dataset, name) for dataset in (reference, current))
            found.append(_of_categories(name, *counts))
        else:
            label, read = _READERS.get(kind, ("", _numbers))
            columns = (read(dataset, name) for dataset in (reference, current))
            found.append(_of_numbers(f"{name}{label}", *columns))
    if reference.tree["task"] == current.tree["task"]:
        found += _targets(reference, current)
    return found


def psi(reference: np.ndarray, current: np.ndarray) -> float:
    """Population stability index of two int64 [B] counts of rows by bin."""
    before = np.maximum(reference / reference.sum(), _FLOOR)
    after = np.maximum(current / current.sum(), _FLOOR)
    return float(((after - before) * np.log(after / before)).sum())


def chi_squared(reference: np.ndarray, current: np.ndarray) -> tuple[float, float]:
    """Statistic and p-value that two int64 [B] counts are of one distribution (Pearson 1900).

    Bins that expect fewer than five rows of either are counted together, and with the smallest
    other bin where even together they are that few. One bin alone is no test: 0 and 1.
    """
    from scipy.special import chdtrc

    counts = np.stack([reference, current]).astype(np.float64)
    counts = counts[:, counts.sum(axis=0) > 0]
    rare = _expected(counts).min(axis=0) < _MIN_EXPECTED
    if rare.any():
        joined, others = counts[:, rare].sum(axis=1, keepdims=True), counts[:, ~rare]
        counts = np.concatenate([others, joined], axis=1)
        if others.size and _expected(counts)[:, -1].min() < _MIN_EXPECTED:
            smallest = others.sum(axis=0).argmin()
            counts[:, -1] += others[:, smallest]
            counts = np.delete(counts, smallest, axis=1)
    expected = _expected(counts)
    statistic = float(((counts - expected) ** 2 / expected).sum())
    degrees = counts.shape[1] - 1
    return statistic, float(chdtrc(degrees, statistic)) if degrees else 1.0


def kolmogorov_smirnov(reference: np.ndarray, current: np.ndarray) -> tuple[float, float]:
    """Largest distance of two float64 samples' distribution functions, and its p-value.

    The p-value is that of one sample of the effective size n m / (n + m) (Massey 1951).
    """
    from scipy.stats import kstwo

    reference, current = np.sort(reference), np.sort(current)
    points = np.concatenate([reference, current])
    before = np.searchsorted(reference, points, side="right") / len(reference)
    after = np.searchsorted(current, points, side="right") / len(current)
    distance = float(np.abs(before - after).max())
    size = len(reference) * len(current) / (len(reference) + len(current))
    return distance, float(np.clip(kstwo.sf(distance, max(round(size), 1)), 0, 1))


def _expected(counts: np.ndarray) -> np.ndarray:
    return counts.sum(axis=1, keepdims=True) * counts.sum(axis=0) / counts.sum()


def _of_categories(column: str, reference: dict[str, int], current: dict[str, int]) -> Drift:
    """The shift of a column by its number of rows for each value."""
    values = sorted(reference.keys() | current.keys())
    before, after = (
        np.array([counts.get(value, 0) for value in values]) for counts in (reference, current)
    )
    return _judged(column, before, after, (None, None))


def _of_numbers(column: str, reference: np.ndarray, current: np.ndarray) -> Drift:
    """The shift of a float64 column, NaN missing; bins hold a tenth of the reference each."""
    known, now = reference[~np.isnan(reference)], current[~np.isnan(current)]
    if not len(known) or not len(now):
        return Drift(column, 0.0, 0.0, 1.0, None, None, "all missing")
    edges = np.unique(np.quantile(known, np.linspace(0, 1, NUM_BINS + 1)[1:-1]))

    def binned(present: np.ndarray, whole: np.ndarray) -> np.ndarray:
        counts = np.bincount(np.searchsorted(edges, present), minlength=len(edges) + 1)
        return np.append(counts, len(whole) - len(present))

    before, after = binned(known, reference), binned(now, current)
    return _judged(column, before, after, kolmogorov_smirnov(known, now))


def _judged(
    column: str,
    before: np.ndarray,
    after: np.ndarray,
    ks: tuple[float, float] | tuple[None, None],
) -> Drift:
    index, (statistic, p) = psi(before, after), chi_squared(before, after)
    verdict: Verdict = "moderate" if index < LARGE else "large"
    if index < MODERATE:
        verdict = "stable"
    elif p >= SIGNIFICANT:
        verdict = "too few rows to tell"
    return Drift(column, index, statistic, p, *ks, verdict)


def _targets(reference: DatasetFiles, current: DatasetFiles) -> list[Drift]:
    task = reference.tree["task"]
    if task == "regression":
        both = (_numbers(dataset, "target") for dataset in (reference, current))
        return [_of_numbers("target", *both)]
    if task == "multi-label":
        before, after = (_labels_of_rows(dataset) for dataset in (reference, current))
        shared = [label for label in before if label in after]
        return [_of_categories(f"target {name}", before[name], after[name]) for name in shared]
    both = (_classes(dataset) for dataset in (reference, current))
    return [_of_categories("target", *both)]


def _classes(dataset: DatasetFiles) -> dict[str, int]:
    labels = dataset.tree["labels"]
    codes = _numbers(dataset, "target").astype(np.int64)
    counts = np.bincount(codes, minlength=len(labels)).tolist()
    return dict(zip(map(str, labels), counts, strict=True))


def _labels_of_rows(dataset: DatasetFiles) -> dict[str, dict[str, int]]:
    column = _column(dataset, "target")
    rows = column.combine_chunks().flatten().to_numpy().reshape(len(column), -1)
    with_label = rows.sum(axis=0, dtype=np.int64).tolist()
    return {
        str(label): {"with": num, "without": len(rows) - num}
        for label, num in zip(dataset.tree["labels"], with_label, strict=True)
    }


def _column(dataset: DatasetFiles, name: str) -> Any:
    """A column of all splits, as a chunked Arrow array."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    parts = [
        pq.read_table(dataset.files[f"{split}.parquet"], columns=[name])[name] for split in SPLITS
    ]
    return pa.chunked_array([chunk for part in parts for chunk in part.chunks], parts[0].type)


def _numbers(dataset: DatasetFiles, name: str) -> np.ndarray:
    import pyarrow as pa

    column = _column(dataset, name)
    if pa.types.is_date32(column.type):
        column = column.cast(pa.int32())
    elif pa.types.is_timestamp(column.type):
        column = column.cast(pa.int64())
    return column.cast(pa.float64()).to_numpy()


def _categories(dataset: DatasetFiles, name: str) -> dict[str, int]:
    """Rows by value; a missing one is a value of its own, which no text can equal."""
    import pyarrow as pa

    counts = _column(dataset, name).cast(pa.string()).value_counts()
    values = ("\0missing" if item is None else item for item in counts.field("values").to_pylist())
    return dict(zip(values, counts.field("counts").to_pylist(), strict=True))


def _lengths(dataset: DatasetFiles, name: str) -> np.ndarray:
    import pyarrow as pa
    import pyarrow.compute as pc

    lengths = pc.call_function("utf8_length", [_column(dataset, name)])
    return lengths.cast(pa.float64()).to_numpy()


def _summary(of: Callable[[np.ndarray], np.ndarray]) -> Callable[[DatasetFiles, str], np.ndarray]:
    """Read a column of pictures or sounds in batches and keep one number a row."""

    def read(dataset: DatasetFiles, name: str) -> np.ndarray:
        import pyarrow.parquet as pq

        parts = []
        for split in SPLITS:
            with pq.ParquetFile(dataset.files[f"{split}.parquet"]) as file:
                for batch in file.iter_batches(_BATCH, columns=[name]):
                    rows = batch.column(0).flatten().to_numpy().reshape(len(batch), -1)
                    parts.append(of(rows.astype(np.float64)))
        return np.concatenate(parts)

    return read


_READERS: dict[str, tuple[str, Callable[[DatasetFiles, str], np.ndarray]]] = {
    "text": (" (length)", _lengths),
    "image": (" (brightness)", _summary(lambda rows: rows.mean(axis=1))),
    "audio": (" (loudness)", _summary(lambda rows: np.sqrt((rows**2).mean(axis=1)))),
}
"""By type of a feature, what its column is called and how it is read; all others are numbers."""
