"""Drift of columns: the statistics are SciPy's, the verdict is worth its word."""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from modelyard.data.drift import DatasetFiles, Drift, chi_squared, compare, kolmogorov_smirnov, psi

SAMPLES = st.lists(st.integers(-20, 20).map(float), min_size=2, max_size=60).map(np.array)
COUNTS = st.lists(st.integers(5, 500), min_size=6, max_size=6).map(np.array)


@settings(max_examples=60, deadline=None)
@given(reference=SAMPLES, current=SAMPLES)
def test_kolmogorov_smirnov_is_scipys(reference: np.ndarray, current: np.ndarray) -> None:
    expected = stats.ks_2samp(reference, current, method="asymp")
    distance, p = kolmogorov_smirnov(reference, current)
    assert distance == pytest.approx(float(expected.statistic))
    assert p == pytest.approx(float(expected.pvalue), abs=1e-9)


@settings(max_examples=60, deadline=None)
@given(reference=COUNTS, current=COUNTS)
def test_chi_squared_is_scipys(reference: np.ndarray, current: np.ndarray) -> None:
    expected = stats.contingency.chi2_contingency([reference, current], correction=False)
    if expected.expected_freq.min() < 5:
        return
    statistic, p = chi_squared(reference, current)
    assert (statistic, p) == pytest.approx((expected.statistic, expected.pvalue), abs=1e-9)


def test_chi_squared_counts_rare_bins_together() -> None:
    rare = chi_squared(np.array([500, 480, 1, 0, 2]), np.array([490, 500, 0, 2, 1]))
    assert rare == chi_squared(np.array([500, 480, 3]), np.array([490, 500, 3]))
    assert chi_squared(np.array([9, 0]), np.array([7, 0])) == (0.0, 1.0)
    assert chi_squared(np.array([10_000, 0]), np.array([10_000, 6])) == (0.0, 1.0)
    few = chi_squared(np.array([500, 300, 0]), np.array([480, 340, 6]))
    assert few == chi_squared(np.array([500, 300]), np.array([480, 346]))


def test_psi_is_the_textbooks() -> None:
    # Shares 0.2/0.3/0.5 and 0.3/0.3/0.4: 0.1 ln 1.5 - 0.1 ln 0.8.
    got = psi(np.array([20, 30, 50]), np.array([300, 300, 400]))
    assert got == pytest.approx(0.1 * np.log(1.5) + 0.1 * np.log(1.25))
    assert psi(np.array([10, 0]), np.array([0, 10])) < 20


FEATURES = {
    "age": "integer",
    "price": "number",
    "city": "category",
    "member": "boolean",
    "since": "date",
    "seen": "datetime",
    "review": "text",
    "photo": "image",
    "voice": "audio",
    "empty": "number",
}


def columns(num: int, seed: int, shift: float) -> dict[str, pa.Array]:
    rng = np.random.default_rng(seed)
    price = rng.normal(shift, 1, num)
    lists = {"photo": np.uint8, "voice": np.int16}
    pixels = {
        name: pa.FixedSizeListArray.from_arrays(
            pa.array((rng.integers(60, 90, num * 4) + 40 * shift).astype(kind)), 4
        )
        for name, kind in lists.items()
    }
    return pixels | {
        "age": pa.array(rng.integers(20, 60, num) + round(10 * shift)),
        "price": pa.array(price, mask=rng.random(num) < 0.1 + 0.3 * shift),
        "city": pa.array(
            rng.choice(["Köln", "Rome", None], num, p=[0.6 - shift / 2, 0.3, 0.1 + shift / 2])
        ),
        "member": pa.array(rng.random(num) < 0.5 + 0.4 * shift),
        "since": pa.array(rng.integers(0, 400, num) + round(300 * shift), pa.int32()).cast(
            pa.date32()
        ),
        "seen": pa.array(rng.integers(0, 10**9, num)).cast(pa.timestamp("us", tz="UTC")),
        "review": pa.array(["x" * n for n in rng.integers(1, 50, num) + round(30 * shift)]),
        "empty": pa.nulls(num, pa.float64()),
        "row": pa.array(range(num)),
        "target": pa.array(rng.choice(2, num, p=[0.5 - 0.4 * shift, 0.5 + 0.4 * shift])),
    }


