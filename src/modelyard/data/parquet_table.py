"""Parquet as batches: columns by name, the image as one list column or a column a pixel."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

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
    """As ``columns_by_name``, but an image may be one list column of its name."""
    import pyarrow as pa

    names = list(schema.names)
    image = params.image.name
    if image not in names:
        return columns_by_name(path, names, params)
    kind = schema.field(image).type
    is_list = pa.types.is_list(kind) or pa.types.is_large_list(kind)
    if not is_list and not pa.types.is_fixed_size_list(kind):
        if params.image.num_columns == 1:
            return columns_by_name(path, names, params)
        raise SourceError(
            f"{path.name}: the column {image!r} holds {kind}, not lists of pixels",
            "Store each image as a list of height x width x channels integers.",
        )
    # As many stand-ins as the image has pixels let the check by name count them.
    others = [name for name in names if name != image]
    pixels = [f"{image}[{index}]" for index in range(params.image.num_columns)]
    places = columns_by_name(path, others + pixels, params)
    found = {name: [names.index(others[i])] for name, (i, *_) in places.items() if name != image}
    return found | {image: [names.index(image)]}
