"""The ASGI application: its parts, its table of paths, its life.

It is bare ASGI: of a request's time most is JSON and the model's, and a framework's routing would
double the rest.
"""

import asyncio
import logging
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

from modelyard.serving.batcher import BatchLimits
from modelyard.serving.calls import Calls, failed
from modelyard.serving.failures import RequestError
from modelyard.serving.folder import register_worker, unregister_worker
from modelyard.serving.guard import Guard, refuse_model
from modelyard.serving.http import (
    JSON,
    MAX_BODY,
    NOT_SNIFFED,
    NOT_STORED,
    ClientGone,
    Headers,
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
    """

    def __init__(
        self,
        folder: Path,
        worker: str,
        limits: BatchLimits | None = None,
        max_body: int = MAX_BODY,
        max_body_s: float = MAX_BODY_S,
        keys: KeyFile | None = None,
    ) -> None:
        self.metrics = Metrics()
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
        self._metadata = Metadata(self.table, self.watcher, self.metrics, bodies)
        self._routes = self._make_routes()

    def drain(self) -> None:
        """Be ready no longer; what has begun, and what still comes, is answered."""
        self._metadata.draining = True

    def _make_routes(self) -> Routes:
        calls, metadata, pages = self._calls, self._metadata, Pages(self.table)
        return Routes(
            Route("POST", "/v2/models/*/infer", calls.infer),
            Route("POST", "/v2/models/*/versions/*/infer", calls.infer),
            Route("POST", "/predict", calls.predict),
            Route("POST", "/predict/*", calls.predict),
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
        given = dict(scope["headers"])
        number = request_id(given)
        headers: Headers = ((b"x-request-id", number), *NOT_SNIFFED)
        try:
            key = self._guard.check(scope["path"], given)
            handler, parts = self._routes.find(scope["method"], scope["path"])
            if key is not None and parts:
                refuse_model(key, parts[0])
            client = scope.get("client")
            request = Request(
                given,
                receive,
                key,
                number,
                scope.get("query_string", b""),
                client[0] if client else "",
            )
            response = await handler(request, *parts)
        except ClientGone:
            return
        except RequestError as error:
            response = _refusal(error)
        except Exception:
            _logger.exception("a request failed")
            response = _refusal(failed())
        if response.status >= 400:
            self.metrics.failures.labels(str(response.status)).inc()
        await respond(send, response, headers)


def _refusal(error: RequestError) -> Response:
    content = dump({"error": error.message})
    return Response(error.status, content, (*error.headers, *JSON, *NOT_STORED))
