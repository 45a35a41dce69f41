"""The prediction log, a worker's side: a sample of the answered requests, as lines in spool files.

The event loop only puts a reference into a bounded queue. A thread writes lines; about once a
minute, and when the server stops, a process of its own turns closed spool files into Parquet (see
``log_writer``): Parquet's library would be half as large as a worker, and no follower need be
near. Whatever goes wrong is counted, and requests are answered as before.
"""

import asyncio
import logging
import subprocess
import sys
import threading
import time
from collections import deque
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple
from zlib import crc32

import numpy as np

from modelyard.serving.calls import Answered, Observer
from modelyard.serving.log_retention import expire_all
from modelyard.serving.log_spool import FOLDER, SPOOL, Spool, line
from modelyard.serving.metrics import Metrics
from modelyard.serving.model import Model
from modelyard.serving.table import ModelTable

_logger = logging.getLogger(__name__)

_EVERY_S = 0.25
_TIDY_EVERY_S = 3600.0
_END_S = 15.0
_NUM_HASHES = 2**32


@dataclass(frozen=True)
class LogLimits:
    """What may wait in memory, and when a spool file is closed."""

    num_queued: int = 5000
    num_bytes: int = 16 * 1024 * 1024
    spool_s: float = 60.0
    spool_bytes: int = 8 * 1024 * 1024


class Entry(NamedTuple):
    """A request to be kept; ``at`` in seconds since 1970, ``size`` that of its inputs in bytes."""

    at: float
    size: int
    request_id: bytes
    caller: str | None
    model: Model
    inputs: dict[str, np.ndarray]
    outputs: np.ndarray
    seconds: float
    content: bool


class PredictionLog:
    """One for each worker process; ``observe`` and ``follow_settings`` belong to its event loop.

    Args:
        folder: The serving folder.
        worker: This worker's id, in the names of its files.
        table: Whose settings say what is kept.
        metrics: Counts what is not kept for want of room.
        observers: Of answered requests; this one is among them while a model's log is on.
        limits: See there.
    """

    def __init__(
        self,
        folder: Path,
        worker: str,
        table: ModelTable,
        metrics: Metrics,
        observers: list[Observer],
        limits: LogLimits | None = None,
    ) -> None:
        self._folder = folder
        self._worker = worker
        self._table = table
        self._metrics = metrics
        self._observers = observers
        self._limits = limits or LogLimits()
        self._queue: deque[Entry] = deque()
        self._bytes_in = 0  # changed by the event loop alone
        self._bytes_out = 0  # changed by the thread alone
        self._thread: threading.Thread | None = None
        self._stopping = threading.Event()
        self._spools: dict[tuple[str, int, str], Spool] = {}
        self._writer: subprocess.Popen[bytes] | None = None
        self._trouble = ""

    def follow_settings(self) -> None:
        """Look on while a model's requests are kept; otherwise this costs a request nothing."""
        wanted = any(settings.log_sample for settings in self._table.settings.values())
        if wanted and self.observe not in self._observers:
            self._observers.append(self.observe)
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="prediction-log")
                self._thread.daemon = True
                self._thread.start()
        elif not wanted:
            with suppress(ValueError):
                self._observers.remove(self.observe)

    def observe(self, answered: Answered) -> None:
        """Keep a request if it is of the sample; the same id is always in or out."""
        request, model = answered.request, answered.served.model
        settings = self._table.settings.get(model.name)
        if settings is None or crc32(request.id) >= settings.log_sample * _NUM_HASHES:
            return
        size = sum(map(_size, answered.inputs.values()))
        held = self._bytes_in - self._bytes_out
        limits = self._limits
        full = len(self._queue) >= limits.num_queued or held + size > limits.num_bytes
        if full and self._queue:  # a lone large one is taken
            self._metrics.log_dropped.labels(model.name).inc()
            return
        self._bytes_in += size
        caller = request.key.id if request.key is not None else None
        self._queue.append(
            Entry(
                time.time(),
                size,
                request.id,
                caller,
                model,
                answered.inputs,
                answered.outputs[0],
                answered.seconds,
                settings.log_content,
            )
        )

    async def tidy(self) -> None:
        """Delete what is too old, now and every hour, until cancelled; also with the log off."""
        while True:
            try:
                await asyncio.to_thread(expire_all, self._folder)
            except OSError as error:
                _logger.error("old predictions cannot be deleted: %s", error)
            await asyncio.sleep(_TIDY_EVERY_S)

    def close(self) -> None:
        """Write what is queued and make Parquet of it; takes ``_END_S`` at most."""
        self._stopping.set()
        if self._thread is not None:
            self._thread.join(_END_S)

    def _run(self) -> None:
        if any(self._folder.glob(f"*/{FOLDER}/{SPOOL}/*.jsonl")):
            self._convert(wait=False)  # what a killed worker left
        while not self._stopping.wait(_EVERY_S):
            self._turn(self._limits.spool_s)
        self._turn(0.0)
        if self._writer is not None:
            with suppress(subprocess.TimeoutExpired):
                self._writer.wait(_END_S / 3)

    def _turn(self, spool_s: float) -> None:
        try:
            self._write_lines()
            closed = [key for key, spool in self._spools.items() if self._is_full(spool, spool_s)]
            for key in closed:
                self._spools.pop(key).close()
            if closed:
                self._convert(wait=not spool_s)
        except Exception as error:  # whatever it is, the next turn tries again
            self._report(repr(error))

    def _write_lines(self) -> None:
        lines: dict[tuple[str, int, str], list[bytes]] = {}
        models: dict[tuple[str, int, str], Model] = {}
        while self._queue:
            entry = self._queue.popleft()
            self._bytes_out += entry.size
            model = entry.model
            key = model.name, model.version, model.digest
            models[key] = model
            lines.setdefault(key, []).append(line(entry))
        for key, found in lines.items():
            try:
                if key not in self._spools:
                    self._spools[key] = Spool.open(self._folder, self._worker, models[key])
                self._spools[key].write(found)
                self._trouble = ""
            except OSError as error:
                self._metrics.log_dropped.labels(key[0]).inc(len(found))
                self._report(f"{error.strerror or error}")

    def _is_full(self, spool: Spool, spool_s: float) -> bool:
        return spool.age >= spool_s or spool.num_bytes >= self._limits.spool_bytes

    def _convert(self, wait: bool) -> None:
        """Start the process that makes Parquet of what is closed, unless it is at work."""
        if self._writer is not None:
            if wait:
                self._writer.wait(_END_S / 3)
            elif self._writer.poll() is None:
                return
            if self._writer.returncode:
                self._report(f"modelyard.serving.log_writer ended by {self._writer.returncode}")
        words = [sys.executable, "-m", "modelyard.serving.log_writer", str(self._folder)]
        # A session of its own: what stops the server at the terminal lets it end its work.
        self._writer = subprocess.Popen(words, stdin=subprocess.DEVNULL, start_new_session=True)

    def _report(self, trouble: str) -> None:
        """Log a lasting trouble once."""
        if trouble != self._trouble:
            self._trouble = trouble
            _logger.error("the prediction log loses requests, answers go on: %s", trouble)


def _size(values: np.ndarray) -> int:
    return sum(map(len, values.reshape(-1))) if values.dtype == object else values.nbytes
