"""A call for a prediction, from body to answer, the same way for each of the APIs."""

import asyncio
import logging
import time
from collections.abc import Callable
from concurrent.futures import Executor
from contextlib import suppress
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from modelyard.serving import binary
from modelyard.serving.bodies import Arrays, parse_csv, parser_of
from modelyard.serving.canary import choose
from modelyard.serving.disclose import disclose
from modelyard.serving.failures import RequestError, busy
from modelyard.serving.guard import refuse_model
from modelyard.serving.http import (
    JSON,
    NOT_STORED,
    Headers,
    Request,
    Response,
    dump,
)
from modelyard.serving.invocations import (
    parse_invocation,
    read_invocation,
    render_invocation,
)
from modelyard.serving.model import Model
from modelyard.serving.predictions import render_predictions
from modelyard.serving.protocol import parse_infer, read_binary, render_infer
from modelyard.serving.queries import cacheable, parse_query
from modelyard.serving.reading import BodyReader
from modelyard.serving.rows import parse_json, parse_rows
from modelyard.serving.table import ModelTable, Served

_logger = logging.getLogger(__name__)

Read = Callable[[bytes, Model], tuple[Any, Arrays]]
"""A body to what the answer depends on, None for most, and the model's inputs."""

_JSON_TYPES = (b"", b"application/json")
# Converting more than this takes long enough to be noticed by the other callers, if done in the
# event loop.
_LARGE_BODY = 256 * 1024
# Bytes of large bodies that may wait for their turn.
_MAX_CONVERTED = 256 * 1024 * 1024
# Of these a small body may hold much.
_PACKED_TYPES = (b"image/", b"audio/")


class Answered(NamedTuple):
    """A request for a prediction that was answered; ``seconds`` from its whole body to now.

    ``inputs`` and ``outputs`` are what the model was given and gave, [rows, ...] each.
    """

    request: Request
    served: Served
    inputs: Arrays
    outputs: list[np.ndarray]
    seconds: float


Observer = Callable[[Answered], None]
"""Called in the event loop before the answer is sent: it must not wait, nor raise."""


class Api(NamedTuple):
    """How requests of one kind are read and answered.

    ``reader`` takes the headers and the content type and raises RequestError, 415, for a body that
    nothing reads; ``render`` gives the answer's body and the headers that say what it is.
    """

    reader: Callable[[dict[bytes, bytes], bytes], Read]
    render: Callable[[Any, Model, list[Any]], tuple[bytes, Headers]]


class Calls:
    """Answers calls out of a table of models.

    Args:
        table: Whose models.
        bodies: Reads them.
        pool: Where large bodies are converted.
    """

    def __init__(self, table: ModelTable, bodies: BodyReader, pool: Executor) -> None:
        self._table = table
        self._bodies = bodies
        self._pool = pool
        self._num_converted = 0
        self.observers: list[Observer] = []

    async def infer(self, request: Request, *names: str) -> Response:
        """The Open Inference Protocol; ``names`` are a model's, or its and a version's."""
        return await self._answer(request, names, _INFER)

    async def predict(self, request: Request, *names: str) -> Response:
        """Rows as JSON or CSV, or one picture, sound or text; ``names`` are a model's or none."""
        return await self._answer(request, names, _PREDICT)

    async def invocations(self, request: Request, *names: str) -> Response:
        """As MLflow's scoring server; ``names`` are a model's or none."""
        return await self._answer(request, names, _INVOCATIONS)

    async def query(self, request: Request, *names: str) -> Response:
        """One small row in the address, as ``/predict``; its caller may keep the answer."""
        read = partial(_read_query, request.query)
        api = Api(lambda *_: read, _render_rows)
        return cacheable(request, await self._answer(request, names, api))

    def takes_query(self, *names: str) -> bool:
        """Whether a row of the model fits in an address."""
        try:
            return all(tensor.is_scalar for tensor in self._find(names).model.inputs)
        except RequestError:
            return True

    async def _answer(self, request: Request, names: tuple[str, ...], api: Api) -> Response:
        try:
            body = await self._bodies.read(request)
        except RequestError as error:
            with suppress(RequestError):
                error.headers = (*error.headers, *self._find(names).headers)
            raise
        # Looked up once the body is here: the model is the one that is live when the request is
        # whole.
        served, tally = self._find(names), None
        if self._table.canaries and len(names) < 2:
            served, tally = choose(self._table.canaries, served, request)
        refuse_model(request.key, served.model.name)
        started = time.perf_counter()
        served.metrics.requests.inc()
        try:
            asked, inputs = await self._read(request.headers, body, served.model, api)
            outputs = await served.batcher.submit(inputs)
            settings = self._table.settings.get(served.model.name)
            shown = outputs
            if settings is not None and settings.hides:
                shown = disclose(served.model, outputs, settings)
            content, headers = api.render(asked, served.model, shown)
        except RequestError as error:
            served.metrics.errors.inc()
            if tally is not None and await self._is_ours(error, request, body, served, api):
                tally.fail()
            error.headers = (*error.headers, *served.headers)
            raise
        except Exception:
            served.metrics.errors.inc()
            if tally is not None:
                tally.fail()
            about = {"model": served.model.name, "version": served.model.version}
            about["request_id"] = request.id.decode("ascii")
            _logger.exception("model %s failed at a request", served.model.name, extra=about)
            raise failed(served) from None
        seconds = time.perf_counter() - started
        served.metrics.latency.observe(seconds)
        if tally is not None:
            tally.answer(seconds)
        for observe in self.observers:
            observe(Answered(request, served, inputs, outputs, seconds))
        return Response(200, content, (*headers, *NOT_STORED, *served.headers))

    def _find(self, names: tuple[str, ...]) -> Served:
        return self._table.find(*names) if names else self._table.only()

    async def _is_ours(
        self, error: RequestError, request: Request, body: bytes, served: Served, api: Api
    ) -> bool:
        """Whether a refused request counts against its version, not its caller.

        One that the canary refuses and the live version answers does: a schema that takes less than
        before is the canary's fault.
        """
        if error.status == 429 or error.status >= 500:
            return True
        try:
            live = self._table.find(served.model.name)
            if live is served:
                return False
            _, inputs = await self._read(request.headers, body, live.model, api)
            await live.batcher.submit(inputs)
        except Exception:  # whatever it is: the live version does no better
            return False
        return True

    async def _read(
        self, given: dict[bytes, bytes], body: bytes, model: Model, api: Api
    ) -> tuple[Any, Arrays]:
        kind = given.get(b"content-type", b"")
        if kind != b"application/json":
            kind = kind.split(b";")[0].strip().lower()
        if given.get(b"content-encoding", b"identity") not in (b"", b"identity"):
            raise RequestError(415, "send the body without a content-encoding")
        read = api.reader(given, kind)
        if len(body) <= _LARGE_BODY and not kind.startswith(_PACKED_TYPES):
            return read(body, model)
        if self._num_converted * self._bodies.max_body >= _MAX_CONVERTED:
            raise busy()
        self._num_converted += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(self._pool, read, body, model)
        finally:
            self._num_converted -= 1


