"""Tables that are pictures: a column a pixel, and one with the label."""

import math
from dataclasses import dataclass
from typing import Any

from modelyard.data.suggest.columns import Column
from modelyard.data.suggest.fields import MAX_CLASSES
from modelyard.data.suggest.proposal import Proposal, bounds_of, stratified
from modelyard.data.suggest.table import Table

_FEWEST_PIXELS = 49


@dataclass(frozen=True)
class PackedImage:
    """The label's column, whether it comes first, and the pictures' size."""

    label: Column
    is_first: bool
    side: int
    channels: int


def find_image(columns: tuple[Column, ...]) -> PackedImage | None:
    """Whether the columns are a square picture's pixels from 0 to 255, and a label at an end."""
    for label, pixels in ((columns[-1], columns[:-1]), (columns[0], columns[1:])):
        for channels in (1, 3):
            side = math.isqrt(len(pixels) // channels)
            if side * side * channels != len(pixels) or len(pixels) < _FEWEST_PIXELS:
                continue
            if label.distinct <= MAX_CLASSES and all(map(_is_pixel, pixels)):
                return PackedImage(label, label is columns[0], side, channels)
    return None


def propose_image(table: Table, columns: tuple[Column, ...], found: PackedImage) -> Proposal:
    """The contract of a packed table of pictures."""
    label, side = found.label, found.side
    header = table.dialect is None or table.dialect.header
    image: dict[str, Any] = {"name": "image", "type": "image"}
    image |= {"height": side, "width": side, "channels": found.channels}
    goal: dict[str, Any] = {"name": label.name if header else "label"}
    goal["type"] = "integer" if label.kind == "integer" else "category"
    classes = sorted(value for value, _ in label.values)
    goal["constraints"] = {"required": True, "enum": classes}
    fields = [goal, image] if found.is_first else [image, goal]
    tree: dict[str, Any] = {"kind": "image"}
    if table.dialect and table.dialect.tree():
        tree["dialect"] = table.dialect.tree()
    tree |= {
        "schema": {"fields": fields, "rest": "refuse"},
        "target": goal["name"],
        "task": "classification",
        "max_rejected": 0.01,
        "split": stratified(goal["name"]),
        "quality": bounds_of(table.num_rows)[:1],
    }
    notes = {
        "schema.fields.image": f"{len(columns) - 1} columns of whole numbers from 0 to 255",
        f"schema.fields.{goal['name']}": f"{len(classes)} classes",
        "target": "the one column that is no pixel",
    }
    commonest = max(count for _, count in label.values) / table.num_rows
    return Proposal(tree, notes, table.num_rows, commonest)


def _is_pixel(column: Column) -> bool:
    return column.kind == "integer" and column.low >= 0 and column.high <= 255
