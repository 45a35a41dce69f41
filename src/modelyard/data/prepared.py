"""A split in memory, prepared once: rows become tensors of features when they are needed.

Images stay bytes, texts stay sparse, categories stay places; all of it is far smaller than the
features that the network sees.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Protocol

import numpy as np

from modelyard.data.onnx_nodes import Nodes
from modelyard.data.prepare_audio import Audio
from modelyard.data.prepare_image import Image
from modelyard.data.prepare_table import Category, Number, add_numbers, scale
from modelyard.data.prepare_text import Bag, Counts

Rows = np.ndarray | slice


class Prepared(Protocol):
    """Rows of a split on their way to the network."""

    def take(self, rows: Rows) -> np.ndarray:
        """The features of positions ``rows``, float32 [n, *input_shape]."""
        ...


@dataclass(frozen=True)
class PreparedMedia:
    """Images uint8 [N,H,W(,3)], or sounds int16 [N,S] or float32 [N,M,F]; scaled when taken."""

    part: Image | Audio
    values: np.ndarray

    def take(self, rows: Rows) -> np.ndarray:
        """Float32 [n, C, H, W] or [n, 1, M, F]."""
        return self.part.transform(self.values[rows])


@dataclass(frozen=True)
class Table:
    """The parts of a table's features, in the order of their columns.

    All numbers and indicators come first, then categories as one column a place, then bags of
    text; the places of embedded categories, as numbers, come last.
    """

    numbers: tuple[Number, ...]
    categories: tuple[Category, ...]
    bags: tuple[Bag, ...]

    @property
    def one_hot(self) -> list[Category]:
        """Categories with one column a place."""
        return [category for category in self.categories if category.dimension is None]

    @property
    def embedded(self) -> list[Category]:
        """Categories with a learned vector a place."""
        return [category for category in self.categories if category.dimension is not None]

    @property
    def num_scaled(self) -> int:
        """Columns of numbers and indicators."""
        return len(self.numbers) + sum(number.indicate for number in self.numbers)

    @property
    def width(self) -> int:
        """Number of columns."""
        places = sum(category.num_places for category in self.one_hot)
        return self.num_scaled + places + sum(bag.size for bag in self.bags) + len(self.embedded)

    def add_to(self, graph: Nodes) -> str:
        """The same columns as nodes."""
        blocks = [add_numbers(self.numbers, graph)] if self.numbers else []
        for category in self.one_hot:
            places = category.add_to(graph)
            range_ = np.arange(category.num_places)
            equal = graph.add("Equal", places, graph.constant(range_))
            blocks.append(graph.cast(equal, np.float32))
        blocks += [bag.add_to(graph) for bag in self.bags]
        blocks += [graph.cast(category.add_to(graph), np.float32) for category in self.embedded]
        return graph.side_by_side(blocks)


@dataclass(frozen=True)
class PreparedTable:
    """Scaled numbers float32 [N, ...], places int32 [N, categories], a sparse matrix a text.

    Embedded categories are the last of ``places``.
    """

    table: Table
    scaled: np.ndarray
    places: np.ndarray
    counts: tuple[Counts, ...]

    def take(self, rows: Rows) -> np.ndarray:
        """Float32 [n, D]."""
        if isinstance(rows, slice):
            rows = np.arange(*rows.indices(len(self.scaled)))
        table = self.table
        features = np.zeros((len(rows), table.width), np.float32)
        features[:, : table.num_scaled] = self.scaled[rows]
        start = table.num_scaled
        places = self.places[rows]
        for column, category in enumerate(table.one_hot):
            features[np.arange(len(rows)), start + places[:, column]] = 1
            start += category.num_places
        for bag, counts in zip(table.bags, self.counts, strict=True):
            counts.fill(features[:, start : start + bag.size], rows)
            start += bag.size
        features[:, start:] = places[:, len(table.one_hot) :]
        return features


def prepare_media(
    part: Image | Audio, batches: Iterable[Mapping[str, np.ndarray]], num_rows: int
) -> PreparedMedia:
    """Keep the one feature of every batch."""
    columns = (batch[part.name] for batch in batches)
    first = next(columns)
    if len(first) == num_rows:
        return PreparedMedia(part, first)
    values = np.empty((num_rows, *first.shape[1:]), first.dtype)
    start = 0
    for column in chain([first], columns):
        values[start : start + len(column)] = column
        start += len(column)
    return PreparedMedia(part, values)


def prepare_table(
    table: Table, batches: Iterable[Mapping[str, np.ndarray]], num_rows: int
) -> PreparedTable:
    """Prepare batches of raw columns one after the other."""
    categories = (*table.one_hot, *table.embedded)
    scaled = np.empty((num_rows, table.num_scaled), np.float32)
    places = np.empty((num_rows, len(categories)), np.int32)
    counts: list[list[Counts]] = [[] for _ in table.bags]
    start = 0
    for batch in batches:
        end = start + len(next(iter(batch.values())))
        scaled[start:end] = scale(table.numbers, batch, end - start)
        for column, category in enumerate(categories):
            places[start:end, column] = category.places(batch[category.name])
        for parts, bag in zip(counts, table.bags, strict=True):
            parts.append(bag.count(batch[bag.name]))
        start = end
    return PreparedTable(table, scaled, places, tuple(_joined(parts) for parts in counts))


def _joined(parts: Sequence[Counts]) -> Counts:
    ends = np.cumsum([0, *(part.starts[-1] for part in parts)])
    starts = [part.starts[:-1] + end for part, end in zip(parts, ends, strict=False)]
    return Counts(
        np.concatenate([*starts, ends[-1:]]),
        np.concatenate([part.columns for part in parts]),
        np.concatenate([part.values for part in parts]),
    )
