"""``/v2/models/NAME/explain``: which fields or pixels an answer came of.

What is asked is checked here and answered by the served model; the explainer adds the rest.
"""

import asyncio
import difflib
import os
import time
from concurrent.futures import Executor
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from modelyard.serving.bodies import Arrays, parser_of
from modelyard.serving.explainer import ExplainerProcess
from modelyard.serving.failures import RequestError
from modelyard.serving.guard import refuse_model
from modelyard.serving.http import JSON, NOT_STORED, Request, Response, dump
from modelyard.serving.metrics import Metrics
from modelyard.serving.model import Model
from modelyard.serving.protocol import parse_infer
from modelyard.serving.reading import BodyReader
from modelyard.serving.rows import parse_json, parse_rows
from modelyard.serving.serve_settings import read_settings
from modelyard.serving.table import ModelTable, Served
from modelyard.serving.tensors import short

MAX_ROWS = 32
MAX_STEPS = 200
STEPS = 50
BASELINES: dict[str, tuple[str, ...]] = {"table": ("typical",), "image": ("black", "mean", "white")}
"""By kind of model, the usual one first."""
EXPLAINS = "reference fp32 model"
METHOD = "integrated gradients"

_OPTIONS = ("target", "steps", "baseline")
_SMALL_BODY = 256 * 1024


class Asked(NamedTuple):
    """A checked request: ``baseline`` is a name, or the one row of columns to compare with."""

    inputs: Arrays
    target: str | None
    steps: int
    baseline: str | Arrays


class Explanations:
    """The handler.

    Args:
        table: Whose models.
        bodies: Reads them.
        pool: Where bodies that take long are converted.
        metrics: Counts.
        folder: The serving folder.
    """

    def __init__(
        self,
        table: ModelTable,
        bodies: BodyReader,
        pool: Executor,
        metrics: Metrics,
        folder: Path,
    ) -> None:
        self._table = table
        self._bodies = bodies
        self._pool = pool
        self._metrics = metrics
        self._folder = folder
        self._explainer = ExplainerProcess(folder)

    async def explain(self, request: Request, *names: str) -> Response:
        """Explain rows; ``names`` are a model's, or its and a version's."""
        body = await self._bodies.read(request)
        served = self._table.find(*names)
        refuse_model(request.key, served.model.name)
        labels = served.model.name, str(served.model.version)
        self._metrics.explanations.labels(*labels).inc()
        started = time.perf_counter()
        try:
            content = await self._explain(request, body, served)
        except RequestError as error:
            error.headers = (*error.headers, *served.headers)
            raise
        self._metrics.explanation_latency.labels(*labels).observe(time.perf_counter() - started)
        return Response(200, dump(content), (*JSON, *NOT_STORED, *served.headers))

    async def close(self) -> None:
        """End the explainer, if this worker started it."""
        await self._explainer.close()

    async def _explain(self, request: Request, body: bytes, served: Served) -> dict[str, Any]:
        model = served.model
        _refuse_unexplained(model)
        settings = read_settings(self._folder / model.name)
        if settings.decimals is not None or settings.top is not None:
            raise RequestError(
                403, "this model's answers are rounded (serve.disclose), so they are not explained"
            )
        kind = request.headers.get(b"content-type", b"").split(b";")[0].strip().lower()
        if len(body) <= _SMALL_BODY and kind in (b"", b"application/json"):
            asked = parse(body, kind, model)
        else:
            loop = asyncio.get_running_loop()
            asked = await loop.run_in_executor(self._pool, parse, body, kind, model)
        answers = (await served.batcher.submit(asked.inputs))[0]
        targets = _targets(model, asked.target, answers)
        baseline = asked.baseline
        job = {
            "path": os.path.relpath(model.path, self._folder),
            "digest": model.digest,
            "columns": _plain(asked.inputs),
            "targets": targets,
            "steps": asked.steps,
            "baseline": baseline if isinstance(baseline, str) else _plain(baseline),
        }
        rows = (await self._explainer.ask(job))["rows"]
        return {
            "model": model.name,
            "version": model.version,
            "method": METHOD,
            "explains": EXPLAINS,
            "steps": asked.steps,
            "baseline": baseline if isinstance(baseline, str) else "row",
            "explanations": [
                _explanation(model, target, float(answer[target]), row)
                for target, answer, row in zip(targets, answers, rows, strict=True)
            ],
        }


