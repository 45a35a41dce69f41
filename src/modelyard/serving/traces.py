"""OpenTelemetry: a span for each request, in the trace of its caller (``traceparent``).

The library is imported where traces are wanted, and sends in a thread of its own: a collector that
is away loses spans and slows nothing. Which requests are traced, and more headers for the
collector, are said by OpenTelemetry's own environment variables (``OTEL_TRACES_SAMPLER``,
``OTEL_EXPORTER_OTLP_HEADERS``, ...).
"""

import logging
import os
import threading
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from modelyard import __version__
from modelyard.serving.calls import Answered
from modelyard.serving.endings import Ended

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import ReadableSpan
    from opentelemetry.sdk.trace.export import SpanExportResult

_logger = logging.getLogger(__name__)

VARIABLES = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
_CLOSE_S = 3.0


def are_wanted(endpoint: str | None) -> bool:
    """Whether the arguments or the environment name a collector."""
    return bool(endpoint) or any(os.environ.get(name) for name in VARIABLES)


class Traces:
    """Makes spans; ``observe`` and ``end`` are called in the event loop.

    Args:
        endpoint: Base address of a collector that speaks OTLP over HTTP, as
            ``http://127.0.0.1:4318``; None for the environment's.
    """

    def __init__(self, endpoint: str | None = None) -> None:
        from opentelemetry import trace
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.resources import SERVICE_NAME, Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
        from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

        # It says the same of each span that is lost; _Told says it once.
        logging.getLogger("opentelemetry").setLevel(logging.CRITICAL + 1)
        address = f"{endpoint.rstrip('/')}/v1/traces" if endpoint else None
        name = os.environ.get("OTEL_SERVICE_NAME", "modelyard")
        self._provider = TracerProvider(
            resource=Resource.create({SERVICE_NAME: name}), shutdown_on_exit=False
        )
        exporter: Any = _Told(OTLPSpanExporter(endpoint=address))
        self._provider.add_span_processor(BatchSpanProcessor(exporter))
        self._tracer = self._provider.get_tracer("modelyard.serving", __version__)
        self._extract = TraceContextTextMapPropagator().extract
        self._trace = trace
        self._rows: dict[int, int] = {}

    def observe(self, answered: Answered) -> None:
        """Remember how many rows a request has."""
        self._rows[id(answered.request)] = len(answered.outputs[0])

    def end(self, ended: Ended) -> None:
        """Make the span of a request."""
        request, status = ended.request, ended.response.status
        given = request.headers
        carrier = {
            name.decode(): given[name].decode("latin-1")
            for name in (b"traceparent", b"tracestate")
            if name in given
        }
        attributes: dict[str, str | int] = {
            "http.request.method": ended.method,
            "url.path": ended.shown_path,
            "http.response.status_code": status,
            "modelyard.request_id": request.id.decode("ascii"),
        }
        if ended.model is not None:
            attributes["modelyard.model"], attributes["modelyard.version"] = ended.model
        if (num_rows := self._rows.pop(id(request), None)) is not None:
            attributes["modelyard.rows"] = num_rows
        # What nobody serves has any number of paths, and a span's name few.
        name = ended.method if status in (404, 405) else f"{ended.method} {ended.shown_path}"
        span = self._tracer.start_span(
            name,
            context=self._extract(carrier),
            kind=self._trace.SpanKind.SERVER,
            attributes=attributes,
            start_time=ended.began,
        )
        if status >= 500:
            span.set_status(self._trace.StatusCode.ERROR)
        span.end(time.time_ns())

    def close(self) -> None:
        """Send what waits, for ``_CLOSE_S`` at most."""
        closing = threading.Thread(target=self._provider.shutdown, daemon=True)
        closing.start()
        closing.join(_CLOSE_S)


class _Told:
    """An exporter that says once when spans are lost, and when they arrive again."""

    def __init__(self, exporter: Any) -> None:
        self._exporter = exporter
        self._lost = False

    def export(self, spans: "Sequence[ReadableSpan]") -> "SpanExportResult":
        from opentelemetry.sdk.trace.export import SpanExportResult

        result = self._exporter.export(spans)
        lost = result is not SpanExportResult.SUCCESS
        if lost and not self._lost:
            _logger.warning("the collector of traces cannot be reached; spans are lost")
        elif self._lost and not lost:
            _logger.info("the collector of traces is there again")
        self._lost = lost
        return result

    def shutdown(self) -> None:
        self._exporter.shutdown()

    def force_flush(self, timeout_millis: int = 30000) -> bool:
        return self._exporter.force_flush(timeout_millis)
