"""From attributions of a network's input to those of the fields or pixels that a caller knows."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from modelyard.data.prepare_image import Image
from modelyard.data.prepared import Table

Columns = dict[str, list[slice]]


def table_columns(table: Table) -> Columns:
    """Where in a row [D] each field stands: its number and indicator, its places, its words.

    Embedded categories stand in the last columns as places, which have no gradient: theirs are
    counted apart (see ``gradients``).
    """
    columns: Columns = {number.name: [slice(i, i + 1)] for i, number in enumerate(table.numbers)}
    start = len(table.numbers)
    for number in table.numbers:
        if number.indicate:
            columns[number.name].append(slice(start, start + 1))
            start += 1
    for category in table.one_hot:
        columns[category.name] = [slice(start, start + category.num_places)]
        start += category.num_places
    for bag in table.bags:
        columns[bag.name] = [slice(start, start + bag.size)]
        start += bag.size
    return columns | {category.name: [] for category in table.embedded}


@dataclass(frozen=True)
class Share:
    """What one input adds to the score; ``map`` of an image, float [H, W], sums to it."""

    input: str
    attribution: float
    map: np.ndarray | None = None

    def to_json(self) -> dict[str, Any]:
        """As an answer gives it."""
        given: dict[str, Any] = {"input": self.input, "attribution": self.attribution}
        return given if self.map is None else {**given, "map": self.map.tolist()}


def table_shares(table: Table, row_d: np.ndarray, vectors: list[np.ndarray]) -> list[Share]:
    """The fields' shares, the largest first.

    Args:
        table: The parts of the row.
        row_d: Attributions [D].
        vectors: Of each embedded category, those of its vector.
    """
    embedded = {
        category.name: float(vector.sum())
        for category, vector in zip(table.embedded, vectors, strict=True)
    }
    shares = [
        Share(name, sum(float(row_d[part].sum()) for part in parts) + embedded.get(name, 0.0))
        for name, parts in table_columns(table).items()
    ]
    return sorted(shares, key=lambda share: -abs(share.attribution))


def image_shares(image: Image, row_chw: np.ndarray) -> list[Share]:
    """The one share of an image, with its map: channels are summed."""
    map_hw = row_chw.sum(axis=0)
    return [Share(image.name, float(map_hw.sum()), map_hw)]
