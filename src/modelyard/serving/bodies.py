"""Bodies of ``/predict`` that are not JSON: a picture, a recording, a text, or rows as CSV."""

import csv
import io
import warnings
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from modelyard.data.decoded import Undecodable
from modelyard.data.images import decode_image
from modelyard.package.scalars import from_text
from modelyard.serving.failures import RequestError
from modelyard.serving.rows import parse_rows
from modelyard.serving.tensors import Tensor, check_rows, short

Arrays = dict[str, np.ndarray]

_MAX_PIXELS = 4096 * 4096


class _Picture(NamedTuple):
    """How the model takes a picture."""

    height: int
    width: int
    channels: int
    fit: str


def parser_of(kind: bytes) -> Callable[[bytes, tuple[Tensor, ...]], Arrays] | None:
    """What reads a body of this content type; None where nothing does."""
    return parse_image if kind.startswith(b"image/") else _PARSERS.get(kind)


def parse_image(body: bytes, inputs: tuple[Tensor, ...]) -> Arrays:
    """One picture to a batch of one row.

    Grey or colour and size are made the model's as at ingest (``data.images``). Where ``fit`` is
    ``refuse``, the size is compared before any pixel is decoded.

    Raises:
        RequestError: 400, the picture is broken, too large, or has another size than the model
            takes; 415, the model takes no picture.
    """
    tensor = inputs[0]
    if len(inputs) != 1 or not tensor.is_image:
        raise RequestError(415, "this model takes no picture; send application/json")
    _, height, width, *colour = tensor.shape
    wanted = _Picture(height, width, 3 if colour else 1, tensor.fit)
    row = np.empty((1, *tensor.shape[1:]), np.uint8)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            decode_image(io.BytesIO(body), len(body), wanted, row.reshape(-1), _MAX_PIXELS)
    except Undecodable as error:
        raise RequestError(400, f"the picture {error}") from None
    return {tensor.name: row}


def parse_audio(body: bytes, inputs: tuple[Tensor, ...]) -> Arrays:
    """One WAV file at the model's rate to a batch of one row.

    Channels, width and length are made the model's as at ingest (``data.audio``).

    Raises:
        RequestError: 400, the file is broken; 415, the model takes no sound, or one of another
            rate.
    """
    # Only a server of sounds pays for what this imports.
    from modelyard.data.audio import decode_audio, read_header
    from modelyard.params import Field

    tensor = inputs[0]
    if len(inputs) != 1 or tensor.type != "audio" or tensor.sample_rate is None:
        raise RequestError(415, "this model takes no sound; send application/json")
    num_samples, rate = tensor.shape[1], tensor.sample_rate
    field = Field(name=tensor.name, type="audio", sample_rate=rate, seconds=num_samples / rate)
    row = np.zeros((1, num_samples), dtype=np.int16)
    try:
        if (found := read_header(io.BytesIO(body), len(body)).rate) != rate:
            raise RequestError(
                415, f"the sound has {found} Hz, the model takes {rate} Hz; resample it first"
            )
        decode_audio(io.BytesIO(body), len(body), field, row[0])
    except Undecodable as error:
        raise RequestError(400, f"the sound {error}") from None
    return {tensor.name: row}


def parse_text(body: bytes, inputs: tuple[Tensor, ...]) -> Arrays:
    """A whole body as the one text of a batch of one row.

    Raises:
        RequestError: 400, it is not UTF-8, or empty; 415, the model takes more than one text.
    """
    if len(inputs) != 1 or inputs[0].type != "text":
        raise RequestError(415, "this model takes not one text alone; send application/json")
    text = _decode(body)
    if not text.strip():
        raise RequestError(400, "the text is empty")
    return parse_rows({"rows": [{inputs[0].name: text}]}, inputs)


def parse_csv(body: bytes, inputs: tuple[Tensor, ...]) -> Arrays:
    """Rows as comma-separated values with a header; an empty cell is a missing value.

    Raises:
        RequestError: 400, the table is ragged or a cell is not of its column's type; 413, it has
            too many rows; 415, the model takes more than one value a cell.
    """
    if not all(tensor.is_scalar for tensor in inputs):
        raise RequestError(415, "this model takes no table; send application/json")
    lines = csv.reader(io.StringIO(_decode(body), newline=""), strict=True)
    try:
        header = next(lines, [])
        cells = [line for line in lines if line]
    except csv.Error as error:
        raise RequestError(400, f"line {lines.line_num} of the table: {error}") from None
    if len(set(header)) < len(header):
        twice = next(name for name in header if header.count(name) > 1)
        raise RequestError(400, f"the table's header names {twice[:40]!r} twice")
    if not cells:
        raise RequestError(400, "the table holds no row below its header")
    check_rows(len(cells))
    kinds = {tensor.name: tensor.type for tensor in inputs}
    if len(header) == 1 and header[0] not in kinds:
        for other in ";\t|":
            if kinds.keys() & {name.strip() for name in header[0].split(other)}:
                raise RequestError(400, f"the table's cells are divided by {other!r}; use commas")
    rows: list[dict[str, Any]] = []
    for index, line in enumerate(cells):
        if len(line) != len(header):
            raise RequestError(
                400, f"rows[{index}] has {len(line)} cells; the header has {len(header)}"
            )
        rows.append(_row(header, line, kinds, index))
    return parse_rows({"rows": rows}, inputs)


def _row(header: list[str], line: list[str], kinds: dict[str, str], index: int) -> dict[str, Any]:
    """A line's cells as JSON would give them; a column that is no input stays text."""
    row: dict[str, Any] = {}
    for name, cell in zip(header, line, strict=True):
        try:
            row[name] = from_text(kinds.get(name, "text"), cell)
        except ValueError as error:
            raise RequestError(
                400, f"rows[{index}].{name[:40]} is {short(cell)}; expected is {error}"
            ) from None
    return row


def _decode(body: bytes) -> str:
    try:
        return body.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise RequestError(400, f"the body is not UTF-8 text at byte {error.start}") from None


_PARSERS = {
    b"audio/wav": parse_audio,
    b"audio/x-wav": parse_audio,
    b"audio/wave": parse_audio,
    b"text/csv": parse_csv,
    b"text/plain": parse_text,
}
