"""Prometheus metrics of one server process.

Labels are names of served models alone, never what a caller sent, so that their number is bounded.
"""

import os

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector

_SECONDS = (0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5)
_ROWS = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024)
_LABELS = ("model", "version")


class VersionMetrics:
    """The metrics of one version, looked up once, as that costs more than counting."""

    def __init__(self, metrics: "Metrics", name: str, version: int) -> None:
        labels = (name, str(version))
        self.requests = metrics.requests.labels(*labels)
        self.errors = metrics.errors.labels(*labels)
        self.latency = metrics.latency.labels(*labels)
        self.batch_rows = metrics.batch_rows.labels(*labels)


class Metrics:
    """All metrics, in a registry of their own so that several apps can live in one process."""

    def __init__(self) -> None:
        registry = self.registry = CollectorRegistry()
        self.requests = Counter(
            "modelyard_requests", "Requests for a prediction", _LABELS, registry=registry
        )
        self.errors = Counter(
            "modelyard_errors", "Requests that got none", _LABELS, registry=registry
        )
        self.failures = Counter(
            "modelyard_error_responses", "Error responses", ("status",), registry=registry
        )
        self.latency = Histogram(
            "modelyard_request_seconds",
            "From the whole body to the answer",
            _LABELS,
            buckets=_SECONDS,
            registry=registry,
        )
        self.batch_rows = Histogram(
            "modelyard_batch_rows", "Rows in a batch", _LABELS, buckets=_ROWS, registry=registry
        )
        self.swaps = Counter(
            "modelyard_swaps", "Versions that went live here", ("model",), registry=registry
        )
        self.refusals = Counter(
            "modelyard_refusals", "Versions refused here", ("model",), registry=registry
        )
        self.version = Gauge(
            "modelyard_live_version",
            "The version that answers",
            ("model",),
            registry=registry,
            multiprocess_mode="livemostrecent",
        )

    def page(self) -> bytes:
        """The metrics in Prometheus' text format; of several workers those of all together."""
        if "PROMETHEUS_MULTIPROC_DIR" not in os.environ:
            return generate_latest(self.registry)
        registry = CollectorRegistry()
        MultiProcessCollector(registry)
        return generate_latest(registry)
