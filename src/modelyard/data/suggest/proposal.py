"""What is proposed, before it is written down."""

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Proposal:
    """A ``data`` section as a tree, and the evidence for its keys (``schema.fields.NAME``, ...).

    ``num_rows`` of the source; ``commonest`` is the share of the commonest class, 0 for regression;
    ``doubtful`` fields are words though most of their values look like numbers or dates.
    """

    tree: dict[str, Any]
    notes: dict[str, str]
    num_rows: int
    commonest: float
    doubtful: tuple[str, ...] = ()


def bounds_of(num_rows: int) -> list[dict[str, Any]]:
    """The quality that any source keeps: at least half of its rows, and nearly none twice."""
    digits = str(num_rows // 2)
    rows = int(digits[0]) * 10 ** (len(digits) - 1)
    return [
        {"metric": "rowCount", "mustBeGreaterThan": rows},
        {"metric": "duplicateValues", "mustBeLessThan": 0.01, "unit": "share"},
    ]


def stratified(column: str) -> dict[str, Any]:
    """A split that keeps the share of each class."""
    shares = {"probabilities": [0.8, 0.1, 0.1], "seed": 0}
    return {"type": "stratify", "column": column, **shares}
