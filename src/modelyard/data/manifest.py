"""The table over which expectations are evaluated: one line an image, its figures and fields."""

import hashlib
from typing import TYPE_CHECKING, Any

import numpy as np

from modelyard.data.contract import Checked
from modelyard.errors import ParamsError
from modelyard.params import DataParams

if TYPE_CHECKING:
    import pandas as pd

IMAGE_COLUMNS = (
    "row",
    "sha256",
    "height",
    "width",
    "channels",
    "pixel_min",
    "pixel_max",
    "pixel_mean",
    "decodable",
)


def columns_of(params: DataParams) -> list[str]:
    """The manifest's columns: those of the image, then the scalar fields.

    Raises:
        ParamsError: a field has the name of a column of the image.
    """
    fields = [field.name for field in params.schema_.fields if field.type != "image"]
    for name in fields:
        if name in IMAGE_COLUMNS:
            raise ParamsError(
                f"data.schema: a field is called {name!r}, as a column of the image's manifest is",
                f"Rename the field; taken are: {', '.join(IMAGE_COLUMNS)}",
            )
    return [*IMAGE_COLUMNS, *fields]


def build_manifest(checked: Checked, params: DataParams) -> "pd.DataFrame":
    """A frame with ``columns_of(params)``.

    ``sha256`` is that of the row's pixels, ``pixel_mean`` exact from 0 to 255.
    """
    import pandas as pd

    image, pixels = params.image, checked.pixels
    num = len(checked.rows)
    values: dict[str, Any] = {
        "row": checked.rows,
        "sha256": [hashlib.sha256(row).hexdigest() for row in np.ascontiguousarray(pixels)],
        "height": np.full(num, image.height),
        "width": np.full(num, image.width),
        "channels": np.full(num, image.channels),
        "pixel_min": pixels.min(axis=1).astype(np.int64),
        "pixel_max": pixels.max(axis=1).astype(np.int64),
        "pixel_mean": pixels.sum(axis=1, dtype=np.int64) / image.num_columns,
        # A row of a packed table has no encoding of its own: every pixel was read.
        "decodable": np.full(num, True),
    }
    nullable = {"integer": "Int64", "number": "float64", "string": "str"}
    for name, column in checked.scalars.items():
        array: Any = column.array
        if column.null.any():
            array = pd.Series(array, dtype="object").mask(column.null, None)
            array = array.astype(nullable[params.field(name).type])
        elif params.field(name).type == "string":
            array = pd.Series(array, dtype="str")
        values[name] = array
    return pd.DataFrame(values, columns=pd.Index(columns_of(params)))