def failed(served: Served | None = None) -> RequestError:
    """What a caller hears of a fault of ours: nothing of its inside."""
    return RequestError(
        500,
        "the server failed at this request; its log has the details",
        served.headers if served else (),
    )


def _is_json(kind: bytes) -> bool:
    return kind in _JSON_TYPES or kind.endswith(b"+json")


def _infer_reader(given: dict[bytes, bytes], kind: bytes) -> Read:
    length = given.get(binary.HEADER)
    if length is not None:
        if kind and _is_json(kind) and not length.strip(b"0"):
            raise RequestError(
                400,
                "no JSON stands before the bytes, as Inference-Header-Content-Length is 0: send "
                "content-type application/octet-stream, or leave that header out",
            )
        return partial(_read_binary, length)
    if _is_json(kind):
        return _read_infer
    raise RequestError(
        415,
        "send content-type application/json, or tensors as bytes behind a JSON header with its "
        "length in Inference-Header-Content-Length",
    )


def _read_infer(body: bytes, model: Model) -> tuple[Any, Arrays]:
    return parse_infer(parse_json(body), model)


def _read_binary(length: bytes, body: bytes, model: Model) -> tuple[Any, Arrays]:
    return read_binary(body, length, model)


def _predict_reader(_: dict[bytes, bytes], kind: bytes) -> Read:
    if _is_json(kind):
        return _read_rows
    parse = parser_of(kind)
    if parse is None:
        raise RequestError(
            415,
            "send content-type application/json; /predict takes pictures (image/png, "
            "image/jpeg, ...), audio/wav, text/plain and text/csv as well",
        )
    return lambda body, model: (None, parse(body, model.inputs))


def _read_rows(body: bytes, model: Model) -> tuple[Any, Arrays]:
    return None, parse_rows(parse_json(body), model.inputs)


def _read_query(query: bytes, _: bytes, model: Model) -> tuple[Any, Arrays]:
    return None, parse_query(query, model)


def _render_rows(_: Any, model: Model, outputs: list[Any]) -> tuple[bytes, Headers]:
    return dump(render_predictions(model, outputs[0])), JSON


def _invocations_reader(_: dict[bytes, bytes], kind: bytes) -> Read:
    if _is_json(kind):
        return lambda body, model: (None, parse_invocation(read_invocation(body), model.inputs))
    if kind == b"text/csv":
        return lambda body, model: (None, parse_csv(body, model.inputs))
    raise RequestError(415, "send content-type application/json or text/csv")


def _render_invocation(_: Any, model: Model, outputs: list[Any]) -> tuple[bytes, Headers]:
    return dump(render_invocation(model, outputs[0])), JSON


_INFER = Api(_infer_reader, render_infer)
_PREDICT = Api(_predict_reader, _render_rows)
_INVOCATIONS = Api(_invocations_reader, _render_invocation)
