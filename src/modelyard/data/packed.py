"""The pictures or sounds of a packed table's batch, put into rows of one array.

A picture is one column a pixel, one list of pixels, or one encoded file; a sound is an encoded one.
"""

from typing import Any

import numpy as np

from modelyard.data.decoded import Decoded
from modelyard.data.decoding import decode_all
from modelyard.data.quarantine import Rejection, rejection
from modelyard.data.scalars import refuse_open_quote
from modelyard.data.values import to_pixels
from modelyard.params import Field


def fill_payload(
    arrays: list[Any], rows: np.ndarray, field: Field, missing: tuple[str, ...], out: np.ndarray
) -> tuple[list[Rejection], list[str]]:
    """Fill ``out`` [N, width] from the ``pyarrow`` arrays of the media field.

    Returns a rejection for each row that cannot be taken, naming the first bad pixel, and the notes
    on what was converted.
    """
    import pyarrow as pa

    if not arrays:
        return [], []
    kind = arrays[0].type
    if is_encoded(kind):
        encoded = arrays[0].field("bytes") if pa.types.is_struct(kind) else arrays[0]
        return _fill_from_files(encoded, rows, field, out)
    if len(arrays) == 1 and is_list(kind):
        return _fill_from_lists(arrays[0], rows, field, missing, out), []
    return _fill_from_columns(arrays, rows, field, missing, out), []


def is_list(kind: Any) -> bool:
    """Whether a ``pyarrow`` type is a list."""
    import pyarrow as pa

    tests = (pa.types.is_list, pa.types.is_large_list, pa.types.is_fixed_size_list)
    return any(test(kind) for test in tests)


def is_encoded(kind: Any) -> bool:
    """Whether a ``pyarrow`` type holds encoded files: bytes, or ``{bytes, path}``.

    The second is how Hugging Face's datasets store images and audio.
    """
    import pyarrow as pa

    if pa.types.is_struct(kind):
        return kind.get_field_index("bytes") >= 0 and is_encoded(kind.field("bytes").type)
    return pa.types.is_binary(kind) or pa.types.is_large_binary(kind)


def _fill_from_files(
    array: Any, rows: np.ndarray, field: Field, out: np.ndarray
) -> tuple[list[Rejection], list[str]]:
    found: list[Rejection] = []
    notes: list[str] = []
    for row, result in zip(rows, decode_all(array.to_pylist(), field, out), strict=True):
        if isinstance(result, Decoded):
            notes += result.notes
        else:
            found.append(rejection(row, field.name, "", result))
    return found, notes


def _fill_from_columns(
    arrays: list[Any], rows: np.ndarray, field: Field, missing: tuple[str, ...], out: np.ndarray
) -> list[Rejection]:
    found: dict[int, Rejection] = {}
    for position, array in enumerate(arrays):
        values = to_pixels(array, missing)
        out[:, position] = values.array
        for problem in values.problems:
            row = int(rows[problem.index])
            refuse_open_quote(problem.value, row, field.name)
            place = _pixel_name(field, position)
            found.setdefault(row, rejection(row, place, problem.value, problem.reason))
    return list(found.values())


def _fill_from_lists(
    array: Any, rows: np.ndarray, field: Field, missing: tuple[str, ...], out: np.ndarray
) -> list[Rejection]:
    import pyarrow.compute as pc

    lengths = pc.call_function("list_value_length", [array]).fill_null(-1).to_numpy()
    whole = np.flatnonzero(lengths == field.num_columns)
    found: dict[int, Rejection] = {}
    for index in np.flatnonzero(lengths != field.num_columns):
        reason = "is missing"
        if lengths[index] >= 0:
            reason = f"has {lengths[index]} pixels, not {field.num_columns}"
        found[int(rows[index])] = rejection(rows[index], field.name, "", reason)
    flat = pc.call_function("list_flatten", [array.take(whole)])
    values = to_pixels(flat, missing)
    out[whole] = values.array.reshape(len(whole), field.num_columns)
    for problem in values.problems:
        index, position = divmod(problem.index, field.num_columns)
        row = int(rows[whole[index]])
        place = _pixel_name(field, position)
        found.setdefault(row, rejection(row, place, problem.value, problem.reason))
    return list(found.values())


def _pixel_name(field: Field, position: int) -> str:
    """``image[3,4]``: line 3, column 4 of the picture; with three channels ``image[3,4,0]``."""
    assert field.width is not None
    assert field.channels is not None
    cell, channel = divmod(position, field.channels)
    line, column = divmod(cell, field.width)
    inner = f"{line},{column},{channel}" if field.channels > 1 else f"{line},{column}"
    return f"{field.name}[{inner}]"
