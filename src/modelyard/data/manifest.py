"""The table over which expectations are evaluated: one line a picture or sound.

It holds the figures of the row and the scalar fields.
"""

from typing import TYPE_CHECKING, Any

import numpy as np

from modelyard.data import audio, images
from modelyard.data.contract import Checked
from modelyard.data.files import has_files
from modelyard.data.pii import HIDDEN
from modelyard.data.scalars import Column
from modelyard.data.spectrogram import num_samples
from modelyard.errors import ParamsError
from modelyard.params import DataParams, Field

if TYPE_CHECKING:
    import pandas as pd

IMAGE_COLUMNS = ("height", "width", "channels", "pixel_min", "pixel_max", "pixel_mean")
AUDIO_COLUMNS = ("sample_rate", "samples", "peak", "rms")
_BLOCK_ROWS = 4096


def media_columns(params: DataParams) -> tuple[str, ...]:
    """The manifest's columns but for the scalar fields.

    ``original_*`` and ``format`` are of a file as it came, ``peak`` and ``rms`` are shares of full
    scale.
    """
    own, figures = (
        (IMAGE_COLUMNS, images.FIGURES)
        if params.media.type == "image"
        else (AUDIO_COLUMNS, audio.FIGURES)
    )
    # A row of a packed table is no file, also where it holds the bytes of one.
    files = ("path", *figures) if has_files(params) else ()
    return ("row", *files, "sha256", *own, "decodable")


def columns_of(params: DataParams) -> list[str]:
    """The manifest's columns: those of the picture or sound, then the scalar fields.

    Raises:
        ParamsError: a field has the name of a column of the picture or sound.
    """
    taken, media = media_columns(params), params.media
    fields = [field.name for field in params.schema_.fields if field.name != media.name]
    for name in fields:
        if name in taken:
            raise ParamsError(
                f"data.schema: a field is called {name!r}, as a column of the {media.type}'s "
                "manifest is",
                f"Rename the field; taken are: {', '.join(taken)}",
            )
    return [*taken, *fields]


def build_manifest(checked: Checked, params: DataParams) -> "pd.DataFrame":
    """A frame with ``columns_of(params)``.

    ``sha256`` is that of the row's pixels or samples, ``pixel_mean`` exact from 0 to 255.
    """
    import pandas as pd

    # A row that is here was decoded; what could not be is refused, with its reason.
    values: dict[str, Any] = {"row": checked.rows, "decodable": np.full(len(checked.rows), True)}
    values |= checked.figures
    values |= _of_images(checked, params) if params.kind == "image" else _of_sounds(checked, params)
    for name, column in checked.scalars.items():
        values[name] = _series(column, params.field(name))
    return pd.DataFrame(values, columns=pd.Index(columns_of(params)))


def _of_images(checked: Checked, params: DataParams) -> dict[str, np.ndarray]:
    image, pixels, num = params.media, checked.payload, len(checked.rows)
    return {
        "height": np.full(num, image.height),
        "width": np.full(num, image.width),
        "channels": np.full(num, image.channels),
        "pixel_min": pixels.min(axis=1).astype(np.int64),
        "pixel_max": pixels.max(axis=1).astype(np.int64),
        "pixel_mean": pixels.sum(axis=1, dtype=np.int64) / image.num_columns,
    }


def _of_sounds(checked: Checked, params: DataParams) -> dict[str, np.ndarray]:
    sound, num = params.media, len(checked.rows)
    peak, rms = np.empty(num), np.empty(num)
    for start in range(0, num, _BLOCK_ROWS):
        block = checked.payload[start : start + _BLOCK_ROWS] / 32768.0
        peak[start : start + _BLOCK_ROWS] = np.abs(block).max(axis=1)
        rms[start : start + _BLOCK_ROWS] = np.sqrt(np.square(block).mean(axis=1))
    return {
        "sample_rate": np.full(num, sound.sample_rate),
        "samples": np.full(num, num_samples(sound)),
        "peak": peak,
        "rms": rms,
    }


def _series(column: Column, field: Field) -> Any:
    """A column as pandas has it, missing values as its own; of personal data only what is equal."""
    import pandas as pd

    array = column.array
    if field.pii:
        codes = pd.factorize(array)[0]
        array = np.array([f"{HIDDEN} {code}" for code in codes], dtype=object)
    elif field.type in ("date", "datetime"):
        return pd.Series(array).astype("datetime64[us]").mask(column.null)
    elif field.type in ("integer", "number") and column.null.any():
        # Integers with missing values become numbers: pandas has none of its own.
        return pd.Series(array, dtype="float64").mask(column.null)
    elif field.type in ("integer", "number") or (field.type == "boolean" and not column.null.any()):
        return array
    values = pd.Series(array, dtype="object").mask(column.null, None)
    return values if field.type == "boolean" and not field.pii else values.astype("str")
