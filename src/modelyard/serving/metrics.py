"""Prometheus metrics of one server process.

Labels are names of served models alone, never what a caller sent, so that their number is bounded.
"""

import os

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector

_SECONDS = (0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5)
_LONG_SECONDS = (0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30)
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
        self.explanations = Counter(
            "modelyard_explanations", "Requests for an explanation", _LABELS, registry=registry
        )
        self.explanation_latency = Histogram(
            "modelyard_explanation_seconds",
            "From the whole body to the explanation",
            _LABELS,
            buckets=_LONG_SECONDS,
            registry=registry,
        )
        self.swaps = Counter(
            "modelyard_swaps", "Versions that went live here", ("model",), registry=registry
        )
        self.refusals = Counter(
            "modelyard_refusals", "Versions refused here", ("model",), registry=registry
        )
        self.log_dropped = Counter(
            "modelyard_log_dropped",
            "Requests that the prediction log should hold and does not",
            ("model",),
            registry=registry,
        )
        self.shadow_requests = self._of_shadows("requests", "Requests whose copy a shadow answered")
        self.shadow_rows = self._of_shadows("rows", "Rows that a shadow answered")
        self.shadow_differences = self._of_shadows(
            "differences", "Rows where a shadow's scores differ from the live version's"
        )
        self.shadow_other_labels = self._of_shadows(
            "other_labels", "Rows where a shadow's label differs from the live version's"
        )
        self.shadow_errors = self._of_shadows("errors", "Requests that a shadow failed at")
        self.shadow_dropped = self._of_shadows("dropped", "Requests that a shadow was too busy for")
        self.shadow_seconds = Histogram(
            "modelyard_shadow_seconds",
            "How long a shadow computed for a request",
            _LABELS,
            buckets=_SECONDS,
            registry=registry,
        )
        self.version = Gauge(
            "modelyard_live_version",
            "The version that answers; 0 where none does any more",
            ("model",),
            registry=registry,
            multiprocess_mode="livemostrecent",
        )

    def _of_shadows(self, name: str, said: str) -> Counter:
        return Counter(f"modelyard_shadow_{name}", said, _LABELS, registry=self.registry)

    def page(self) -> bytes:
        """The metrics in Prometheus' text format; of several workers those of all together."""
        if "PROMETHEUS_MULTIPROC_DIR" not in os.environ:
            return generate_latest(self.registry)
        registry = CollectorRegistry()
        MultiProcessCollector(registry)
        return generate_latest(registry)
