"""``/openapi.json``: the paths of the models that are live, with an example of each."""

from collections.abc import Iterable
from typing import Any

from modelyard import __version__
from modelyard.serving.forms import infer_example, media_type, row_schema
from modelyard.serving.model import Model
from modelyard.serving.tensors import MAX_ROWS

_REF = "#/components"
_PROBABILITIES = {"type": "object", "additionalProperties": {"type": "number"}}
_PREDICTION: dict[str, dict[str, Any]] = {
    "classification": {
        "label": {"type": "string"},
        "probability": {"type": "number"},
        "probabilities": _PROBABILITIES,
    },
    "multi-label": {
        "labels": {"type": "array", "items": {"type": "string"}},
        "probabilities": _PROBABILITIES,
    },
    "regression": {"prediction": {"type": "number"}},
}


def describe_api(models: Iterable[Model]) -> dict[str, Any]:
    """The API in OpenAPI 3.1, for these live models."""
    live = sorted(models, key=lambda model: model.name)
    paths: dict[str, Any] = {
        "/v2": _get("server", "Name, version and extensions of the server", "server"),
        "/v2/health/live": _get("server", "Whether the server answers", "server"),
        "/v2/health/ready": _get("server", "Whether every model is loaded", "server"),
        "/v2/repository/index": {"post": _index()},
        "/health": _get("server", "Readiness, and the live versions", "server"),
        "/ping": _get("server", "As /health, where MLflow's callers ask", "server"),
        "/version": _get("server", "The server's version", "server"),
    }
    for model in live:
        paths |= _model_paths(model)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Modelyard model server",
            "version": __version__,
            "description": "Every answer of a model names it in x-model-name and "
            "x-model-version; every answer has x-request-id.",
        },
        "tags": [{"name": "server"}, *({"name": model.name} for model in live)],
        "paths": paths,
        "components": _components(live),
    }


def _model_paths(model: Model) -> dict[str, Any]:
    name = model.name
    base = f"/v2/models/{name}"
    rows = {"rows": list(model.example)}
    records = {"dataframe_records": list(model.example)}
    return {
        f"/predict/{name}": {
            "post": _post(
                model,
                "Answer rows by name",
                "predict",
                _predict_content(model, rows),
                f"{name}.Answer",
            )
        },
        f"/invocations/{name}": {
            "post": _post(
                model,
                "Answer in MLflow's scoring format",
                "invocations",
                {"application/json": _content(f"{name}.Invocation", records)},
                f"{name}.Invocation.Answer",
            )
        },
        f"{base}/infer": {
            "post": _post(
                model,
                "Answer tensors (Open Inference Protocol)",
                "infer",
                {"application/json": _content("InferRequest", infer_example(model))},
                "InferAnswer",
            )
        },
        base: _get(name, f"Inputs, outputs and versions of {name}", f"{name}.metadata"),
        f"{base}/ready": _get(name, f"Whether {name} is loaded", f"{name}.ready"),
    }


def _predict_content(model: Model, rows: dict[str, Any]) -> dict[str, Any]:
    content: dict[str, Any] = {"application/json": _content(f"{model.name}.Rows", rows)}
    if all(tensor.is_scalar for tensor in model.inputs):
        content["text/csv"] = {"schema": {"type": "string"}}
    media = media_type(model)
    if media.startswith("text"):
        content[media] = {"schema": {"type": "string", "minLength": 1}}
    elif media:
        content[media] = {"schema": {"type": "string", "format": "binary"}}
    return content


def _content(schema: str, example: dict[str, Any]) -> dict[str, Any]:
    return {"schema": {"$ref": f"{_REF}/schemas/{schema}"}, "example": example}


def _post(
    model: Model, summary: str, verb: str, content: dict[str, Any], answer: str
) -> dict[str, Any]:
    return {
        "tags": [model.name],
        "operationId": f"{verb}.{model.name}",
        "summary": f"{summary} by {model.name}, version {model.version}",
        "requestBody": {"required": True, "content": content},
        "responses": {"200": _answer(answer), **_REFUSALS},
    }


def _get(tag: str, summary: str, kind: str) -> dict[str, Any]:
    get = {"tags": [tag], "summary": summary, "responses": {"200": _answer(None)}}
    if kind != "server":
        get["operationId"] = kind
    get["responses"]["503"] = _REFUSALS["503"]
    return {"get": get}


def _index() -> dict[str, Any]:
    ready = {"type": "object", "properties": {"ready": {"type": "boolean"}}}
    return {
        "tags": ["server"],
        "summary": "The loaded versions",
        "requestBody": {"content": {"application/json": {"schema": ready, "example": {}}}},
        "responses": {"200": _answer(None), **_REFUSALS},
    }


def _answer(schema: str | None) -> dict[str, Any]:
    shape = {"$ref": f"{_REF}/schemas/{schema}"} if schema else {}
    return {"description": "The answer", "content": {"application/json": {"schema": shape}}}


def _refusal(why: str) -> dict[str, Any]:
    error = {"$ref": f"{_REF}/schemas/Error"}
    return {"description": why, "content": {"application/json": {"schema": error}}}


_REFUSALS: dict[str, Any] = {
    "400": _refusal("The body is not what the model takes; the error names the place"),
    "413": _refusal(f"The body is too large, or has more than {MAX_ROWS} rows"),
    "415": _refusal("The content type is none that is taken here"),
    "429": _refusal("Too much is waiting; Retry-After says when to come back"),
    "503": _refusal("Starting, stopping or too slow; Retry-After says when to come back"),
}


def _components(models: list[Model]) -> dict[str, Any]:
    schemas: dict[str, Any] = {
        "Error": {
            "type": "object",
            "properties": {"error": {"type": "string"}},
            "required": ["error"],
        },
        "InferRequest": _object({"inputs": _items(_TENSOR), "id": {"type": "string"}}, ["inputs"]),
        "InferAnswer": _object(
            {
                "model_name": {"type": "string"},
                "model_version": {"type": "string"},
                "id": {"type": "string"},
                "outputs": _items(_TENSOR),
            },
            ["model_name", "model_version", "outputs"],
        ),
    }
    for model in models:
        row = {"$ref": f"{_REF}/schemas/{model.name}.Row"}
        rows = {"type": "array", "minItems": 1, "maxItems": MAX_ROWS, "items": row}
        prediction = _PREDICTION[model.task]
        predictions = _items(_object(prediction, list(prediction)))
        schemas |= {
            f"{model.name}.Row": row_schema(model),
            f"{model.name}.Rows": _object({"rows": rows}, ["rows"])
            | {"additionalProperties": False},
            f"{model.name}.Invocation": _object({"dataframe_records": rows}, ["dataframe_records"]),
            f"{model.name}.Answer": _object(
                {
                    "model": {"type": "string"},
                    "version": {"type": "integer"},
                    "predictions": predictions,
                },
                ["model", "version", "predictions"],
            ),
            f"{model.name}.Invocation.Answer": _object(
                {"predictions": predictions}, ["predictions"]
            ),
        }
    return {"schemas": schemas}


def _object(properties: dict[str, Any], required: list[str]) -> dict[str, Any]:
    return {"type": "object", "properties": properties, "required": required}


def _items(item: dict[str, Any]) -> dict[str, Any]:
    return {"type": "array", "items": item}


_TENSOR = _object(
    {
        "name": {"type": "string"},
        "shape": {"type": "array", "items": {"type": "integer", "minimum": 0}},
        "datatype": {"type": "string"},
        "data": {"type": "array"},
    },
    ["name", "shape", "datatype"],
)
