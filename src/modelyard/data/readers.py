"""Packed tables, read in batches: CSV (plain or .gz) and Parquet, a row an image or sound.

A field's columns are found by position where there is no header, else by name; an image of pixels
then takes all the columns that no other field names, in their order. A row with the wrong number of
columns is set aside; a file that cannot be read as declared stops the reading with what to change.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from modelyard.data.csv_table import open_csv
from modelyard.data.parquet_table import open_parquet
from modelyard.data.quarantine import Rejection
from modelyard.errors import SourceError
from modelyard.params import DataParams

FORMATS = (".csv", ".csv.gz", ".tsv", ".tsv.gz", ".parquet")


@dataclass(frozen=True)
class Batch:
    """Consecutive rows: ``rows`` int64 [N] is their position in the source, from 0.

    ``columns`` gives each field's ``pyarrow`` arrays [N] as they were read: one for a scalar field;
    for an image one a pixel, or a single array of lists or of encoded files. ``rejections`` are
    rows that could not be taken apart.
    """

    rows: np.ndarray
    columns: dict[str, list[Any]]
    rejections: tuple[Rejection, ...] = ()


def read_batches(path: Path, params: DataParams) -> Iterator[Batch]:
    """Read a packed table of pictures or sounds.

    Raises:
        SourceError: the file is of no known format, empty, cut off, in another encoding, or laid
            out otherwise than ``data.dialect`` and ``data.schema`` say; the message names the file,
            and row and column where it can.
    """
    name = path.name.lower()
    if not name.endswith(FORMATS):
        raise SourceError(
            f"{path.name}: files of this kind are not read", f"Supported: {', '.join(FORMATS)}"
        )
    if params.kind == "audio" and not name.endswith(".parquet"):
        raise SourceError(
            f"{path.name}: sounds are not read from delimited text",
            "Give WAV files, data.source: sounds/{label}_*.wav, or Parquet with their bytes.",
        )
    batches = open_parquet(path, params) if name.endswith(".parquet") else open_csv(path, params)
    for rows, columns, rejections in batches:
        yield Batch(rows, columns, tuple(rejections))
