"""The JSON Schemas in ``/openapi.json``: what a body may hold and what an answer holds."""

from typing import Any

from modelyard.serving.explanations import BASELINES, MAX_STEPS, kind_of
from modelyard.serving.explanations import MAX_ROWS as MAX_EXPLAINED
from modelyard.serving.forms import row_schema
from modelyard.serving.model import Model
from modelyard.serving.tensors import MAX_ROWS, Tensor

Schema = dict[str, Any]

REF = "#/components/schemas"
_TEXT: Schema = {"type": "string"}
_FLAG: Schema = {"type": "boolean"}
_NUMBER: Schema = {"type": "number"}
_PROBABILITIES: Schema = {"type": "object", "additionalProperties": {"type": "number"}}
_PREDICTION: dict[str, dict[str, Schema]] = {
    "classification": {
        "label": _TEXT,
        "probability": {"type": "number"},
        "probabilities": _PROBABILITIES,
    },
    "multi-label": {
        "labels": {"type": "array", "items": _TEXT},
        "probabilities": _PROBABILITIES,
    },
    "regression": {"prediction": {"type": "number"}},
}


def named(name: str) -> Schema:
    """A reference to a schema."""
    return {"$ref": f"{REF}/{name}"}


def schemas_of(models: list[Model]) -> dict[str, Schema]:
    """Schemas by name: the server's own, and those of each model, whose names begin with its."""
    found = dict(_SERVER)
    for model in models:
        found |= _model_schemas(model)
    return found


def _model_schemas(model: Model) -> dict[str, Schema]:
    name = model.name
    rows = {"type": "array", "minItems": 1, "maxItems": MAX_ROWS, "items": named(f"{name}.Row")}
    predictions = _list(_object(_PREDICTION[model.task]))
    records = _object({"dataframe_records": rows})
    no_params = {"type": ["object", "null"], "maxProperties": 0}
    return {
        f"{name}.Row": row_schema(model),
        f"{name}.Rows": _object({"rows": rows}) | {"additionalProperties": False},
        f"{name}.Answer": _object(
            {"model": _TEXT, "version": {"type": "integer"}, "predictions": predictions}
        ),
        f"{name}.Invocation": records
        | {
            "properties": records["properties"] | {"params": no_params},
            "additionalProperties": False,
        },
        f"{name}.Invocation.Answer": _object({"predictions": predictions}),
        f"{name}.InferRequest": _infer_request(model),
    } | ({f"{name}.ExplainRequest": _explain_request(model)} if model.explainable else {})


def _explain_request(model: Model) -> Schema:
    row = named(f"{model.name}.Row")
    rows = {"type": "array", "minItems": 1, "maxItems": MAX_EXPLAINED, "items": row}
    options: dict[str, Schema] = {
        "steps": {"type": "integer", "minimum": 2, "maximum": MAX_STEPS},
        "baseline": {"anyOf": [{"enum": [*BASELINES[kind_of(model)], None]}, row]},
        "target": {"enum": [*model.labels, None]},
    }
    return _object({"rows": rows}, **options) | {"additionalProperties": False}


def _infer_request(model: Model) -> Schema:
    """A request as JSON; how long ``data`` is follows from ``shape``, which no schema can say."""
    tensors = [_input(tensor) for tensor in model.inputs]
    asked = _object({"name": {"enum": [tensor.name for tensor in model.outputs]}})
    asked["properties"]["parameters"] = _parameters(binary_data=_FLAG)
    inputs = {
        "type": "array",
        "minItems": len(tensors),
        "maxItems": len(tensors),
        "items": tensors[0] if len(tensors) == 1 else {"anyOf": tensors},
    }
    more = {
        "id": {"type": ["string", "null"]},
        "outputs": {"type": ["array", "null"], "items": asked},
        "parameters": _parameters(binary_data_output=_FLAG),
    }
    return _object({"inputs": inputs}, **more)


def _input(tensor: Tensor) -> Schema:
    axes = [{"type": "integer", "minimum": 1, "maximum": MAX_ROWS}]
    axes += [
        {"type": "integer", "minimum": 1} if size < 0 else {"const": size}
        for size in tensor.shape[1:]
    ]
    shape = {
        "type": "array",
        "prefixItems": axes,
        "minItems": len(axes),
        "maxItems": len(axes),
    }
    given = {
        "name": {"const": tensor.name},
        "datatype": {"const": tensor.datatype},
        "shape": shape,
        "data": {"type": "array"},
    }
    return _object(given, parameters=_parameters())


def _parameters(**properties: Schema) -> Schema:
    return {"type": ["object", "null"], "properties": properties}


def _object(required: dict[str, Schema], **more: Schema) -> Schema:
    return {"type": "object", "properties": required | more, "required": list(required)}


def _list(item: Schema) -> Schema:
    return {"type": "array", "items": item}


_TENSOR = _object(
    {"name": _TEXT, "datatype": _TEXT, "shape": _list({"type": "integer", "minimum": -1})},
    parameters=_parameters(),
)
_SERVER: dict[str, Schema] = {
    "Error": _object({"error": _TEXT}),
    "Server": _object({"name": _TEXT, "version": _TEXT, "extensions": _list(_TEXT)}),
    "Live": _object({"live": _FLAG}),
    "Ready": _object({"ready": _FLAG}),
    "Version": _object({"modelyard": _TEXT}),
    "Health": _object(
        {
            "status": _TEXT,
            "models": {
                "type": "object",
                "additionalProperties": _object({"version": {"type": "integer"}, "digest": _TEXT}),
            },
        }
    ),
    "RepositoryRequest": {"type": "object", "properties": {"ready": _FLAG}},
    "RepositoryIndex": _list(
        _object(
            {
                "name": _TEXT,
                "version": _TEXT,
                "state": {"enum": ["READY", "UNAVAILABLE"]},
                "reason": _TEXT,
            }
        )
    ),
    "ModelReady": _object({"name": _TEXT, "ready": _FLAG}),
    "ModelMetadata": _object(
        {
            "name": _TEXT,
            "versions": _list(_TEXT),
            "platform": _TEXT,
            "inputs": _list(_TENSOR),
            "outputs": _list(_TENSOR),
        },
        parameters=_object(
            {"version": _TEXT, "digest": _TEXT, "task": _TEXT, "labels": _list(_TEXT)}
        ),
    ),
    "Explanations": _object(
        {
            "model": _TEXT,
            "version": {"type": "integer"},
            "method": _TEXT,
            "explains": _TEXT,
            "steps": {"type": "integer"},
            "baseline": _TEXT,
            "explanations": _list(
                _object(
                    dict.fromkeys(
                        (
                            "score",
                            "baseline_score",
                            "served_score",
                            "served_difference",
                            "convergence_delta",
                        ),
                        _NUMBER,
                    )
                    | {
                        "attributions": _list(
                            _object(
                                {"input": _TEXT, "attribution": _NUMBER},
                                map=_list(_list(_NUMBER)),
                            )
                        )
                    },
                    target=_TEXT,
                )
            ),
        }
    ),
    "InferAnswer": _object(
        {
            "model_name": _TEXT,
            "model_version": _TEXT,
            "outputs": _list(
                _TENSOR | {"properties": _TENSOR["properties"] | {"data": {"type": "array"}}}
            ),
        },
        id=_TEXT,
    ),
}
