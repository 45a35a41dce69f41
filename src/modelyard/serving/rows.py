"""Rows of ``/predict`` as JSON: one object a row, inputs by name."""

import difflib
import re
from collections.abc import Sequence
from typing import Any

import numpy as np
import orjson

from modelyard.package.scalars import TEXTS, expected, to_tensor
from modelyard.serving.failures import RequestError
from modelyard.serving.tensors import MAX_ROWS, Tensor, check_rows, rows_shape, short

_NUMBERS = {int, float, type(None)}
_STRINGS = {str, type(None)}


def parse_json(body: bytes) -> dict[str, Any]:
    """A JSON object.

    Raises:
        RequestError: 400, the body is not JSON or not an object.
    """
    try:
        tree = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        # Only the part before the position: the rest may quote the body.
        reason = re.split(r": line|, at", str(error))[0]
        raise RequestError(400, f"the body is not JSON: {reason}") from None
    if type(tree) is not dict:
        raise RequestError(400, 'the body must be a JSON object, as {"rows": [...]}')
    return tree


def parse_rows(tree: dict[str, Any], inputs: tuple[Tensor, ...]) -> dict[str, np.ndarray]:
    """Rows to one array an input.

    Args:
        tree: ``{"rows": [{name: value, ...}, ...]}``; a value that may be missing is null or left
            out.
        inputs: What the model takes.

    Returns:
        Input name -> array [rows, ...].

    Raises:
        RequestError: 400, or 413 where there are more than ``MAX_ROWS`` rows.
    """
    rows = tree.get("rows")
    if type(rows) is not list or not rows:
        raise RequestError(400, f'"rows" must be a list of 1 to {MAX_ROWS} objects')
    check_rows(len(rows))
    if len(tree) > 1:
        extra = next(key for key in tree if key != "rows")
        raise RequestError(400, f'unknown key {extra[:40]!r}; a body holds "rows" alone')
    names = {tensor.name for tensor in inputs}
    for index, row in enumerate(rows):
        if type(row) is not dict or row.keys() != names:
            _check_keys(row, inputs, f"rows[{index}]")
    return {
        tensor.name: _scalars(tensor, rows) if tensor.is_scalar else _dense(tensor, rows)
        for tensor in inputs
    }


def _check_keys(row: Any, inputs: Sequence[Tensor], place: str) -> None:
    """Refuse a row that is no object, holds another key, or lacks what may not be missing."""
    if type(row) is not dict:
        raise RequestError(400, f"{place} is {short(row)}; expected is an object, inputs by name")
    names = [tensor.name for tensor in inputs]
    for key in row:
        if key not in names:
            near = difflib.get_close_matches(key[:80], names, n=8, cutoff=0.0)
            raise RequestError(400, f"{place} has {key[:40]!r}; the model's inputs are {near}")
    for tensor in inputs:
        if tensor.name not in row and (tensor.required or not tensor.is_scalar):
            raise RequestError(400, f"{place} lacks {tensor.name!r}, which the model needs")
    if not row:
        raise RequestError(400, f"{place} is empty; the model's inputs are {names[:8]}")


def _dense(tensor: Tensor, rows: list[dict[str, Any]]) -> np.ndarray:
    shape = rows_shape(tensor, rows[0][tensor.name])
    if 0 in shape:
        raise RequestError(400, f"rows[0].{tensor.name} is empty or lacks an axis")
    packed = [
        tensor.pack(row[tensor.name], shape, f"rows[{index}].{tensor.name}")
        for index, row in enumerate(rows)
    ]
    return packed[0][None] if len(packed) == 1 else np.stack(packed)


def _scalars(tensor: Tensor, rows: list[dict[str, Any]]) -> np.ndarray:
    """One value a row: float64, or text as objects; what most requests hold goes at once."""
    name, kind = tensor.name, tensor.type
    values = [row.get(name) for row in rows]
    found = set(map(type, values))
    missing = (None, "") if kind in TEXTS else (None,)
    if tensor.required and any(value in values for value in missing):
        index = next(index for index, value in enumerate(values) if value in missing)
        raise RequestError(400, f"rows[{index}].{name} is missing; expected is {expected(kind)}")
    if kind == "number" and found <= _NUMBERS:
        return np.array(values, dtype=np.float64)
    if kind not in TEXTS:
        return np.array(_converted(tensor, values), dtype=np.float64)
    array = np.empty(len(values), dtype=object)
    array[:] = (
        [value or "" for value in values] if found <= _STRINGS else _converted(tensor, values)
    )
    return array


def _converted(tensor: Tensor, values: list[Any]) -> list[float | str]:
    converted: list[float | str] = []
    for index, value in enumerate(values):
        try:
            converted.append(to_tensor(tensor.type, value))
        except ValueError as error:
            missing = "" if tensor.required else ", or null where it is missing"
            raise RequestError(
                400,
                f"rows[{index}].{tensor.name} is {short(value)}; expected is {error}{missing}",
            ) from None
    return converted
