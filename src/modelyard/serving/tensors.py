"""JSON lists to arrays: fast where they are right, and where they are not, naming the place.

``array.array`` takes Python numbers of the right kind and range and nothing else, at a few
nanoseconds each, without a guess at a common type: numpy's guess would turn one long string among a
million numbers into terabytes. Strings become arrays of objects, as ONNX Runtime takes them.
"""

import math
from array import array
from dataclasses import dataclass
from typing import Any

import numpy as np

from modelyard.package.scalars import NUMBERS, SCALARS, TEXTS
from modelyard.serving.failures import RequestError

MAX_ROWS = 1024

# numpy's name -> name in the Open Inference Protocol, type code of array.array, type in an ONNX
# file. array.array has no half precision: such numbers are read as float32.
_TYPES = {
    "uint8": ("UINT8", "B", "tensor(uint8)"),
    "uint16": ("UINT16", "H", "tensor(uint16)"),
    "uint32": ("UINT32", "I", "tensor(uint32)"),
    "uint64": ("UINT64", "Q", "tensor(uint64)"),
    "int8": ("INT8", "b", "tensor(int8)"),
    "int16": ("INT16", "h", "tensor(int16)"),
    "int32": ("INT32", "i", "tensor(int32)"),
    "int64": ("INT64", "q", "tensor(int64)"),
    "float16": ("FP16", "f", "tensor(float16)"),
    "float32": ("FP32", "f", "tensor(float)"),
    "float64": ("FP64", "d", "tensor(double)"),
    "string": ("BYTES", "", "tensor(string)"),
}


@dataclass(frozen=True)
class Tensor:
    """An input or output of a model; the first axis of ``shape`` is the batch, -1 is any length.

    ``type`` is that of the data's feature (see ``package.scalars``), empty for an output.
    """

    name: str
    dtype: str
    shape: tuple[int, ...]
    type: str = ""
    required: bool = False
    sample_rate: int | None = None
    fit: str = "refuse"

    def __post_init__(self) -> None:
        if self.dtype not in _TYPES:
            raise ValueError(f"{self.name} has dtype {self.dtype}; served are {', '.join(_TYPES)}")
        dtype = "float64" if self.type in NUMBERS else "string" if self.type in TEXTS else ""
        if dtype and (self.dtype, self.shape) != (dtype, (-1,)):
            raise ValueError(
                f"{self.name} has type {self.type}, but not dtype {dtype} and shape [-1]"
            )

    @property
    def datatype(self) -> str:
        """The type's name in the Open Inference Protocol."""
        return _TYPES[self.dtype][0]

    @property
    def onnx_type(self) -> str:
        """The type's name in an ONNX session."""
        return _TYPES[self.dtype][2]

    @property
    def is_image(self) -> bool:
        """Whether a row can be had from a picture: uint8, [height, width] or [height, width, 3]."""
        tail = self.shape[1:]
        return self.dtype == "uint8" and (len(tail) == 2 or (len(tail) == 3 and tail[2] == 3))

    @property
    def is_scalar(self) -> bool:
        """Whether a row gives one value, which may be missing, and not a list of numbers."""
        return self.type in SCALARS

    def describe(self) -> dict[str, Any]:
        """This tensor as the Open Inference Protocol's metadata; the type is what rows give."""
        page = {"name": self.name, "datatype": self.datatype, "shape": list(self.shape)}
        if self.is_scalar or self.type in ("audio", "image"):
            given = {"type": self.type, "required": self.required or None}
            given["sample_rate"] = self.sample_rate
            given["fit"] = self.fit if self.type == "image" else None
            page["parameters"] = {key: value for key, value in given.items() if value}
        return page

    def pack(self, data: Any, shape: tuple[int, ...], place: str) -> np.ndarray:
        """Nested lists, or one flat list, to an array.

        Args:
            data: JSON lists of numbers or strings, nested as ``shape`` or flat with as many. Where
                a value may be missing, null stands for it.
            shape: The array's shape; axes of length 0 are not possible.
            place: Where ``data`` stands in the request, for the message.

        Returns:
            An array of this dtype and the given shape; strings are objects, NaN or "" is missing.

        Raises:
            RequestError: 400, a list is ragged, or a number has another type, is out of range or is
                not finite.
        """
        if self.dtype == "string" or self.is_scalar:
            return self._pack_scalars(data, shape, place)
        code = _TYPES[self.dtype][1]
        nested = bool(shape) and type(data) is list and bool(data) and type(data[0]) is list
        expected = shape if nested else (math.prod(shape),)
        try:
            content = _pack(data if shape else [data], expected, code)
        except (TypeError, ValueError, OverflowError):
            fault = _fault(data if shape else [data], expected, self.dtype, place)
            raise RequestError(400, fault) from None
        values = np.frombuffer(content, dtype=code).reshape(shape)
        if code in "fd":
            with np.errstate(over="ignore"):
                values = values.astype(self.dtype, copy=False)
            check_finite(self, values, place)
        return values

    def _pack_scalars(self, data: Any, shape: tuple[int, ...], place: str) -> np.ndarray:
        """As ``pack``, for one axis and values that may be missing."""
        if type(data) is not list or shape != (len(data),):
            raise RequestError(400, f"{place} must be a list of {math.prod(shape)}")
        allowed: set[type] = {str} if self.dtype == "string" else {int, float}
        if not self.required:
            allowed.add(type(None))
        if not set(map(type, data)) <= allowed:
            raise RequestError(400, _strange(data, allowed, place))
        if self.dtype != "string":
            return np.array(data, dtype=np.float64)
        values = np.empty(len(data), dtype=object)
        values[:] = [text or "" for text in data]
        return values


