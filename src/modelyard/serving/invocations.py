"""MLflow's ``/invocations``: the bodies that ``mlflow models serve`` takes, and its answer.

https://mlflow.org/docs/latest/ml/deployment/deploy-model-locally/#inference-server-specification
"""

import json
from typing import Any

import numpy as np

from modelyard.package.scalars import NUMBERS
from modelyard.serving.failures import RequestError
from modelyard.serving.model import Model
from modelyard.serving.predictions import records
from modelyard.serving.rows import parse_json, parse_rows
from modelyard.serving.tensors import MAX_ROWS, Tensor, check_rows, short

Arrays = dict[str, np.ndarray]

_KEYS = ("dataframe_split", "dataframe_records", "instances", "inputs")


def read_invocation(body: bytes) -> dict[str, Any]:
    """A JSON object; NaN, which is no JSON but what MLflow's client writes, is a missing value.

    Raises:
        RequestError: 400, the body is not JSON or not an object.
    """
    if b"NaN" in body:
        try:
            tree = json.loads(body, parse_constant={"NaN": None}.__getitem__)
        except (ValueError, KeyError, RecursionError):
            tree = None
        if type(tree) is dict:
            return tree
    return parse_json(body)


def parse_invocation(tree: dict[str, Any], inputs: tuple[Tensor, ...]) -> Arrays:
    """The inputs of a request in one of MLflow's four forms.

    Args:
        tree: One of ``{"dataframe_split": {"columns": [...], "data": [[...], ...]}}``,
            ``{"dataframe_records": [{name: value}, ...]}``, ``{"instances": [row, ...]}`` and
            ``{"inputs": {name: [value, ...]}}``. A row of ``instances`` is an object, or a bare
            value where the model has one input; ``inputs`` may be a bare list there as well.
            ``params`` may stand beside it if it is empty.
        inputs: What the model takes.

    Returns:
        Input name -> array [rows, ...].

    Raises:
        RequestError: 400, naming the row and what is wrong with it; 413, too many rows.
    """
    keys = [key for key in _KEYS if key in tree]
    if len(keys) != 1:
        raise RequestError(400, f"the body must hold one of {', '.join(_KEYS)}")
    if tree.get("params") not in (None, {}):
        raise RequestError(400, '"params" must be empty: this model takes none')
    (key,) = keys
    if extra := tree.keys() - {key, "params"}:
        raise RequestError(400, f"unknown key {min(extra)[:40]!r} beside {key!r}")
    match key:
        case "dataframe_split":
            return parse_rows({"rows": _split(tree[key])}, inputs)
        case "inputs" if type(tree[key]) is dict:
            return _columns(tree[key], inputs)
        case "dataframe_records":
            return parse_rows({"rows": tree[key]}, inputs)
    return parse_rows({"rows": _instances(tree[key], key, inputs)}, inputs)


def render_invocation(model: Model, outputs: np.ndarray) -> dict[str, Any]:
    """``{"predictions": [...]}``, one object a row, as MLflow gives a data frame."""
    return {"predictions": records(model, outputs)}


def _split(frame: Any) -> list[dict[str, Any]]:
    if type(frame) is not dict or not {"columns", "data"} <= frame.keys():
        raise RequestError(
            400, '"dataframe_split" must be {"columns": [...], "data": [[...], ...]}'
        )
    columns, data = frame["columns"], frame["data"]
    if type(columns) is not list or not all(type(name) is str for name in columns):
        raise RequestError(400, '"columns" must be a list of names')
    if len(set(columns)) < len(columns):
        raise RequestError(400, '"columns" names a column twice')
    if type(data) is not list:
        raise RequestError(400, f'"data" is {short(data)}; expected is a list of lists')
    check_rows(len(data))
    for index, cells in enumerate(data):
        if type(cells) is not list or len(cells) != len(columns):
            raise RequestError(
                400, f"data[{index}] is {short(cells)}; expected are {len(columns)} values"
            )
    return [dict(zip(columns, cells, strict=True)) for cells in data]


def _instances(rows: Any, key: str, inputs: tuple[Tensor, ...]) -> list[dict[str, Any]]:
    if type(rows) is not list or not rows:
        raise RequestError(400, f'"{key}" must be a list of 1 to {MAX_ROWS} rows')
    if all(type(row) is dict for row in rows):
        return rows
    if len(inputs) != 1:
        names = [tensor.name for tensor in inputs][:8]
        raise RequestError(400, f'"{key}" must hold objects by name; the inputs are {names}')
    return [{inputs[0].name: row} for row in rows]


def _columns(columns: dict[str, Any], inputs: tuple[Tensor, ...]) -> Arrays:
    """Columns as arrays; of times and booleans a caller may send the graph's numbers as well."""
    names = [tensor.name for tensor in inputs]
    if unknown := columns.keys() - set(names):
        raise RequestError(
            400, f'"inputs" has {min(unknown)[:40]!r}; the model\'s inputs are {names[:8]}'
        )
    for name, values in columns.items():
        if type(values) is not list:
            raise RequestError(400, f"inputs.{name} is {short(values)}; expected is a list")
    lengths = {len(values) for values in columns.values()}
    if len(lengths) != 1 or lengths == {0}:
        raise RequestError(400, '"inputs" must hold lists of one length, one value a row')
    (num_rows,) = lengths
    check_rows(num_rows)
    as_numbers = {
        tensor.name: tensor.pack(columns[tensor.name], (num_rows,), f"inputs.{tensor.name}")
        for tensor in inputs
        if tensor.name in columns and _is_graphs(tensor, columns[tensor.name])
    }
    others = tuple(tensor for tensor in inputs if tensor.name not in as_numbers)
    if not others:
        return as_numbers
    given = [name for name in columns if name not in as_numbers]
    rows = [{name: columns[name][index] for name in given} for index in range(num_rows)]
    if not given:  # what is left may be missing in every row, or parse_rows says what is not
        rows = [dict.fromkeys([others[0].name]) for _ in range(num_rows)]
    arrays = as_numbers | parse_rows({"rows": rows}, others)
    return {name: arrays[name] for name in names}


def _is_graphs(tensor: Tensor, values: list[Any]) -> bool:
    """Whether a column that a row would write in words is numbers."""
    written = tensor.type in NUMBERS and tensor.type not in ("number", "integer")
    return written and all(type(value) in (int, float, type(None)) for value in values)
