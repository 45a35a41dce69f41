"""The Open Inference Protocol (version 2, REST): requests and answers, JSON and binary tensors."""

from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy as np

from modelyard.serving import binary
from modelyard.serving.failures import RequestError
from modelyard.serving.http import JSON, Headers, dump
from modelyard.serving.model import Model
from modelyard.serving.plans import remember
from modelyard.serving.rows import parse_json
from modelyard.serving.tensors import Tensor, check_shape, short

Arrays = dict[str, np.ndarray]

EXTENSIONS = ("binary_tensor_data", "model_repository")
_NO_BYTES = memoryview(b"")
_MAX_HEADS = 256
_OCTETS = (b"content-type", b"application/octet-stream")


class Asked(NamedTuple):
    """What a request wants back: its ``id``, and outputs by name, each ``True`` as bytes.

    Where it names no outputs it wants all, each by ``default``.
    """

    id: str | None
    default: bool
    outputs: tuple[tuple[str, bool], ...] | None


_ALL_AS_JSON = Asked(None, False, None)


def parse_infer(
    tree: dict[str, Any], model: Model, content: memoryview = _NO_BYTES
) -> tuple[Asked, Arrays]:
    """The inputs of an inference request.

    Args:
        tree: ``{"inputs": [{"name", "shape", "datatype", "data"}], "outputs": [{"name"}], "id",
            "parameters"}``; an input without ``data`` has ``parameters.binary_data_size``.
        model: Says which inputs there are.
        content: The bytes behind a JSON header, the tensors' in its order.

    Returns:
        What is wanted, and input name -> array, all with the same number of rows.

    Raises:
        RequestError: 400, naming the input and what is wrong with it; 413, too many rows.
    """
    items = _named_items(tree, model)
    tensors = {tensor.name: tensor for tensor in model.inputs}
    found: Arrays = {}
    start = 0
    for item in items:
        tensor = tensors[item["name"]]
        size = _binary_size(item)
        if size is None:
            shape = _check_shape(tensor, item)
            found[tensor.name] = tensor.pack(item["data"], shape, f"{tensor.name}.data")
            continue
        if size > len(content) - start:
            raise RequestError(
                400,
                f"input {tensor.name!r}: binary_data_size is {size}, but {len(content) - start} "
                "bytes of tensors are left behind the JSON header; its length stands in "
                "Inference-Header-Content-Length",
            )
        part = content[start : start + size]
        found[tensor.name] = binary.unpack(tensor, _check_shape(tensor, item), part)
        start += size
    if start != len(content):
        raise RequestError(400, f"{len(content) - start} bytes follow the last input's")
    asked = _asked(tree, model)
    if len(items) == 1:
        return asked, found
    if len({len(array) for array in found.values()}) > 1:
        raise RequestError(400, "the inputs have different numbers of rows")
    return asked, {name: found[name] for name in tensors}


def raw_header(model: Model, num_bytes: int) -> dict[str, Any]:
    """The JSON header that a body without one stands for: all of it is the one input's bytes.

    Raises:
        RequestError: 400, the model has several inputs, or the bytes are no whole rows.
    """
    if len(model.inputs) != 1:
        raise RequestError(
            400,
            f"model {model.name} has {len(model.inputs)} inputs; send a JSON header and its length "
            "in Inference-Header-Content-Length",
        )
    (tensor,) = model.inputs
    item = {
        "name": tensor.name,
        "shape": binary.raw_shape(tensor, num_bytes),
        "datatype": tensor.datatype,
        "parameters": {"binary_data_size": num_bytes},
    }
    return {"inputs": [item], "parameters": {"binary_data_output": True}}


def read_binary(body: bytes, length: bytes, model: Model) -> tuple[Asked, Arrays]:
    """As ``parse_infer``, of a body with a JSON header of ``length`` bytes before the tensors'.

    Raises:
        RequestError: as ``parse_infer``; 400 where ``length`` is not possible.
    """
    head, content = binary.split(body, length)
    if not head:
        return parse_infer(raw_header(model, len(content)), model, content)
    plan = model.plans.get(head)
    if plan is not None and plan.num_bytes == len(content):
        return plan.asked, plan.read(body, len(head))
    tree = parse_json(head)
    asked, inputs = parse_infer(tree, model, content)
    if len(content) == sum(array.nbytes for array in inputs.values()):
        named = {tensor.name: tensor for tensor in model.inputs}
        remember(model.plans, head, asked, inputs, [named[item["name"]] for item in tree["inputs"]])
    return asked, inputs


def render_infer(asked: Asked, model: Model, outputs: list[np.ndarray]) -> tuple[bytes, Headers]:
    """The answer's body and the headers that say what it is."""
    forms = None if asked.outputs is None else dict(asked.outputs)
    items: list[dict[str, Any]] = []
    parts: list[bytes] = []
    shapes = tuple([values.shape for values in outputs])
    known = model.heads.get((asked, shapes))
    for tensor, values in zip(model.outputs, outputs, strict=True):
        as_bytes = asked.default if forms is None else forms.get(tensor.name)
        if as_bytes is None:
            continue
        if values.dtype.char == "d":  # of an answer that was rounded, see ``disclose``
            values = values.astype(tensor.dtype, copy=False)
        if as_bytes:
            parts.append(binary.pack(values))
        if known is not None:
            continue
        item: dict[str, Any] = {
            "name": tensor.name,
            "shape": list(values.shape),
            "datatype": tensor.datatype,
        }
        if as_bytes:
            item["parameters"] = {"binary_data_size": len(parts[-1])}
        else:
            flat = np.ascontiguousarray(values).reshape(-1)
            item["data"] = flat.tolist() if flat.dtype == object else flat
        items.append(item)
    head = known or _head(asked, model, items)
    if not parts:
        return head, JSON
    if known is None and len(parts) == len(items) and asked.id is None:
        _keep_head(model, outputs, (asked, shapes), head)
    return b"".join([head, *parts]), (_OCTETS, (binary.HEADER, b"%d" % len(head)))


