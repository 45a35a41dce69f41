"""The ASGI application: predictions on a short path, a few small pages beside it.

It is bare ASGI: of a request's time most is JSON and the model's, and a framework's routing would
double the rest.
"""

import asyncio
import logging
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

from modelyard import __version__
from modelyard.serving.batcher import BatchLimits
from modelyard.serving.bodies import Arrays, parser_of
from modelyard.serving.failures import RequestError, unavailable
from modelyard.serving.folder import register_worker, unregister_worker
from modelyard.serving.http import (
    JSON,
    MAX_BODY,
    ClientGone,
    Headers,
    Receive,
    Scope,
    Send,
    dump,
    header,
    read_body,
    request_id,
    respond,
)
from modelyard.serving.metrics import Metrics
from modelyard.serving.protocol import describe, parse_infer, render_infer, render_predictions
from modelyard.serving.rows import parse_json, parse_rows
from modelyard.serving.table import ModelTable, Served
from modelyard.serving.watch import Watcher

_logger = logging.getLogger(__name__)

_TEXT: Headers = ((b"content-type", b"text/plain; version=0.0.4; charset=utf-8"),)
_JSON_TYPES = (b"", b"application/json")
# Converting more than this takes long enough to be noticed by the other callers, if done in the
# event loop.
_LARGE_BODY = 256 * 1024
# Of these a small body may hold much.
_PACKED_TYPES = (b"image/", b"audio/")


