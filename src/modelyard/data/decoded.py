"""What decoding one picture or sound gives: figures and notes, or the reason why it cannot be."""

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Decoded:
    """``figures`` of the file as it was, by manifest column; ``notes`` on what was converted.

    Files of one kind have the same figures. Notes are counted over all rows for the report.
    """

    figures: dict[str, Any]
    notes: tuple[str, ...]


class Undecodable(Exception):  # noqa: N818 - it becomes the reason of a refused row
    """The file is no picture or sound that the contract takes; the message completes "the file"."""
