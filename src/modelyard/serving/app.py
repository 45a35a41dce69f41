"""The ASGI application: its parts, its table of paths, its life.

It is bare ASGI: of a request's time most is JSON and the model's, and a framework's routing would
double the rest.
"""

import asyncio
import logging
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from modelyard.serving.batcher import BatchLimits
from modelyard.serving.calls import Calls, Observer, failed
from modelyard.serving.endings import Ended, Ending
from modelyard.serving.explanations import Explanations
from modelyard.serving.failures import RequestError
from modelyard.serving.folder import register_worker, unregister_worker
from modelyard.serving.guard import Guard, refuse_model
from modelyard.serving.http import (
    JSON,
    MAX_BODY,
    NOT_SNIFFED,
    NOT_STORED,
    OVER_TLS,
    ClientGone,
    Receive,
    Request,
    Response,
    Scope,
    Send,
    dump,
    request_id,
    respond,
)
from modelyard.serving.keys import KeyFile
from modelyard.serving.metadata import Metadata
from modelyard.serving.metrics import Metrics
from modelyard.serving.pages import Pages
from modelyard.serving.prediction_log import PredictionLog
from modelyard.serving.reading import MAX_BODY_S, BodyReader
from modelyard.serving.routes import Route, Routes
from modelyard.serving.table import ModelTable
from modelyard.serving.watch import Watcher

_logger = logging.getLogger(__name__)


class App:
    """One worker's application.

    Args:
        folder: The serving folder.
        worker: This worker's id.
        limits: Of the batches.
        max_body: Bytes of a request's body at most.
        max_body_s: Seconds that a body may take to come.
        keys: Of callers; without them everybody may ask.
        over_tls: Whether callers come by TLS, and shall never come otherwise.
    """

    def __init__(
        self,
        folder: Path,
        worker: str,
        limits: BatchLimits | None = None,
        max_body: int = MAX_BODY,
        max_body_s: float = MAX_BODY_S,
        keys: KeyFile | None = None,
        over_tls: bool = False,
    ) -> None:
        self.metrics = Metrics()
        self.endings: list[Ending] = []
        self._headers = (*NOT_SNIFFED, *OVER_TLS) if over_tls else NOT_SNIFFED
        self._guard = Guard(keys)
        self._folder = folder
        self._worker = worker
        self._compute = ThreadPoolExecutor(1, "compute")
        self._load = ThreadPoolExecutor(1, "load")
        self._convert = ThreadPoolExecutor(1, "convert")
        self.table = ModelTable(self._compute, self.metrics, limits or BatchLimits())
        self.watcher = Watcher(folder, worker, self.table, self.metrics, self._load)
        bodies = BodyReader(max_body, max_body_s)
        self._calls = Calls(self.table, bodies, self._convert)
        self.watcher.shadows.observers = self._calls.observers
        self._log = PredictionLog(folder, worker, self.table, self.metrics, self._calls.observers)
        self.watcher.settings_changed = self._log.follow_settings
        self.closing: list[Callable[[], None]] = [self._log.close]
        self._explanations = Explanations(self.table, bodies, self._convert, self.metrics, folder)
        self._metadata = Metadata(self.table, self.watcher, self.metrics, bodies)
        self._routes = self._make_routes()

    @property
    def observers(self) -> list[Observer]:
        """Of answered requests for a prediction."""
        return self._calls.observers

    def drain(self) -> None:
        """Be ready no longer; what has begun, and what still comes, is answered."""
        self._metadata.draining = True

    def _make_routes(self) -> Routes:
        calls, metadata, pages = self._calls, self._metadata, Pages(self.table)
        explain = self._explanations.explain
        return Routes(
            Route("POST", "/v2/models/*/infer", calls.infer),
            Route("POST", "/v2/models/*/versions/*/infer", calls.infer),
            Route("POST", "/v2/models/*/explain", explain),
            Route("POST", "/v2/models/*/versions/*/explain", explain),
            Route("POST", "/predict", calls.predict),
            Route("POST", "/predict/*", calls.predict),
            Route("GET", "/predict", calls.query, calls.takes_query),
            Route("GET", "/predict/*", calls.query, calls.takes_query),
            Route("POST", "/invocations", calls.invocations),
            Route("POST", "/invocations/*", calls.invocations),
            Route("GET", "/", pages.index),
            Route("GET", "/models/*", pages.model),
            Route("GET", "/models/*/form", pages.form),
            Route("GET", "/openapi.json", pages.openapi),
            Route("GET", "/v2", metadata.server),
            Route("GET", "/v2/health/live", metadata.live),
            Route("GET", "/v2/health/ready", metadata.ready),
            Route("GET", "/v2/models/*", metadata.model),
            Route("GET", "/v2/models/*/ready", metadata.model_ready),
            Route("GET", "/v2/models/*/versions/*", metadata.model),
            Route("GET", "/v2/models/*/versions/*/ready", metadata.model_ready),
            Route("POST", "/v2/repository/index", metadata.repository),
            Route("POST", "/v2/repository/models/*/load", metadata.change_repository),
            Route("POST", "/v2/repository/models/*/unload", metadata.change_repository),
            Route("GET", "/health", metadata.health),
            Route("GET", "/ping", metadata.health),
            Route("GET", "/version", metadata.version),
            Route("GET", "/metrics", metadata.metrics),
        )

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
        watching = [asyncio.create_task(work) for work in (self.watcher.run(), self._log.tidy())]
        await send({"type": "lifespan.startup.complete"})
        await receive()
        for task in watching:
            task.cancel()
        await asyncio.gather(*watching, return_exceptions=True)
        await self.watcher.close()
        await asyncio.gather(*(asyncio.to_thread(close) for close in self.closing))
        await self._explanations.close()
        for pool in (self._convert, self._load, self._compute):
            pool.shutdown(wait=True, cancel_futures=True)
        unregister_worker(self._folder, self._worker, lock)
        await send({"type": "lifespan.shutdown.complete"})

    async def _http(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(dict(scope["headers"]), receive)
        request.query, client = scope.get("query_string", b""), scope.get("client")
        request.client = client[0] if client else ""
        response = await self.answer(scope["method"], scope["path"], request)
        if response is not None:
            await respond(send, response)

    async def answer(self, method: str, path: str, request: Request) -> Response | None:
        """The whole answer to a request; None where its caller is gone."""
        given = request.headers
        request.id = request_id(given)
        began = time.time_ns() if self.endings else 0
        try:
            key = request.key = self._guard.check(path, given)
            handler, parts = self._routes.find(method, path)
            if key is not None and parts:
                refuse_model(key, parts[0])
            response = await handler(request, *parts)
        except ClientGone:
            return None
        except RequestError as error:
            response = _refusal(error)
        except Exception:
            _logger.exception("a request failed", extra={"request_id": request.id.decode()})
            response = _refusal(failed())
        if response.status >= 400:
            self.metrics.failures.labels(str(response.status)).inc()
        headers = ((b"x-request-id", request.id), *self._headers, *response.headers)
        response = Response(response.status, response.body, headers)
        for end in self.endings:
            end(Ended(method, path, request, response, began))
        return response


def _refusal(error: RequestError) -> Response:
    content = dump({"error": error.message})
    return Response(error.status, content, (*error.headers, *JSON, *NOT_STORED))
