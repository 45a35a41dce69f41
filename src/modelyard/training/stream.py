"""Curves to MLflow while the training runs, best effort: one queue, one thread, plain REST.

The training neither waits for MLflow nor fails with it; what is lost here is in ``history.json``
and is recorded later.
"""

import base64
import http.client
import json
import logging
import queue
import threading
import time
import urllib.error
import urllib.parse
import urllib.request

from modelyard.training.context import Stream

_logger = logging.getLogger(__name__)

_PERIOD_S = 0.5
_TIMEOUT_S = 5.0
_PAUSE_S = 10.0
_FLUSH_S = 2.0
_MOST = 1000  # MLflow takes at most 1000 metrics a call
_CAPACITY = 20_000


class Curves:
    """Posts metrics from a thread of its own; does nothing without a ``stream``."""

    def __init__(self, stream: Stream | None) -> None:
        self._stream = stream
        self._queue: queue.Queue[dict[str, object]] = queue.Queue(_CAPACITY)
        self._closing = threading.Event()
        self._lost = False
        self._thread = threading.Thread(target=self._run, name="curves", daemon=True)
        if stream is not None:
            self._thread.start()

    def put(self, step: int, **metrics: float) -> None:
        """Hand over the values of one step; they are dropped when the queue is full."""
        if self._stream is None:
            return
        now = int(time.time() * 1000)
        for key, value in metrics.items():
            try:
                self._queue.put_nowait({"key": key, "value": value, "timestamp": now, "step": step})
            except queue.Full:
                return

    def close(self) -> None:
        """Post what is left, waiting two seconds at most, and not at all when MLflow was away."""
        self._closing.set()
        if self._stream is not None and not self._lost:
            self._thread.join(_FLUSH_S)

    def _run(self) -> None:
        assert self._stream is not None
        while True:
            closing = self._closing.wait(_PERIOD_S)
            while metrics := self._take():
                if not _post(self._stream, metrics):
                    if not self._lost:
                        _logger.warning("MLflow does not take curves now; the training goes on")
                    self._lost = True
                    if self._closing.wait(_PAUSE_S):
                        return
                    break
                self._lost = False
            if closing:
                return

    def _take(self) -> list[dict[str, object]]:
        taken: list[dict[str, object]] = []
        while len(taken) < _MOST:
            try:
                taken.append(self._queue.get_nowait())
            except queue.Empty:
                break
        return taken


def _post(stream: Stream, metrics: list[dict[str, object]]) -> bool:
    """Call MLflow's ``runs/log-batch``; false when that did not succeed."""
    try:
        parts = urllib.parse.urlsplit(stream.tracking_uri)
        if parts.scheme not in ("http", "https"):
            return False
        local = parts.hostname in ("127.0.0.1", "localhost", "::1")
        # A proxy for the outside world must not be asked for this machine.
        handlers = [urllib.request.ProxyHandler({})] if local else []
        opener = urllib.request.build_opener(*handlers)
        with opener.open(_request(parts, stream.run_id, metrics), timeout=_TIMEOUT_S) as answer:
            return 200 <= answer.status < 300
    except (OSError, ValueError, http.client.HTTPException):
        return False


def _request(
    parts: urllib.parse.SplitResult, run_id: str, metrics: list[dict[str, object]]
) -> urllib.request.Request:
    """The call; user and password of the address go into a header, urllib takes them nowhere."""
    user, _, host = parts.netloc.rpartition("@")
    path = f"{parts.path.rstrip('/')}/api/2.0/mlflow/runs/log-batch"
    request = urllib.request.Request(  # noqa: S310 the caller checks the scheme
        f"{parts.scheme}://{host}{path}",
        data=json.dumps({"run_id": run_id, "metrics": metrics}).encode(),
        headers={"Content-Type": "application/json"},
    )
    if user:
        pair = user if ":" in user else f"{user}:"
        basic = base64.b64encode(urllib.parse.unquote_to_bytes(pair)).decode()
        # Not for a host that this one redirects to.
        request.add_unredirected_header("Authorization", f"Basic {basic}")
    return request