def check_finite(tensor: Tensor, values: np.ndarray, place: str) -> None:
    """Refuse floats that are infinite, or NaN where that does not stand for a missing value.

    Raises:
        RequestError: 400, naming ``place``.
    """
    if values.dtype.kind != "f" or (finite := np.isfinite(values)).all():
        return
    if tensor.is_scalar and not tensor.required and np.isnan(values[~finite]).all():
        return
    raise RequestError(400, f"{place} holds a number beyond the range of {tensor.dtype}")


def rows_shape(tensor: Tensor, row: Any) -> tuple[int, ...]:
    """The shape of one row of ``tensor``; free axes are as long as in ``row``'s first elements."""
    shape: list[int] = []
    for size in tensor.shape[1:]:
        shape.append(size if size >= 0 else len(row) if type(row) is list else 0)
        row = row[0] if type(row) is list and row else None
    return tuple(shape)


def check_shape(tensor: Tensor, shape: Any) -> tuple[int, ...]:
    """The shape that a request declares for ``tensor``.

    Raises:
        RequestError: 400, it is not a list of lengths, not the model's, or holds no row or too
            many.
    """
    name, wanted = tensor.name, list(tensor.shape)
    if type(shape) is not list or any(type(size) is not int or size < 0 for size in shape):
        raise RequestError(400, f"input {name!r}: shape must be a list of lengths, as {wanted}")
    if len(shape) != len(wanted) or any(
        size not in (-1, given) for size, given in zip(wanted, shape, strict=True)
    ):
        raise RequestError(400, f"input {name!r} has shape {short(shape)}, the model's is {wanted}")
    if 0 in shape:
        raise RequestError(400, f"input {name!r} has shape {short(shape)}: send at least one row")
    check_rows(shape[0])
    return tuple(shape)


def check_rows(num_rows: int) -> None:
    """Refuse a request with more rows than one may hold.

    Raises:
        RequestError: 413.
    """
    if num_rows > MAX_ROWS:
        raise RequestError(
            413,
            f"{num_rows} rows in a request; send at most {MAX_ROWS} in each of several requests",
        )


def _pack(data: Any, shape: tuple[int, ...], code: str) -> bytes:
    if type(data) is not list or len(data) != shape[0]:
        raise ValueError
    if len(shape) == 1:
        return array(code, data).tobytes()
    return b"".join([_pack(item, shape[1:], code) for item in data])


def _fault(data: Any, shape: tuple[int, ...], dtype: str, place: str) -> str:
    """Find the first thing in ``data`` that is not as it should be and say so."""
    if type(data) is not list:
        return f"{place} is {short(data)}; expected is a list of {shape[0]}"
    if len(data) != shape[0]:
        return f"{place} holds {len(data)} items; expected are {shape[0]}"
    code = _TYPES[dtype][1]
    for index, item in enumerate(data):
        inner = f"{place}[{index}]"
        try:
            _pack(item if len(shape) > 1 else [item], shape[1:] or (1,), code)
        except (TypeError, ValueError, OverflowError):
            if len(shape) > 1:
                return _fault(item, shape[1:], dtype, inner)
            return f"{inner} is {short(item)}; expected is a number of type {dtype}{_range(dtype)}"
    raise AssertionError(place)


def _strange(data: list[Any], allowed: set[type], place: str) -> str:
    """Say which is the first item of ``data`` that has another type."""
    index = next(index for index, item in enumerate(data) if type(item) not in allowed)
    wanted = "a string" if str in allowed else "a number"
    null = ", or null where it is missing" if type(None) in allowed else ""
    return f"{place}[{index}] is {short(data[index])}; expected is {wanted}{null}"


def _range(dtype: str) -> str:
    if dtype.startswith("float"):
        return ""
    info = np.iinfo(dtype)
    return f", whole and from {info.min} to {info.max}"


def short(value: Any) -> str:
    """A value of a request as an answer may repeat it."""
    if isinstance(value, list | dict):
        text = "a list" if isinstance(value, list) else "an object"
        return str(value) if isinstance(value, list) and len(value) < 8 and _flat(value) else text
    text = repr(value)
    return text if len(text) <= 40 else f"{text[:37]}..."


def _flat(value: list[Any]) -> bool:
    return all(type(item) in (int, float) for item in value)
