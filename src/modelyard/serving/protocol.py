"""The Open Inference Protocol (version 2, REST, JSON tensors), and the answers of ``/predict``."""

from typing import Any

import numpy as np

from modelyard.serving.failures import RequestError
from modelyard.serving.model import Model
from modelyard.serving.tensors import check_shape

Arrays = dict[str, np.ndarray]


def parse_infer(tree: dict[str, Any], model: Model) -> Arrays:
    """The inputs of an inference request.

    Args:
        tree: ``{"inputs": [{"name", "shape", "datatype", "data"}], "outputs": [{"name"}], "id",
            "parameters"}``.
        model: Says which inputs there are.

    Returns:
        Input name -> array, all with the same number of rows.

    Raises:
        RequestError: 400, naming the input and what is wrong with it.
    """
    given = tree.get("inputs")
    if type(given) is not list or not all(type(item) is dict for item in given):
        raise RequestError(400, '"inputs" must be a list of {"name", "shape", "datatype", "data"}')
    names = [item.get("name") for item in given]
    wanted = [tensor.name for tensor in model.inputs]
    if not all(isinstance(name, str) for name in names) or sorted(names) != sorted(wanted):
        raise RequestError(400, f'"inputs" must name {wanted}, each once')
    items = dict(zip(names, given, strict=True))
    arrays: Arrays = {}
    for tensor in model.inputs:
        item = items[tensor.name]
        if item.get("datatype") != tensor.datatype:
            raise RequestError(
                400, f"input {tensor.name!r}: datatype must be {tensor.datatype!r}, as the model's"
            )
        if "data" not in item:
            raise RequestError(400, f'input {tensor.name!r} has no "data"; send JSON lists')
        shape = check_shape(tensor, item.get("shape"))
        arrays[tensor.name] = tensor.pack(item["data"], shape, f"{tensor.name}.data")
    if len({len(array) for array in arrays.values()}) > 1:
        raise RequestError(400, "the inputs have different numbers of rows")
    _check_outputs(tree, model)
    return arrays


def render_infer(tree: dict[str, Any], model: Model, outputs: list[np.ndarray]) -> dict[str, Any]:
    """The answer: the outputs that the request asks for, all by default, and its id."""
    asked = {item["name"] for item in tree.get("outputs") or ()}
    answer: dict[str, Any] = {
        "model_name": model.name,
        "model_version": str(model.version),
        "outputs": [
            {
                "name": tensor.name,
                "shape": list(values.shape),
                "datatype": tensor.datatype,
                "data": np.ascontiguousarray(values).reshape(-1),
            }
            for tensor, values in zip(model.outputs, outputs, strict=True)
            if not asked or tensor.name in asked
        ],
    }
    if "id" in tree:
        answer["id"] = tree["id"]
    return answer


def render_predictions(model: Model, outputs: np.ndarray) -> dict[str, Any]:
    """The answer of ``/predict`` for the model's first output, [rows, width]."""
    return {
        "model": model.name,
        "version": model.version,
        "predictions": _RENDER[model.task](model.labels, outputs),
    }


def _classes(labels: tuple[str, ...], probabilities: np.ndarray) -> list[dict[str, Any]]:
    best = probabilities.argmax(axis=1).tolist()
    return [
        {
            "label": labels[index],
            "probability": row[index],
            "probabilities": dict(zip(labels, row, strict=True)),
        }
        for index, row in zip(best, probabilities.tolist(), strict=True)
    ]


def _several_labels(labels: tuple[str, ...], probabilities: np.ndarray) -> list[dict[str, Any]]:
    return [
        {
            "labels": [label for label, value in zip(labels, row, strict=True) if value > 0.5],
            "probabilities": dict(zip(labels, row, strict=True)),
        }
        for row in probabilities.tolist()
    ]


def _numbers(_: tuple[str, ...], predictions: np.ndarray) -> list[dict[str, Any]]:
    return [{"prediction": value} for value in predictions[:, 0].tolist()]


_RENDER = {
    "classification": _classes,
    "multi-label": _several_labels,
    "regression": _numbers,
}


def describe(model: Model, versions: list[int]) -> dict[str, Any]:
    """A model's metadata."""
    return {
        "name": model.name,
        "versions": [str(version) for version in versions],
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


def _check_outputs(tree: dict[str, Any], model: Model) -> None:
    outputs = tree.get("outputs")
    if outputs is None:
        return
    names = [tensor.name for tensor in model.outputs]
    if type(outputs) is not list or any(
        type(item) is not dict or item.get("name") not in names for item in outputs
    ):
        raise RequestError(400, f'"outputs" must be a list of {{"name"}} out of {names}')
    if "id" in tree and not isinstance(tree["id"], str):
        raise RequestError(400, '"id" must be a string')
