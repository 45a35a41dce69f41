"""A shadow: a version that answers copies of requests, for nobody to see.

One daemon thread of low priority computes for all shadows, one request at a time, from a bounded
queue. What does not fit in is dropped and counted: callers never wait for a shadow, and a shadow
that fails, or never ends, fails nobody.
"""

import asyncio
import logging
import os
import threading
from collections.abc import Callable
from concurrent.futures import Executor
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from queue import Full, Queue
from time import perf_counter
from typing import Any

import numpy as np

from modelyard.errors import PackageError
from modelyard.serving.calls import Answered, Observer
from modelyard.serving.folder import ShadowPointer
from modelyard.serving.loading import load_pointed
from modelyard.serving.metrics import Metrics
from modelyard.serving.model import Arrays, Model
from modelyard.serving.table import ModelTable

_logger = logging.getLogger(__name__)

_MOST_WAITING = 64
_MOST_BYTES = 32 * 1024 * 1024
_NICENESS = 10


@dataclass(eq=False)
class _Shadow:
    """A loaded shadow; ``due`` is the share of a request that is still owed to it."""

    pointer: ShadowPointer
    model: Model
    due: float = 0.0
    is_failing: bool = False


@dataclass(frozen=True, eq=False)
class _Copy:
    """A request that was answered: [rows, ...] inputs and the live version's [rows, width]."""

    shadow: _Shadow
    live: Model
    inputs: Arrays
    answers: np.ndarray
    atol: float

    @property
    def num_bytes(self) -> int:
        return sum(array.nbytes for array in self.inputs.values()) + self.answers.nbytes


@dataclass
class Shadows:
    """A worker's shadows, at most one a model.

    Args:
        table: Whose live versions' answers are compared with.
        metrics: Counts by shadow.
        pool: Where models are loaded.
        observers: Of answered requests; this one is among them while there is a shadow.
    """

    table: ModelTable
    metrics: Metrics
    pool: Executor
    observers: list[Observer] = field(default_factory=list)
    _seen: dict[str, tuple[int, int]] = field(default_factory=dict)
    _working: dict[str, "asyncio.Task[None]"] = field(default_factory=dict)
    _loaded: dict[str, _Shadow] = field(default_factory=dict)
    _queue: "Queue[_Copy | None]" = field(default_factory=lambda: Queue(_MOST_WAITING))
    _bytes: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _thread: threading.Thread | None = None

    def version(self, name: str) -> int | None:
        """The number of a model's shadow."""
        shadow = self._loaded.get(name)
        return shadow.pointer.version if shadow else None

    def scan(self, model: Path) -> None:
        """Look at a model's folder; a shadow is loaded in a task, one at a time."""
        name, task = model.name, self._working.get(model.name)
        if task is not None and not task.done():
            return
        settings = self.table.settings.get(name)
        try:
            status = (model / ShadowPointer.file).stat()
        except FileNotFoundError:
            status = None
        if status is None or settings is None or not settings.shadow_percent:
            if name in self._seen:
                self.remove(name)
            return
        stamp = (status.st_mtime_ns, status.st_ino)
        if self._seen.get(name) != stamp:
            self._seen[name] = stamp
            self._working[name] = asyncio.create_task(self._follow(model))

    def remove(self, name: str) -> None:
        """Unload a model's shadow; copies that wait for it are let go."""
        self._seen.pop(name, None)
        self._loaded.pop(name, None)
        if not self._loaded:
            with suppress(ValueError):
                self.observers.remove(self.observe)

    def observe(self, answered: Answered) -> None:
        """Queue a copy of a request that the live version answered; never waits."""
        served, name = answered.served, answered.served.model.name
        shadow = self._loaded.get(name)
        if shadow is None or served is not self.table.entries[name].live:
            return
        settings = self.table.settings[name]
        shadow.due += settings.shadow_percent / 100
        if shadow.due < 1:
            return
        shadow.due -= 1
        copy = _Copy(
            shadow, served.model, answered.inputs, answered.outputs[0], settings.shadow_atol
        )
        if not self._put(copy):
            self.metrics.shadow_dropped.labels(*_labels(shadow)).inc()

    def close(self) -> None:
        """Let the thread end; one that is stuck ends with the process."""
        with suppress(Full):
            self._queue.put_nowait(None)

    def _put(self, copy: _Copy) -> bool:
        with self._lock:
            if self._bytes and self._bytes + copy.num_bytes > _MOST_BYTES:
                return False
            try:
                self._queue.put_nowait(copy)
            except Full:
                return False
            self._bytes += copy.num_bytes
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="shadow", daemon=True)
            self._thread.start()
        return True

    def _run(self) -> None:
        with suppress(OSError, AttributeError):
            # Linux takes a thread's id for a process': the others keep their priority.
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), _NICENESS)
        while (copy := self._queue.get()) is not None:
            if self._loaded.get(copy.live.name) is copy.shadow:
                self._compute(copy)
            with self._lock:
                self._bytes -= copy.num_bytes

    def _compute(self, copy: _Copy) -> None:
        shadow, metrics, labels = copy.shadow, self.metrics, _labels(copy.shadow)
        started = perf_counter()
        try:
            answers = shadow.model.run(copy.inputs)[0]
            labels_differ, scores_differ = compare(
                copy.live, copy.answers, shadow.model, answers, copy.atol
            )
        except Exception as error:  # whatever it is, nobody waits for it
            metrics.shadow_errors.labels(*labels).inc()
            if not shadow.is_failing:
                shadow.is_failing = True
                where = (shadow.pointer.version, shadow.pointer.name)
                _logger.warning("shadow %d of %s fails: %s", *where, _first_line(error))
            return
        metrics.shadow_seconds.labels(*labels).observe(perf_counter() - started)
        metrics.shadow_requests.labels(*labels).inc()
        metrics.shadow_rows.labels(*labels).inc(len(answers))
        metrics.shadow_other_labels.labels(*labels).inc(int(labels_differ.sum()))
        metrics.shadow_differences.labels(*labels).inc(int(scores_differ.sum()))

    async def _follow(self, model: Path) -> None:
        name, loop = model.name, asyncio.get_running_loop()
        self._loaded.pop(name, None)
        try:
            pointer = await loop.run_in_executor(self.pool, ShadowPointer.read, model)
            loaded = await load_pointed(self.pool, model, pointer)
        except (OSError, PackageError) as error:
            _logger.error("%s has no shadow: %s", name, error)
            return
        if name in self._seen:
            self._loaded[name] = _Shadow(pointer, loaded)
            if self.observe not in self.observers:
                self.observers.append(self.observe)
            _logger.info("version %d of %s is loaded as shadow", pointer.version, name)


