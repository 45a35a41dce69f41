"""Files or bytes to rows of one array, on all cores: Pillow and NumPy release the lock."""

import io
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from modelyard.data.audio import decode_audio
from modelyard.data.decoded import Decoded, Undecodable
from modelyard.data.images import decode_image, picture_warnings
from modelyard.data.spectrogram import num_samples
from modelyard.params import Field

_CHUNK = 32


def empty_payload(num_rows: int, field: Field) -> np.ndarray:
    """Room for the rows of the media field: uint8 [N, pixels] or int16 [N, samples]."""
    if field.type == "image":
        return np.empty((num_rows, field.num_columns), np.uint8)
    return np.empty((num_rows, num_samples(field)), np.int16)


def decode_all(
    sources: Sequence[Path | bytes | None], field: Field, out: np.ndarray
) -> list[Decoded | str]:
    """Decode each source into its row of ``out`` (see ``empty_payload``).

    Returns for each what was found, or the reason why it cannot be taken.
    """
    chunks = range(0, len(sources), _CHUNK)

    def decode_chunk(start: int) -> list[Decoded | str]:
        places = range(start, min(start + _CHUNK, len(sources)))
        return [_decode(sources[index], field, out[index]) for index in places]

    with picture_warnings(), ThreadPoolExecutor(os.cpu_count()) as pool:
        return [result for results in pool.map(decode_chunk, chunks) for result in results]


def _decode(source: Path | bytes | None, field: Field, out: np.ndarray) -> Decoded | str:
    if source is None:
        return "is missing"
    decode = decode_image if field.type == "image" else decode_audio
    try:
        with source.open("rb") if isinstance(source, Path) else io.BytesIO(source) as file:
            size = file.seek(0, io.SEEK_END)
            file.seek(0)
            return decode(file, size, field, out) if size else "is empty"
    except Undecodable as reason:
        return str(reason)
    except OSError as error:
        return f"cannot be read: {error.strerror}"
