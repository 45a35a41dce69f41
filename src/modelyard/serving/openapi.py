"""``/openapi.json``: the paths of the models that are live, with an example of each."""

from collections.abc import Iterable
from typing import Any

from modelyard import __version__
from modelyard.serving.explanations import STEPS
from modelyard.serving.forms import infer_example, media_type, row_schema
from modelyard.serving.model import Model
from modelyard.serving.queries import MAX_QUERY
from modelyard.serving.schemas import named, schemas_of
from modelyard.serving.tensors import MAX_ROWS

_BYTES = {"schema": {"type": "string", "format": "binary"}}
_LENGTH = {
    "name": "Inference-Header-Content-Length",
    "in": "header",
    "description": "Bytes of the JSON header before the tensors' bytes; without it the body is "
    "JSON alone",
    "schema": {"type": "integer", "minimum": 0},
}
_SECURITY = {
    "key": {"type": "http", "scheme": "bearer", "description": "A key of `modelyard key add`"},
    "key-header": {"type": "apiKey", "in": "header", "name": "x-api-key"},
}


def describe_api(models: Iterable[Model]) -> dict[str, Any]:
    """The API in OpenAPI 3.1, for these live models."""
    live = sorted(models, key=lambda model: model.name)
    paths: dict[str, Any] = {
        "/v2": _get("server", "Name, version and extensions of the server", "Server"),
        "/v2/health/live": _get("server", "Whether the server answers", "Live"),
        "/v2/health/ready": _get("server", "Whether every model is loaded", "Ready"),
        "/v2/repository/index": {"post": _index()},
        "/health": _get("server", "Readiness, and the live versions", "Health"),
        "/ping": _get("server", "As /health, where MLflow's callers ask", "Health"),
        "/version": _get("server", "The server's version", "Version"),
    }
    for model in live:
        paths |= _model_paths(model)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Modelyard model server",
            "version": __version__,
            "description": "Every answer of a model names it in x-model-name and "
            "x-model-version; every answer has x-request-id. A server without keys needs none.",
        },
        "tags": [{"name": "server"}, *({"name": model.name} for model in live)],
        "security": [{}, *({name: []} for name in _SECURITY)],
        "paths": paths,
        "components": {"schemas": schemas_of(live), "securitySchemes": _SECURITY},
    }


def _model_paths(model: Model) -> dict[str, Any]:
    name = model.name
    base = f"/v2/models/{name}"
    rows = {"rows": list(model.example)}
    records = {"dataframe_records": list(model.example)}
    predict = _post(model, "Answer rows by name", "predict", f"{name}.Answer")
    predict["requestBody"]["content"] = _predict_content(model, rows)
    invoke = _post(
        model, "Answer in MLflow's scoring format", "invocations", f"{name}.Invocation.Answer"
    )
    invoke["requestBody"]["content"] = _json(f"{name}.Invocation", records)
    infer = _post(model, "Answer tensors (Open Inference Protocol)", "infer", "InferAnswer")
    octets = {"application/octet-stream": _BYTES}
    infer["parameters"] = [_LENGTH]
    infer["requestBody"]["content"] = _json(f"{name}.InferRequest", infer_example(model)) | octets
    infer["responses"]["200"]["content"] |= octets
    metadata = _get(name, f"Inputs, outputs and versions of {name}", "ModelMetadata")
    ready = _get(name, f"Whether {name} is loaded", "ModelReady")
    for verb, page in (("metadata", metadata), ("ready", ready)):
        page["get"]["operationId"] = f"{name}.{verb}"
        page["get"]["responses"]["404"] = _REFUSALS["404"]
    paths = {
        f"/predict/{name}": {"post": predict} | _query(model),
        f"/invocations/{name}": {"post": invoke},
        f"{base}/infer": {"post": infer},
        base: metadata,
        f"{base}/ready": ready,
    }
    if model.explainable:
        explain = _post(model, "Explain answers to rows", "explain", "Explanations")
        content = _json(f"{name}.ExplainRequest", rows | {"steps": STEPS})
        media = media_type(model)
        explain["requestBody"]["content"] = content | ({media: _BYTES} if media else {})
        paths[f"{base}/explain"] = {"post": explain}
    return paths


def _query(model: Model) -> dict[str, Any]:
    """The operation that takes one row in the address, where the model's inputs fit in one."""
    if not all(tensor.is_scalar for tensor in model.inputs):
        return {}
    row = row_schema(model)
    example = model.example[0] if model.example else {}
    operation = _post(model, "Answer one small row", "query", f"{model.name}.Answer")
    del operation["requestBody"]
    operation["parameters"] = []
    for name, schema in row["properties"].items():
        kind = schema["type"][0] if isinstance(schema["type"], list) else schema["type"]
        parameter = {
            "name": name,
            "in": "query",
            "required": name in row["required"],
            "schema": schema | {"type": kind},
        }
        if example.get(name) is not None:
            parameter["example"] = example[name]
        operation["parameters"].append(parameter)
    operation["responses"] |= {
        "304": {"description": "The answer with the ETag in If-None-Match still holds"},
        "414": _refusal(f"The query is longer than {MAX_QUERY} bytes"),
    }
    return {"get": operation}


def _predict_content(model: Model, rows: dict[str, Any]) -> dict[str, Any]:
    content = _json(f"{model.name}.Rows", rows)
    if all(tensor.is_scalar for tensor in model.inputs):
        content["text/csv"] = {"schema": {"type": "string"}}
    media = media_type(model)
    if media.startswith("text"):
        content[media] = {"schema": {"type": "string", "pattern": r"\S"}}
    elif media:
        content[media] = _BYTES
    return content


def _json(schema: str, example: dict[str, Any]) -> dict[str, Any]:
    return {"application/json": {"schema": named(schema), "example": example}}


def _post(model: Model, summary: str, verb: str, answer: str) -> dict[str, Any]:
    """An operation; the ``content`` of its body is to be added."""
    return {
        "tags": [model.name],
        "operationId": f"{verb}.{model.name}",
        "summary": f"{summary} by {model.name}, version {model.version}",
        "requestBody": {"required": True},
        "responses": {"200": _answer(answer), **_REFUSALS},
    }


def _get(tag: str, summary: str, answer: str) -> dict[str, Any]:
    responses = {"200": _answer(answer)} | {
        status: _REFUSALS[status] for status in ("401", "403", "429", "503")
    }
    return {"get": {"tags": [tag], "summary": summary, "responses": responses}}


def _index() -> dict[str, Any]:
    content = _json("RepositoryRequest", {})
    return {
        "tags": ["server"],
        "summary": "The loaded versions",
        "requestBody": {"content": content},
        "responses": {"200": _answer("RepositoryIndex"), **_REFUSALS},
    }


def _answer(schema: str) -> dict[str, Any]:
    return {
        "description": "The answer",
        "content": {"application/json": {"schema": named(schema)}},
    }


def _refusal(why: str) -> dict[str, Any]:
    return {"description": why, "content": {"application/json": {"schema": named("Error")}}}


_REFUSALS: dict[str, Any] = {
    "400": _refusal("The body is not what the model takes; the error names the place"),
    "401": _refusal("The server asks for a key"),
    "403": _refusal("The key is for other models"),
    "404": _refusal("The model is live no longer"),
    "408": _refusal("The body took too long to come"),
    "413": _refusal(f"The body is too large, or has more than {MAX_ROWS} rows"),
    "415": _refusal("The content type is none that is taken here"),
    "429": _refusal("Too much is waiting; Retry-After says when to come back"),
    "503": _refusal("Starting, stopping or too slow; Retry-After says when to come back"),
}
