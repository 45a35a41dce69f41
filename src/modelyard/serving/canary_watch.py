"""Follows ``canary.json``: loads what it names, lets it answer, tells what was counted."""

import asyncio
import logging
import os
import time
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from modelyard.artifacts import write_json
from modelyard.errors import PackageError
from modelyard.serving.canary import Canary, Tally
from modelyard.serving.folder import CanaryPointer, Pointer
from modelyard.serving.loading import load_pointed
from modelyard.serving.metrics import Metrics
from modelyard.serving.model import Model
from modelyard.serving.table import ModelTable

_logger = logging.getLogger(__name__)

_REPORT_EVERY_S = 0.5


@dataclass
class CanaryWatcher:
    """A worker's canaries, at most one a model.

    They compute in a thread of their own: one that is slow or stuck holds up none but its callers.

    Args:
        worker: This worker's id in its reports.
        table: Where canaries answer.
        metrics: Counts refusals.
        pool: Where models are loaded and reports are written.
    """

    worker: str
    table: ModelTable
    metrics: Metrics
    pool: Executor
    compute: ThreadPoolExecutor = field(default_factory=lambda: ThreadPoolExecutor(1, "canary"))
    _seen: dict[str, tuple[int, int]] = field(default_factory=dict)
    _working: dict[str, "asyncio.Task[None]"] = field(default_factory=dict)
    _loaded: dict[str, Canary] = field(default_factory=dict)
    _said: dict[str, tuple[int, int, float]] = field(default_factory=dict)

    def scan(self, model: Path) -> None:
        """Look at a model's folder; what takes time goes on in a task, one at a time."""
        name, task = model.name, self._working.get(model.name)
        if task is not None and not task.done():
            return
        try:
            status = (model / CanaryPointer.file).stat()
        except FileNotFoundError:
            if name in self._seen or name in self._loaded:
                self.remove(name)
            return
        stamp = (status.st_mtime_ns, status.st_ino)
        if self._seen.get(name) != stamp:
            self._seen[name] = stamp
            self._working[name] = asyncio.create_task(self._follow(model))
        elif (canary := self._loaded.get(name)) is not None and self._is_due(canary):
            self._working[name] = asyncio.create_task(self._report(model, canary))

    def remove(self, name: str) -> None:
        """End a model's canary here; what is queued is answered."""
        for known in (self._seen, self._loaded, self._said, self.table.canaries):
            known.pop(name, None)

    async def close(self, folder: Path) -> None:
        """Report for the last time, into the serving ``folder``, and end the thread."""
        for name, canary in list(self._loaded.items()):
            if (folder / name / CanaryPointer.file).exists():
                await self._report(folder / name, canary)
        self.compute.shutdown(wait=True, cancel_futures=True)

    def model(self, pointer: Pointer) -> Model | None:
        """What a pointer names, if it is loaded here: a promoted canary is live at once."""
        canary = self._loaded.get(pointer.name)
        if canary is None or (canary.pointer.version, canary.pointer.digest) != (
            pointer.version,
            pointer.digest,
        ):
            return None
        return canary.served.model

    async def _follow(self, model: Path) -> None:
        name, loop = model.name, asyncio.get_running_loop()
        try:
            pointer = await loop.run_in_executor(self.pool, CanaryPointer.read, model)
        except (OSError, PackageError) as error:
            _logger.error("no canary of %s: %s", name, error)
            self.remove(name)
            return
        canary, head = self._loaded.get(name), None
        if canary is None or canary.pointer.sequence != pointer.sequence:
            self.table.canaries.pop(name, None)
            self._loaded.pop(name, None)
            started = time.perf_counter()
            try:
                loaded = await load_pointed(self.pool, model, pointer)
            except PackageError as error:
                self.metrics.refusals.labels(name).inc()
                await self._write(model, self._head(pointer, error.message, started))
                return
            canary = Canary(pointer, self.table.serve(loaded, self.compute))
            self._loaded[name] = canary
            _logger.info("version %d of %s is loaded as canary", pointer.version, name)
            head = self._head(pointer, "", started)
        canary.pointer = pointer
        if pointer.since is not None and (model / CanaryPointer.file).exists():
            self.table.canaries[name] = canary
        if head is not None:
            await self._report(model, canary, head)

    def _is_due(self, canary: Canary) -> bool:
        said = self._said.get(canary.pointer.name)
        counts = (canary.live.requests, canary.own.requests)
        return said is None or (
            said[:2] != counts and time.monotonic() - said[2] >= _REPORT_EVERY_S
        )

    async def _report(
        self, model: Path, canary: Canary, head: dict[str, Any] | None = None
    ) -> None:
        """Write what both versions did so far; atomic, so that a kill leaves the last one."""
        head = head or self._head(canary.pointer, "", time.perf_counter())
        counts = {"live": canary.live.tree(), "canary": canary.own.tree()}
        self._said[model.name] = canary.live.requests, canary.own.requests, time.monotonic()
        await self._write(model, head | counts)

    def _head(self, pointer: CanaryPointer, reason: str, started: float) -> dict[str, Any]:
        return {
            "worker": self.worker,
            "pid": os.getpid(),
            "sequence": pointer.sequence,
            "version": pointer.version,
            "digest": pointer.digest,
            "state": "refused" if reason else "live",
            "reason": reason,
            "load_ms": round((time.perf_counter() - started) * 1000, 3),
            "live": Tally().tree(),
            "canary": Tally().tree(),
        }

    async def _write(self, model: Path, tree: dict[str, Any]) -> None:
        path = model / "canary" / f"{self.worker}.json"
        try:
            await asyncio.get_running_loop().run_in_executor(self.pool, write_json, path, tree)
        except OSError as error:
            _logger.error("cannot tell of the canary of %s: %s", model.name, error)
            # The next scan tries again.
            self._seen.pop(model.name, None)
            self._said.pop(model.name, None)
