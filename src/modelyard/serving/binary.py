"""The binary tensor data extension of the Open Inference Protocol.

A body is a JSON header, whose length ``Inference-Header-Content-Length`` gives, and the tensors'
bytes behind it in the header's order: little-endian, row-major; a BYTES element is its length in 4
bytes and then itself. https://github.com/kserve/open-inference-protocol
"""

import math
import struct

import numpy as np

from modelyard.serving.failures import RequestError
from modelyard.serving.tensors import MAX_ROWS, Tensor, check_finite

HEADER = b"inference-header-content-length"
_LENGTH = struct.Struct("<I")


def split(body: bytes, length: bytes) -> tuple[bytes, memoryview]:
    """Divide a body into its JSON header and the tensors' bytes.

    Args:
        body: The whole body.
        length: The value of ``Inference-Header-Content-Length``.

    Raises:
        RequestError: 400, ``length`` is no number or more than the body has.
    """
    size = int(length) if length.isdigit() and len(length) < 20 else len(body) + 1
    if size > len(body):
        raise RequestError(
            400,
            f"Inference-Header-Content-Length is {length[:20].decode('latin-1')!r}; the body has "
            f"{len(body)} bytes",
        )
    return body[:size], memoryview(body)[size:]


def unpack(tensor: Tensor, shape: tuple[int, ...], content: memoryview) -> np.ndarray:
    """The array that an input's bytes hold.

    Args:
        tensor: The input.
        shape: As declared in the request, already found to be the model's.
        content: Its bytes.

    Returns:
        An array of ``shape``; of text it holds objects, "" where a value is missing.

    Raises:
        RequestError: 400, there are too many or too few bytes, or a value is not possible.
    """
    if tensor.dtype == "string":
        values = np.empty(math.prod(shape), dtype=object)
        values[:] = _texts(tensor, content, len(values))
        return values.reshape(shape)
    dtype = np.dtype(tensor.dtype).newbyteorder("<")
    if len(content) != math.prod(shape) * dtype.itemsize:
        raise RequestError(
            400,
            f"input {tensor.name!r}: binary_data_size is {len(content)}; shape {list(shape)} of "
            f"{tensor.datatype} has {math.prod(shape) * dtype.itemsize} bytes",
        )
    array = np.frombuffer(content, dtype).reshape(shape)
    check_finite(tensor, array, f"input {tensor.name!r}")
    # Behind the header numbers may begin at any byte, which ONNX Runtime does not take.
    return np.require(array, requirements=("A",))


def pack(values: np.ndarray) -> bytes:
    """An output's bytes; the inverse of ``unpack``."""
    if values.dtype != object:
        return np.ascontiguousarray(values, values.dtype.newbyteorder("<")).tobytes()
    texts = [str(text).encode() for text in values.reshape(-1)]
    return b"".join([_LENGTH.pack(len(text)) + text for text in texts])


def raw_shape(tensor: Tensor, num_bytes: int) -> list[int]:
    """The shape of an input whose bytes are all that a body holds.

    Raises:
        RequestError: 400, the bytes are no whole number of rows, or the shape is not known.
    """
    size = 0 if tensor.dtype == "string" else np.dtype(tensor.dtype).itemsize
    row = math.prod(tensor.shape[1:]) * size
    if row <= 0:
        raise RequestError(
            400,
            f"the shape of input {tensor.name!r} is not known from its bytes; send a JSON header "
            "and its length in Inference-Header-Content-Length",
        )
    num_rows, rest = divmod(num_bytes, row)
    if rest or not num_rows:
        raise RequestError(
            400,
            f"input {tensor.name!r}: a row has {row} bytes, the body {num_bytes}; send 1 to "
            f"{MAX_ROWS} whole rows",
        )
    return [num_rows, *tensor.shape[1:]]


def _texts(tensor: Tensor, content: memoryview, num_texts: int) -> list[str]:
    texts: list[str] = []
    start = 0
    for index in range(num_texts):
        place = f"input {tensor.name!r}: element {index}"
        end = start + _LENGTH.size
        if end > len(content):
            raise RequestError(400, f"{place} lacks its length; the bytes end at {len(content)}")
        (size,) = _LENGTH.unpack_from(content, start)
        start, end = end, end + size
        if end > len(content):
            raise RequestError(
                400, f"{place} has {size} bytes by its length; {len(content) - start} are left"
            )
        try:
            texts.append(str(content[start:end], "utf-8"))
        except UnicodeDecodeError as error:
            raise RequestError(400, f"{place} is not UTF-8 at its byte {error.start}") from None
        start = end
    if start != len(content):
        raise RequestError(
            400,
            f"input {tensor.name!r}: {len(content) - start} bytes follow its last element; shape "
            f"has {num_texts}",
        )
    return texts