def parse(body: bytes, kind: bytes, model: Model) -> Asked:
    """A body of ``/predict`` or ``/infer``, with options, where it is JSON.

    Raises:
        RequestError: 400, it or an option is not possible; 413, too many rows; 415, its type is
            none that the model takes.
    """
    options: dict[str, Any] = {}
    if kind in (b"", b"application/json") or kind.endswith(b"+json"):
        inputs, options = _read(parse_json(body), model)
    elif (read := parser_of(kind)) is not None:
        inputs = read(body, model.inputs)
    else:
        raise RequestError(415, "send content-type application/json, or a file as to /predict")
    if (num_rows := len(next(iter(inputs.values())))) > MAX_ROWS:
        raise RequestError(
            413, f"{num_rows} rows; send at most {MAX_ROWS} to be explained in a request"
        )
    if unknown := [key for key in options if key not in _OPTIONS]:
        raise RequestError(400, f"unknown key {unknown[0][:40]!r}; there are {list(_OPTIONS)}")
    target, steps = options.get("target"), options.get("steps", STEPS)
    if target is not None and type(target) is not str:
        raise RequestError(400, f'"target" is {short(target)}; expected is a label')
    if type(steps) is not int or not 2 <= steps <= MAX_STEPS:
        raise RequestError(400, f'"steps" is {short(steps)}; expected is 2 to {MAX_STEPS}')
    return Asked(inputs, target, steps, _baseline(options.get("baseline"), model))


def _read(tree: dict[str, Any], model: Model) -> tuple[Arrays, dict[str, Any]]:
    """The inputs and the options of a JSON body."""
    options = {key: tree.pop(key) for key in _OPTIONS if key in tree}
    if "inputs" not in tree:
        if strange := [key for key in tree if key != "rows"]:
            raise RequestError(
                400, f'unknown key {strange[0][:40]!r}; beside "rows" are {list(_OPTIONS)}'
            )
        return parse_rows(tree, model.inputs), options
    if options:
        raise RequestError(
            400, f'"{next(iter(options))}" stands in "parameters" where "inputs" are sent'
        )
    given = tree.pop("parameters", None) or {}
    if type(given) is not dict:
        raise RequestError(400, '"parameters" of the request must be an object')
    return parse_infer(tree, model)[1], given


def kind_of(model: Model) -> str:
    """The kind of a model that is explained: ``image`` or ``table``."""
    return "image" if len(model.inputs) == 1 and model.inputs[0].is_image else "table"


def _baseline(given: Any, model: Model) -> str | Arrays:
    known = BASELINES[kind_of(model)]
    if given is None:
        return known[0]
    if type(given) is dict:
        try:
            return parse_rows({"rows": [given]}, model.inputs)
        except RequestError as error:
            message = error.message.replace("rows[0]", "baseline")
            raise RequestError(error.status, message) from None
    if given not in known:
        raise RequestError(
            400, f'"baseline" is {short(given)}; expected is one of {list(known)}, or a row'
        )
    return given


def _refuse_unexplained(model: Model) -> None:
    if model.explainable:
        return
    if all(tensor.type in ("audio", "text") for tensor in model.inputs):
        raise RequestError(
            501, f"models of tables and images are explained; {model.name} is of sound or text"
        )
    raise RequestError(
        501,
        f"version {model.version} of {model.name} is not explained: its package holds no "
        "network.pt2; build it again by `modelyard run`, whose log says why it may be missing",
    )


def _targets(model: Model, wanted: str | None, answers: np.ndarray) -> list[int]:
    """The class or label of each row to be explained: the one asked for, or the likeliest."""
    if wanted is None:
        return answers.argmax(axis=1).tolist()
    if model.task == "regression":
        raise RequestError(400, f'"target" is {short(wanted)}; {model.name} predicts one number')
    if wanted not in model.labels:
        near = difflib.get_close_matches(wanted[:80], model.labels, n=8, cutoff=0.0)
        raise RequestError(400, f'"target" is {short(wanted)}; the labels are {near}')
    return [model.labels.index(wanted)] * len(answers)


def _plain(columns: Arrays) -> dict[str, Any]:
    return {
        name: values.tolist() if values.dtype == object else np.ascontiguousarray(values)
        for name, values in columns.items()
    }


def _explanation(model: Model, target: int, served: float, row: dict[str, Any]) -> dict[str, Any]:
    label = {} if model.task == "regression" else {"target": model.labels[target]}
    return {
        **label,
        "score": row["score"],
        "baseline_score": row["baseline_score"],
        "served_score": served,
        "served_difference": served - row["score"],
        "convergence_delta": row["delta"],
        "attributions": row["attributions"],
    }
