"""Columns of tables: numbers, dates and booleans imputed and scaled, categories as places."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np

from modelyard.data.onnx_nodes import ML, Nodes
from modelyard.errors import ParamsError
from modelyard.params import Categories, Numbers, Outliers

MISSING, OTHER = 0, 1
"""The first two places of a category: a missing value, and one that is none of ``kept``."""

_LARGEST = float(np.finfo(np.float32).max)


@dataclass(frozen=True)
class Number:
    """A missing value becomes ``impute``; then ``(min(max(x, low), high) - center) / spread``.

    ``indicate``: a second column says where the value was missing.
    """

    name: str
    impute: float
    low: float | None
    high: float | None
    center: float
    spread: float
    indicate: bool

    @classmethod
    def fit(
        cls, name: str, kind: str, values: np.ndarray, params: Numbers, outliers: Outliers | None
    ) -> Self:
        """Fit on float64 [N] of train alone, NaN where missing.

        Quantiles are interpolated. Bounds of outliers are for numbers and integers; a boolean
        stays 0 or 1. What has one single value, or none, is not stretched.

        Raises:
            ParamsError: the numbers are too large for their deviation to be a float64.
        """
        with np.errstate(over="ignore", invalid="ignore"):
            found = cls._fit(name, kind, values, params, outliers)
        numbers = (found.impute, found.low or 0.0, found.high or 0.0, found.center, found.spread)
        if not np.isfinite(numbers).all():
            raise ParamsError(
                f"{name} has numbers too large to be scaled, up to {np.nanmax(np.abs(values)):g}",
                f"Give data.schema field {name!r} constraints of minimum and maximum.",
            )
        return found

    @classmethod
    def _fit(
        cls, name: str, kind: str, values: np.ndarray, params: Numbers, outliers: Outliers | None
    ) -> Self:
        present = values[~np.isnan(values)]
        indicate = params.indicate and len(present) < len(values)
        if not len(present):
            return cls(name, 0.0, None, None, 0.0, 1.0, indicate)
        low = high = None
        if outliers is not None and outliers.policy == "clip" and kind in ("number", "integer"):
            low, high = _bounds(present, outliers)
            present = present if low is None else np.clip(present, low, high)
        mean, std = mean_and_std(present)
        center, spread = 0.0, 1.0
        if kind != "boolean" and params.scale == "standard":
            center, spread = mean, std
        elif kind != "boolean" and params.scale == "minmax":
            center = float(present.min())
            spread = float(present.max()) - center
        impute = {"mean": mean, "zero": 0.0}.get(params.impute)
        if impute is None:
            impute = float(np.median(present, overwrite_input=True))
        return cls(name, impute, low, high, center, spread or 1.0, indicate)


@dataclass(frozen=True)
class Category:
    """``kept`` have the places from 2 on, in this order; ``dimension`` is that of an embedding."""

    name: str
    kept: tuple[str, ...]
    dimension: int | None

    @classmethod
    def fit(cls, name: str, counts: Mapping[str, int], params: Categories) -> Self:
        """Fit on how often each value is in train.

        The commonest come first, equally common ones in the order of their code points. An
        embedding has by default 1.6 places^0.56 dimensions (fastai's rule), at most 600.
        """
        common = [pair for pair in counts.items() if pair[0] and pair[1] >= params.min_count]
        common = sorted(common, key=lambda pair: (-pair[1], pair[0]))[: params.max_categories]
        dimension = None
        if params.encode == "embedding":
            dimension = params.dimension or min(600, round(1.6 * (len(common) + 2) ** 0.56))
        return cls(name, tuple(value for value, _ in common), dimension)

    @property
    def num_places(self) -> int:
        """How many values the category can have here."""
        return len(self.kept) + 2

    def places(self, values: np.ndarray) -> np.ndarray:
        """The place of each of str objects [N], int32 [N]."""
        known = {value: place for place, value in enumerate(self.kept, 2)} | {"": MISSING}
        return np.fromiter((known.get(value, OTHER) for value in values), np.int32, len(values))

    def add_to(self, graph: Nodes) -> str:
        """The same as nodes, int64 [batch, 1]; their input is named as the feature."""
        places = graph.add(
            "LabelEncoder",
            graph.input(self.name, str),
            domain=ML,
            keys_strings=["", *self.kept],
            values_int64s=[MISSING, *range(2, self.num_places)],
            default_int64=OTHER,
        )
        return graph.as_column(places)


def scale(numbers: Sequence[Number], columns: Mapping[str, np.ndarray], rows: int) -> np.ndarray:
    """Float32 [rows, ...]: all scaled numbers, then the indicators; computed in float64."""
    indicated = [number for number in numbers if number.indicate]
    result = np.empty((rows, len(numbers) + len(indicated)), np.float32)
    for place, number in enumerate(numbers):
        values = columns[number.name]
        missing = np.isnan(values)
        values = np.where(missing, number.impute, values)
        if number.low is not None and number.high is not None:
            values = np.minimum(np.maximum(values, number.low), number.high)
        with np.errstate(over="ignore"):
            values = (values - number.center) / number.spread
        result[:, place] = np.minimum(np.maximum(values, -_LARGEST), _LARGEST)
        if number.indicate:
            result[:, len(numbers) + indicated.index(number)] = missing
    return result


def add_numbers(numbers: Sequence[Number], graph: Nodes) -> str:
    """``scale`` as nodes; the inputs are named as the features."""
    inputs = [graph.input(number.name, np.float64) for number in numbers]
    values = graph.side_by_side([graph.as_column(name) for name in inputs])
    missing = graph.add("IsNaN", values)
    values = graph.add("Where", missing, _row(graph, [n.impute for n in numbers]), values)
    if any(number.low is not None for number in numbers):
        lows = [-np.inf if number.low is None else number.low for number in numbers]
        highs = [np.inf if number.high is None else number.high for number in numbers]
        values = graph.add("Max", values, _row(graph, lows))
        values = graph.add("Min", values, _row(graph, highs))
    values = graph.add("Sub", values, _row(graph, [number.center for number in numbers]))
    values = graph.add("Div", values, _row(graph, [number.spread for number in numbers]))
    values = graph.add("Max", values, _row(graph, [-_LARGEST]))
    values = graph.cast(graph.add("Min", values, _row(graph, [_LARGEST])), np.float32)
    shown = [place for place, number in enumerate(numbers) if number.indicate]
    if not shown:
        return values
    chosen = graph.add("Gather", missing, graph.constant(np.array(shown, np.int64)), axis=1)
    return graph.side_by_side([values, graph.cast(chosen, np.float32)])


def mean_and_std(values: np.ndarray) -> tuple[float, float]:
    """Mean and standard deviation of float64 [N]; a deviation of 0 becomes 1."""
    mean = float(values.mean())
    distances = np.abs(values - mean)
    # Divided by the largest, no square is too large or too small for a float64.
    largest = float(distances.max())
    # Rounding of the mean alone makes equal values differ from it.
    if largest <= abs(mean) * 1e-12:
        return mean, 1.0
    distances /= largest
    return mean, largest * float(np.sqrt(np.square(distances, out=distances).mean()))


def _bounds(values: np.ndarray, outliers: Outliers) -> tuple[float | None, float | None]:
    """Beyond which a value is an outlier; none where most values are the same."""
    if outliers.method == "zscore":
        middle, spread = mean_and_std(values)
        low, high = middle - outliers.factor * spread, middle + outliers.factor * spread
    else:
        first, third = np.quantile(values, (0.25, 0.75)).tolist()
        distance = outliers.factor * (third - first)
        low, high = first - distance, third + distance
    return (low, high) if low < high else (None, None)


def _row(graph: Nodes, values: Sequence[float]) -> str:
    return graph.constant(np.array(values, np.float64))