def _head(asked: Asked, model: Model, items: list[dict[str, Any]]) -> bytes:
    answer: dict[str, Any] = {
        "model_name": model.name,
        "model_version": str(model.version),
        "outputs": items,
    }
    if asked.id is not None:
        answer["id"] = asked.id
    return dump(answer)


def _keep_head(model: Model, outputs: list[np.ndarray], key: Any, head: bytes) -> None:
    """Remember the header of an answer all in bytes: but for texts, whose sizes vary, it recurs."""
    if any(values.dtype == object for values in outputs):
        return
    if len(model.heads) >= _MAX_HEADS:
        model.heads.clear()
    model.heads[key] = head


def describe(model: Model, versions: Iterable[int]) -> dict[str, Any]:
    """A model's metadata."""
    return {
        "name": model.name,
        "versions": [str(version) for version in sorted(versions)],
        "platform": "onnxruntime_onnx",
        "inputs": [tensor.describe() for tensor in model.inputs],
        "outputs": [tensor.describe() for tensor in model.outputs],
        "parameters": {
            "version": str(model.version),
            "digest": model.digest,
            "task": model.task,
            "labels": list(model.labels),
        },
    }


def _named_items(tree: dict[str, Any], model: Model) -> list[dict[str, Any]]:
    items: Any = tree.get("inputs")
    try:
        names = [item["name"] for item in items]
    except (KeyError, TypeError):
        raise RequestError(
            400, '"inputs" must be a list of {"name", "shape", "datatype", "data"}'
        ) from None
    wanted = [tensor.name for tensor in model.inputs]
    if names != wanted and (
        not all(isinstance(name, str) for name in names) or sorted(names) != sorted(wanted)
    ):
        raise RequestError(400, f'"inputs" must name {wanted}, each once')
    return items


def _check_shape(tensor: Tensor, item: dict[str, Any]) -> tuple[int, ...]:
    """The shape of an input; its datatype is checked as well."""
    if item.get("datatype") != tensor.datatype:
        raise RequestError(
            400,
            f"input {tensor.name!r}: datatype must be {tensor.datatype!r}, as the model's; it is "
            f"{short(item.get('datatype'))}",
        )
    return check_shape(tensor, item.get("shape"))


def _binary_size(item: dict[str, Any]) -> int | None:
    """The input's ``binary_data_size``; None where its data are in the JSON."""
    name = item["name"]
    size = None
    if "parameters" in item:
        size = _parameters(item, f"input {name!r}").get("binary_data_size")
    if size is None:
        if "data" not in item:
            raise RequestError(
                400, f'input {name!r} has no "data"; send JSON lists, or bytes and their number'
            )
        return None
    if "data" in item:
        raise RequestError(400, f'input {name!r} has both "data" and "binary_data_size"')
    if type(size) is not int or size < 0:
        raise RequestError(400, f"input {name!r}: binary_data_size must be a number of bytes")
    return size


def _asked(tree: dict[str, Any], model: Model) -> Asked:
    if len(tree) == 1:  # "inputs" alone
        return _ALL_AS_JSON
    identity = tree.get("id")
    if identity is not None and not isinstance(identity, str):
        raise RequestError(400, '"id" must be a string')
    default = _flag(tree, "the request", "binary_data_output", False)
    outputs = tree.get("outputs")
    if outputs is None or outputs == []:
        return Asked(identity, default, None)
    names = [tensor.name for tensor in model.outputs]
    if type(outputs) is not list or any(
        type(item) is not dict or item.get("name") not in names for item in outputs
    ):
        raise RequestError(400, f'"outputs" must be a list of {{"name"}} out of {names}')
    for item in outputs:
        _refuse_other_forms(item)
    wanted = {
        item["name"]: _flag(item, f"output {item['name']!r}", "binary_data", default)
        for item in outputs
    }
    return Asked(identity, default, tuple(wanted.items()))


def _refuse_other_forms(item: dict[str, Any]) -> None:
    """Triton's other forms of an output; a caller who reads those would not find them."""
    place = f"output {item['name']!r}"
    asked = _parameters(item, place)
    if asked.get("classification"):
        raise RequestError(
            400, f"{place}: classification is not offered here; POST /predict/NAME answers labels"
        )
    if asked.get("shared_memory_region"):
        raise RequestError(400, f"{place}: there is no shared memory here; ask for binary_data")


def _parameters(tree: dict[str, Any], place: str) -> dict[str, Any]:
    parameters = tree.get("parameters")
    if parameters is None:
        return {}
    if type(parameters) is not dict:
        raise RequestError(400, f'"parameters" of {place} must be an object')
    return parameters


def _flag(tree: dict[str, Any], place: str, key: str, default: bool) -> bool:
    if "parameters" not in tree:
        return default
    value = _parameters(tree, place).get(key, default)
    if type(value) is not bool:
        raise RequestError(400, f"{key} is {short(value)}; expected is true or false")
    return value