class App:
    """One worker's application.

    Args:
        folder: The serving folder.
        worker: This worker's id.
        limits: Of the batches.
        max_body: Bytes of a request's body at most.
    """

    def __init__(
        self,
        folder: Path,
        worker: str,
        limits: BatchLimits | None = None,
        max_body: int = MAX_BODY,
    ) -> None:
        self.draining = False
        self.metrics = Metrics()
        self._folder = folder
        self._worker = worker
        self._max_body = max_body
        self._compute = ThreadPoolExecutor(1, "compute")
        self._load = ThreadPoolExecutor(1, "load")
        self._convert = ThreadPoolExecutor(1, "convert")
        self.table = ModelTable(self._compute, self.metrics, limits or BatchLimits())
        self.watcher = Watcher(folder, worker, self.table, self.metrics, self._load)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one ASGI connection."""
        if scope["type"] == "http":
            await self._http(scope, receive, send)
        elif scope["type"] == "lifespan":
            await self._lifespan(receive, send)
        else:
            await send({"type": "websocket.close", "code": 1003})

    async def _lifespan(self, receive: Receive, send: Send) -> None:
        await receive()
        try:
            lock = register_worker(self._folder, self._worker)
        except OSError as error:
            await send({"type": "lifespan.startup.failed", "message": str(error)})
            return
        watching = asyncio.create_task(self.watcher.run())
        await send({"type": "lifespan.startup.complete"})
        await receive()
        watching.cancel()
        with suppress(asyncio.CancelledError):
            await watching
        for pool in (self._convert, self._load, self._compute):
            pool.shutdown(wait=True, cancel_futures=True)
        unregister_worker(self._folder, self._worker, lock)
        await send({"type": "lifespan.shutdown.complete"})

    async def _http(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers: Headers = ((b"x-request-id", request_id(scope)),)
        try:
            status, body, extra = await self._route(scope, receive)
        except ClientGone:
            return
        except RequestError as error:
            status, body = error.status, dump({"error": error.message})
            extra = (*error.headers, *JSON)
        except Exception:
            _logger.exception("a request failed")
            status = 500
            body = dump({"error": "the server failed at this request; its log has the details"})
            extra = JSON
        if status >= 400:
            self.metrics.failures.labels(str(status)).inc()
        await respond(send, status, body, (*headers, *extra))

    async def _route(self, scope: Scope, receive: Receive) -> tuple[int, bytes, Headers]:
        """Answer with status, body and headers."""
        path = scope["path"]
        if scope["method"] == "POST":
            match path.split("/"):
                case ["", "v2", "models", name, "infer"]:
                    return await self._predict(scope, receive, self.table.find, (name,), True)
                case ["", "v2", "models", name, "versions", version, "infer"]:
                    return await self._predict(
                        scope, receive, self.table.find, (name, version), True
                    )
                case ["", "predict"]:
                    return await self._predict(scope, receive, self.table.only, (), False)
                case ["", "predict", name]:
                    return await self._predict(scope, receive, self.table.find, (name,), False)
        return self._page(scope["method"], path)

    async def _predict(
        self, scope: Scope, receive: Receive, find: Any, key: tuple[str, ...], protocol: bool
    ) -> tuple[int, bytes, Headers]:
        body = await read_body(scope, receive, self._max_body)
        # Looked up once the body is here: the model is the one that is live when the request is
        # whole.
        served: Served = find(*key)
        started = time.perf_counter()
        served.metrics.requests.inc()
        try:
            tree, inputs = await self._inputs(scope, body, served, protocol)
            outputs = await served.batcher.submit(inputs)
            if protocol:
                answer = render_infer(tree, served.model, outputs)
            else:
                answer = render_predictions(served.model, outputs[0])
        except RequestError as error:
            served.metrics.errors.inc()
            error.headers = (*error.headers, *served.headers)
            raise
        except Exception:
            served.metrics.errors.inc()
            raise
        content = dump(answer)
        served.metrics.latency.observe(time.perf_counter() - started)
        return 200, content, (*JSON, *served.headers)

    async def _inputs(
        self, scope: Scope, body: bytes, served: Served, protocol: bool
    ) -> tuple[dict[str, Any], Arrays]:
        kind = header(scope, b"content-type").split(b";")[0].strip().lower()
        if header(scope, b"content-encoding") not in (b"", b"identity"):
            raise RequestError(415, "send the body without a content-encoding")
        if header(scope, b"inference-header-content-length"):
            raise RequestError(415, "binary tensors are not served; send JSON data")
        if kind in _JSON_TYPES or kind.endswith(b"+json"):
            convert = _infer if protocol else _rows
        else:
            parse = None if protocol else parser_of(kind)
            if parse is None:
                raise RequestError(
                    415,
                    "send content-type application/json; /predict takes pictures (image/png, "
                    "image/jpeg, ...), audio/wav, text/plain and text/csv as well",
                )
            convert = partial(_other, parse)
        if len(body) <= _LARGE_BODY and not kind.startswith(_PACKED_TYPES):
            return convert(body, served)
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._convert, convert, body, served)

    def _page(self, method: str, path: str) -> tuple[int, bytes, Headers]:
        allowed = "POST" if path.startswith("/predict") or path.endswith("/infer") else "GET, HEAD"
        if method not in allowed.split(", "):
            raise RequestError(
                405, f"{path[:60]} takes {allowed} alone", ((b"allow", allowed.encode()),)
            )
        match path.split("/"):
            case ["", "v2", "models", name, *rest]:
                return self._model_page(name, rest)
            case ["", "metrics"]:
                return 200, self.metrics.page(), _TEXT
            case ["", "v2"]:
                page: Any = {"name": "modelyard", "version": __version__, "extensions": []}
            case ["", "v2", "health", "live"]:
                page = {"live": True}
            case ["", "v2", "health", "ready"]:
                self._check_ready()
                page = {"ready": True}
            case ["", "health" | "ping"]:
                self._check_ready()
                page = {"status": "ok", "models": self._models()}
            case ["", "version"]:
                page = {"modelyard": __version__}
            case _:
                raise _unknown(path)
        return 200, dump(page), JSON

    def _model_page(self, name: str, rest: list[str]) -> tuple[int, bytes, Headers]:
        match rest:
            case [] | ["ready"]:
                served = self.table.find(name)
            case ["versions", version] | ["versions", version, "ready"]:
                served = self.table.find(name, version)
            case _:
                raise _unknown(f"/v2/models/{name}/{'/'.join(rest)}")
        entry = self.table.entries[served.model.name]
        versions = sorted(other.model.version for other in entry.warm)
        page = {"ready": True} if rest[-1:] == ["ready"] else describe(served.model, versions)
        return 200, dump(page), (*JSON, *served.headers)

    def _models(self) -> dict[str, Any]:
        return {
            name: {"version": entry.live.model.version, "digest": entry.live.model.digest}
            for name, entry in self.table.entries.items()
        }

    def _check_ready(self) -> None:
        if self.draining:
            raise unavailable("this server is stopping")
        if not self.watcher.scanned:
            raise unavailable("this server is starting")
        if self.table.pending:
            raise unavailable(f"not loaded yet: {', '.join(sorted(self.table.pending))}")


def _infer(body: bytes, served: Served) -> tuple[dict[str, Any], Arrays]:
    tree = parse_json(body)
    return tree, parse_infer(tree, served.model)


def _rows(body: bytes, served: Served) -> tuple[dict[str, Any], Arrays]:
    tree = parse_json(body)
    return tree, parse_rows(tree, served.model.inputs)


def _other(parse: Any, body: bytes, served: Served) -> tuple[dict[str, Any], Arrays]:
    return {}, parse(body, served.model.inputs)


def _unknown(path: str) -> RequestError:
    return RequestError(
        404,
        f"there is nothing at {path[:60]!r}; try POST /predict, POST /v2/models/NAME/infer, "
        "GET /v2/models/NAME, /v2/health/ready, /health, /metrics or /version",
    )
