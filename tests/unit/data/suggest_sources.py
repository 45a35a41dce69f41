"""Sources made on the spot, and what is proposed for them."""

import random
from pathlib import Path
from typing import Any

import yaml

from modelyard.artifacts import Layout
from modelyard.data.suggest import Proposal, propose, recipe
from modelyard.params import Params, parse


def proposed(root: Path, source: str, **options: Any) -> tuple[Proposal, Params]:
    """What is proposed, and the same as params: a recipe of it always parses."""
    proposal = propose(Layout(root), source, **options)
    return proposal, parse(yaml.safe_load(recipe(proposal, "m")))


def write(root: Path, text: str, name: str = "t.csv") -> str:
    (root / name).write_bytes(text.encode())
    return name


def table(columns: dict[str, Any], num_rows: int = 120) -> str:
    """A CSV whose columns are lists, drawn from by turns, or functions of the row."""
    lines = [",".join(columns)]
    for row in range(num_rows):
        lines.append(
            ",".join(
                str(given(row) if callable(given) else given[row % len(given)])
                for given in columns.values()
            )
        )
    return "\n".join(lines) + "\n"


NUMBERS = random.Random(0)
SPREAD = [round(NUMBERS.gauss(50, 10), 2) for _ in range(120)]
