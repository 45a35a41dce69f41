"""Parquet as batches: columns by name, the picture or sound as one column, or one a pixel."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from modelyard.data.packed import is_encoded, is_list
from modelyard.data.positions import columns_by_name
from modelyard.data.quarantine import Rejection
from modelyard.errors import SourceError
from modelyard.params import DataParams

_BATCH_ROWS = 4096


def open_parquet(
    path: Path, params: DataParams
) -> Iterator[tuple[np.ndarray, dict[str, list[Any]], list[Rejection]]]:
    """Yield (rows int64 [N], columns by field, no rejections) for each batch of the file.

    Raises:
        SourceError: see ``modelyard.data.readers.read_batches``.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    start = 0
    try:
        with pq.ParquetFile(path) as file:
            positions = _columns(path, file.schema_arrow, params)
            for batch in file.iter_batches(batch_size=_BATCH_ROWS):
                rows = np.arange(start, start + batch.num_rows, dtype=np.int64)
                start += batch.num_rows
                columns = {
                    name: [batch.column(i) for i in places] for name, places in positions.items()
                }
                yield rows, columns, []
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError, OSError) as error:
        raise SourceError(
            f"{path.name} cannot be read as Parquet: {error}", "Check data.source and the file."
        ) from error
    if start == 0:
        raise SourceError(f"{path.name} holds no rows", "Check data.source and the file.")


def _columns(path: Path, schema: Any, params: DataParams) -> dict[str, list[int]]:
    """As ``columns_by_name``, but a picture may be one column of lists or of encoded files."""
    names = list(schema.names)
    media = params.media
    if media.column not in names:
        return columns_by_name(path, names, params)
    kind = schema.field(media.column).type
    if not is_encoded(kind) and not (media.type == "image" and is_list(kind)):
        if media.num_columns == 1 and media.type == "image":
            return columns_by_name(path, names, params)
        what = "lists of pixels or encoded pictures" if media.type == "image" else "WAV files"
        raise SourceError(
            f"{path.name}: the column {media.column!r} holds {kind}, not {what}",
            "Store each image as a list of height x width x channels integers, or as the bytes "
            "of a file."
            if media.type == "image"
            else "Store each sound as the bytes of a file.",
        )
    return columns_by_name(path, names, params, whole=media.column)
