"""What the JSON header of a binary request says, remembered.

A caller sends the same header with every request of one shape; to read it anew costs more than the
model. A plan is made of a header that was read and found right, and belongs to one loaded version.
"""

import math
from typing import Any, NamedTuple

import numpy as np

from modelyard.serving.tensors import Tensor, check_finite

_MAX_PLANS = 256
_MAX_HEADER = 4096


class Part(NamedTuple):
    """Where an input's bytes lie behind the header: ``start``, and what they are."""

    tensor: Tensor
    dtype: np.dtype[Any]
    shape: tuple[int, ...]
    num_values: int
    start: int


class Plan(NamedTuple):
    """A header's meaning: ``asked`` of the answer, the ``parts``, and how many bytes they have."""

    asked: Any
    parts: tuple[Part, ...]
    num_bytes: int

    def read(self, body: bytes, start: int) -> dict[str, np.ndarray]:
        """The inputs of a body whose tensors' bytes begin at ``start``.

        Raises:
            RequestError: 400, a number is not possible.
        """
        found: dict[str, np.ndarray] = {}
        for tensor, dtype, shape, num_values, offset in self.parts:
            array = np.frombuffer(body, dtype, num_values, start + offset).reshape(shape)
            if dtype.kind == "f":
                check_finite(tensor, array, f"input {tensor.name!r}")
            found[tensor.name] = array if array.flags.aligned else array.copy()
        return found


def remember(
    plans: dict[bytes, Plan],
    header: bytes,
    asked: Any,
    inputs: dict[str, np.ndarray],
    tensors: list[Tensor],
) -> None:
    """Keep what a header was found to mean, where it is small and numbers alone follow it.

    Args:
        plans: Of one model, by header.
        header: The JSON header's bytes.
        asked: What it asks for.
        inputs: Input name -> the array that was read from the bytes behind it.
        tensors: The inputs in the header's order, which is that of the bytes.
    """
    if len(header) > _MAX_HEADER or any(tensor.dtype == "string" for tensor in tensors):
        return
    parts: list[Part] = []
    start = 0
    for tensor in tensors:
        dtype, shape = np.dtype(tensor.dtype).newbyteorder("<"), inputs[tensor.name].shape
        parts.append(Part(tensor, dtype, shape, math.prod(shape), start))
        start += parts[-1].num_values * dtype.itemsize
    if len(plans) >= _MAX_PLANS:
        plans.clear()
    plans[header] = Plan(asked, tuple(parts), start)
