"""Generated tables: training's tensors and the served graph agree row by row."""

import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from prepared_rows import by_graph, fit, write_split

from modelyard.data.columns import iterate_features
from modelyard.data.prepare_table import Category, Number
from modelyard.data.preprocessing import Preprocessing
from modelyard.errors import ParamsError
from modelyard.params import Categories, Numbers, Outliers

WORDS = st.one_of(
    st.sampled_from(["", "a", "b", "B", "ä", "漢", "a b", "\U0001f600"]), st.text(max_size=3)
)
VALUES: dict[str, st.SearchStrategy[Any]] = {
    "number": st.floats(-1e150, 1e150),
    "integer": st.integers(-(2**40), 2**40),
    "boolean": st.booleans(),
    "date": st.dates(),
    "datetime": st.datetimes().map(lambda time: time.replace(tzinfo=None)),
    "category": WORDS,
}
PREPARE = st.fixed_dictionaries(
    {
        "numbers": st.fixed_dictionaries(
            {
                "impute": st.sampled_from(["median", "mean", "zero"]),
                "scale": st.sampled_from(["standard", "minmax", "none"]),
                "indicate": st.booleans(),
            }
        ),
        "categories": st.fixed_dictionaries(
            {
                "encode": st.sampled_from(["one_hot", "embedding"]),
                "max_categories": st.integers(2, 4),
                "min_count": st.integers(1, 2),
            }
        ),
    }
)
OUTLIERS = st.fixed_dictionaries(
    {"method": st.sampled_from(["iqr", "zscore"]), "factor": st.floats(0.1, 5)}
)


@st.composite
def tables(draw: st.DrawFn) -> tuple[list[dict[str, Any]], dict[str, list[Any]], dict[str, Any]]:
    """Features, the rows of train, and other rows."""
    kinds = draw(st.lists(st.sampled_from(sorted(VALUES)), min_size=1, max_size=5))
    features = [{"name": f"{kind} {place}", "type": kind} for place, kind in enumerate(kinds)]
    rows, others = draw(st.integers(1, 8)), draw(st.integers(1, 5))

    def columns(count: int) -> dict[str, list[Any]]:
        return {
            feature["name"]: draw(
                st.lists(st.none() | VALUES[feature["type"]], min_size=count, max_size=count)
            )
            for feature in features
        }

    return features, columns(rows), columns(others)


@settings(max_examples=50, deadline=None)
@given(table=tables(), prepare=PREPARE, outliers=st.none() | OUTLIERS)
def test_transform_and_the_graph_agree(
    table: Any, prepare: dict[str, Any], outliers: dict[str, Any] | None
) -> None:
    features, train, others = table
    with tempfile.TemporaryDirectory() as folder:
        path = write_split(Path(folder) / "train.parquet", features, train)
        preprocessing = fit(path, features, prepare=prepare, clean={"outliers": outliers})
        preprocessing.write(Path(folder) / "preprocessing.json")
        assert Preprocessing.read(Path(folder) / "preprocessing.json") == preprocessing
        other = write_split(Path(folder) / "other.parquet", features, others)
        for rows in (path, other):
            (raw,) = iterate_features(rows, features)
            tensor = preprocessing.transform(raw)
            assert tensor.dtype == np.float32
            assert tensor.shape == (len(next(iter(raw.values()))), *preprocessing.input_shape)
            assert np.isfinite(tensor).all()
            np.testing.assert_array_equal(by_graph(preprocessing, raw), tensor)


def number(values: list[float], kind: str = "number", **params: Any) -> Number:
    outliers = params.pop("outliers", None)
    found = Outliers(**outliers) if outliers else None
    return Number.fit("age", kind, np.array(values, np.float64), Numbers(**params), found)


def test_a_missing_number_becomes_what_was_asked_for_and_is_said() -> None:
    values = [1.0, 2.0, np.nan, 6.0]
    assert number(values).impute == 2
    assert number(values, impute="mean").impute == 3
    assert number(values, impute="zero").impute == 0
    assert number(values).indicate
    assert not number(values, indicate=False).indicate
    assert not number([1.0, 2.0]).indicate


def test_numbers_are_scaled_as_asked_for() -> None:
    values = [1.0, 2.0, 3.0, 10.0]
    assert number(values) == Number(
        "age", 2.5, None, None, 4.0, number(values).spread, indicate=False
    )
    assert number(values).spread == pytest.approx(np.std(values))
    minmax = number(values, scale="minmax")
    assert (minmax.center, minmax.spread) == (1, 9)
    for of in (number(values, scale="none"), number([0, 1, 1], "boolean")):
        assert (of.center, of.spread) == (0, 1)
    for scale in ("standard", "minmax"):
        assert number([0.1] * 7, scale=scale).spread == 1


def test_outliers_of_numbers_are_clipped_before_anything_is_fitted() -> None:
    values = [*map(float, range(1, 10)), 1000.0]
    clipped = number(values, scale="minmax", impute="mean", outliers={"factor": 1.5})
    first, third = np.quantile(values, (0.25, 0.75))
    high = third + 1.5 * (third - first)
    assert (clipped.low, clipped.high) == (first - 1.5 * (third - first), high)
    assert clipped.spread == high - 1
    assert clipped.impute == pytest.approx((45 + high) / 10)
    by_deviation = number(values, outliers={"method": "zscore", "factor": 2})
    assert by_deviation.high == pytest.approx(np.mean(values) + 2 * np.std(values))
    # Where most values are the same, their quartiles are no bounds.
    assert number([0.0] * 9 + [5.0], outliers={"method": "iqr"}).high is None
    assert number(values, outliers={"policy": "reject"}).high is None
    assert number(values, "date", outliers={"method": "iqr"}).high is None


@pytest.mark.parametrize("values", [[1.7e308, 1.7e308, 0.0]])
def test_numbers_too_large_to_be_scaled_are_refused(values: list[float]) -> None:
    with pytest.raises(ParamsError, match=r"age has numbers too large .* up to 1(\.7)?e\+308"):
        number(values)


def test_the_commonest_categories_have_a_place_each() -> None:
    counts = {"b": 3, "a": 3, "c": 5, "d": 1, "": 9}
    category = Category.fit("kind", counts, Categories(max_categories=3, min_count=2))
    assert category.kept == ("c", "a", "b")
    values = np.array(["a", "", "d", "c", "new", "A"], dtype=object)
    assert category.places(values).tolist() == [3, 0, 1, 2, 1, 1]
    assert category.dimension is None


def test_an_embeddings_dimension_follows_the_number_of_places() -> None:
    params = Categories(encode="embedding", max_categories=100_000)
    counts = {str(value): 1 for value in range(998)}
    assert Category.fit("kind", counts, params).dimension == round(1.6 * 1000**0.56)
    given = Categories(encode="embedding", dimension=4)
    assert Category.fit("kind", counts, given).dimension == 4