def compare(
    live: Model, expected: np.ndarray, shadow: Model, found: np.ndarray, atol: float
) -> tuple[np.ndarray, np.ndarray]:
    """Compare two versions' answers for the same rows, each [rows, width].

    Scores of classes are compared by the class's name, of those that both know.

    Returns:
        Whether the label (of several labels: their set) differs and whether a score differs by
        more than ``atol``, bool [rows] each. A regression has no labels.

    Raises:
        ValueError: they are not answers to one question.
    """
    if live.task != shadow.task or len(expected) != len(found):
        raise ValueError(f"{shadow.task} of {len(found)} rows, not {live.task} of {len(expected)}")
    if live.task == "regression":
        scores = np.abs(found - expected) > atol
        return np.zeros(len(found), bool), np.asarray(scores.any(axis=1))
    common = [label for label in live.labels if label in shadow.labels]
    first = expected[:, [live.labels.index(label) for label in common]]
    second = found[:, [shadow.labels.index(label) for label in common]]
    scores = np.asarray((np.abs(first - second) > atol).any(axis=1))
    chosen: Callable[[Model, np.ndarray], list[Any]] = (
        _chosen_sets if live.task == "multi-label" else _chosen
    )
    pairs = zip(chosen(live, expected), chosen(shadow, found), strict=True)
    return np.array([one != other for one, other in pairs], bool), scores


def _chosen(model: Model, answers: np.ndarray) -> list[str]:
    return [model.labels[index] for index in answers.argmax(axis=1).tolist()]


def _chosen_sets(model: Model, answers: np.ndarray) -> list[set[str]]:
    return [
        {label for label, value in zip(model.labels, row, strict=True) if value > 0.5}
        for row in answers.tolist()
    ]


def _labels(shadow: _Shadow) -> tuple[str, str]:
    return shadow.pointer.name, str(shadow.pointer.version)


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:300]