def dataset(
    folder: Path,
    num: int,
    seed: int,
    shift: float = 0.0,
    labels: tuple[str, ...] = ("no", "yes"),
    **tree: Any,
) -> DatasetFiles:
    folder.mkdir()
    table, files = pa.table(columns(num, seed, shift)), {}
    for name, start, stop in (("train", 0, 0.8), ("validation", 0.8, 0.9), ("test", 0.9, 1)):
        files[f"{name}.parquet"] = folder / name
        part = table.slice(round(start * num), round((stop - start) * num))
        pq.write_table(part, folder / name)
    features = [{"name": name, "type": kind} for name, kind in FEATURES.items()]
    base = {"task": "classification", "labels": list(labels), "features": features}
    return DatasetFiles(base | tree, files)


def verdicts(found: list[Drift]) -> dict[str, str]:
    return {item.column: item.verdict for item in found}


NAMES = ["age", "price", "city", "member", "since", "seen", "review (length)"]
NAMES += ["photo (brightness)", "voice (loudness)", "empty", "target"]


def test_datasets_of_one_distribution_are_stable(tmp_path: Path) -> None:
    found = compare(dataset(tmp_path / "a", 3000, 0), dataset(tmp_path / "b", 3000, 1))
    assert verdicts(found) == dict.fromkeys(NAMES, "stable") | {"empty": "all missing"}
    assert all(item.psi < 0.05 for item in found)


def test_shifted_columns_are_named(tmp_path: Path) -> None:
    found = compare(dataset(tmp_path / "a", 3000, 0), dataset(tmp_path / "b", 3000, 1, shift=1.0))
    named = verdicts(found)
    assert named.pop("seen") == "stable"
    assert named.pop("empty") == "all missing"
    assert set(named.values()) == {"large"}
    price = next(item for item in found if item.column == "price")
    assert price.ks is not None
    assert price.ks > 0.3
    assert price.ks_p is not None
    assert price.ks_p < 1e-9


def test_a_few_rows_prove_nothing(tmp_path: Path) -> None:
    found = compare(dataset(tmp_path / "a", 40, 0), dataset(tmp_path / "b", 40, 1))
    assert "large" not in verdicts(found).values()
    assert "too few rows to tell" in verdicts(found).values()


def test_classes_are_compared_by_name_and_columns_by_type(tmp_path: Path) -> None:
    before = dataset(tmp_path / "a", 2000, 0)
    swapped = dataset(tmp_path / "b", 2000, 0, labels=("yes", "no"))
    assert verdicts(compare(before, swapped))["target"] == "stable"
    renamed = dataset(tmp_path / "c", 2000, 0, labels=("no", "maybe"))
    assert verdicts(compare(before, renamed))["target"] == "large"
    features = [{"name": "age", "type": "category"}, {"name": "price", "type": "number"}]
    other = dataset(tmp_path / "d", 2000, 0, features=features, task="regression")
    assert list(verdicts(compare(before, other))) == ["price"]


def test_labels_of_several_and_numbers_as_target(tmp_path: Path) -> None:
    both = [dataset(tmp_path / name, 2000, 0, features=[], task="regression") for name in "ab"]
    assert verdicts(compare(*both)) == {"target": "stable"}
    for name, share in (("a", 0.2), ("b", 0.6)):
        rows = (np.random.default_rng(0).random((2000, 2)) < [0.5, share]).astype(np.uint8)
        values = pa.FixedSizeListArray.from_arrays(pa.array(rows.ravel()), 2)
        for split in ("train", "validation", "test"):
            pq.write_table(pa.table({"target": values}), tmp_path / name / split)
    several = [
        DatasetFiles(item.tree | {"task": "multi-label", "labels": ["x", "y"]}, item.files)
        for item in both
    ]
    assert verdicts(compare(*several)) == {"target x": "stable", "target y": "large"}
