"""What a row of a model may hold, as JSON Schema, and as the fields of a form."""

import math
from typing import Any

from modelyard.package.scalars import TEXTS
from modelyard.serving.model import Model
from modelyard.serving.rows import parse_rows
from modelyard.serving.tensors import Tensor

_TYPES: dict[str, dict[str, Any]] = {
    "number": {"type": "number"},
    "integer": {"type": "integer"},
    "boolean": {"type": "boolean"},
    "date": {"type": "string", "format": "date"},
    "datetime": {"type": "string", "format": "date-time"},
    "category": {"type": "string"},
    "text": {"type": "string"},
}


def media_type(model: Model) -> str:
    """The content type of a file that is a whole request: a picture, a sound, a text, or none."""
    if len(model.inputs) != 1:
        return ""
    (tensor,) = model.inputs
    if tensor.type == "text":
        return "text/plain"
    if tensor.type == "audio" and tensor.sample_rate:
        return "audio/wav"
    return "image/*" if tensor.is_image else ""


def row_schema(model: Model) -> dict[str, Any]:
    """The JSON Schema of one row."""
    return {
        "type": "object",
        "properties": {tensor.name: _value_schema(tensor, model) for tensor in model.inputs},
        "required": [
            tensor.name for tensor in model.inputs if tensor.required or not tensor.is_scalar
        ],
        "additionalProperties": False,
    }


def form(model: Model) -> dict[str, Any]:
    """The fields of a form for one row, each with the example's value."""
    example = model.example[0] if model.example else {}
    return {
        "name": model.name,
        "version": str(model.version),
        "task": model.task,
        "media_type": media_type(model),
        "explainable": model.explainable,
        "fields": [
            {
                "name": tensor.name,
                "type": tensor.type if tensor.is_scalar else "json",
                "required": tensor.required or not tensor.is_scalar,
                "shape": list(tensor.shape[1:]),
                "choices": list(model.choices.get(tensor.name, ())),
                "example": example.get(tensor.name),
            }
            for tensor in model.inputs
        ],
    }


def infer_example(model: Model) -> dict[str, Any]:
    """The example rows as a request of the Open Inference Protocol."""
    arrays = parse_rows({"rows": list(model.example)}, model.inputs)
    return {
        "inputs": [
            {
                "name": tensor.name,
                "shape": list(arrays[tensor.name].shape),
                "datatype": tensor.datatype,
                "data": [_value(value) for value in arrays[tensor.name].reshape(-1).tolist()],
            }
            for tensor in model.inputs
        ]
    }


def _value(value: Any) -> Any:
    return None if isinstance(value, float) and math.isnan(value) else value


def _value_schema(tensor: Tensor, model: Model) -> dict[str, Any]:
    if not tensor.is_scalar:
        return _nested(tensor, tensor.shape[1:])
    schema = dict(_TYPES[tensor.type])
    if choices := model.choices.get(tensor.name):
        schema["examples"] = list(choices[:20])
    if tensor.required:
        return schema | ({"minLength": 1} if tensor.type in TEXTS else {})
    return schema | {"type": [schema["type"], "null"]}


def _nested(tensor: Tensor, shape: tuple[int, ...]) -> dict[str, Any]:
    """Lists in lists of numbers; -1 in ``shape`` is any length from 1."""
    if not shape:
        return _element(tensor.dtype)
    size, *rest = shape
    lengths = {"minItems": 1} if size < 0 else {"minItems": size, "maxItems": size}
    return {"type": "array", **lengths, "items": _nested(tensor, tuple(rest))}


def _element(dtype: str) -> dict[str, Any]:
    """One number; true and false count as 1 and 0, as a mask is written."""
    if dtype == "string":
        return {"type": "string"}
    if dtype.startswith("float"):
        return {"type": ["number", "boolean"]}
    bits = int(dtype.lstrip("uint"))
    low, high = (0, 2**bits - 1) if dtype[0] == "u" else (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1)
    return {"type": ["integer", "boolean"], "minimum": low, "maximum": high}
