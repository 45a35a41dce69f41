"""Follows the live pointers: loads what they name beside the event loop, swaps, acknowledges.

A version that is altered, broken or answers its golden requests wrongly is refused; what served
before serves on.
"""

import asyncio
import logging
import os
import time
from collections.abc import Callable
from concurrent.futures import Executor
from dataclasses import dataclass, field
from pathlib import Path

from modelyard.errors import PackageError
from modelyard.serving import serve_settings
from modelyard.serving.canary_watch import CanaryWatcher
from modelyard.serving.folder import Ack, LivePointer, list_models
from modelyard.serving.loading import load_pointed
from modelyard.serving.metrics import Metrics
from modelyard.serving.shadow import Shadows
from modelyard.serving.table import ModelTable

_logger = logging.getLogger(__name__)

INTERVAL_S = 0.05


@dataclass
class Watcher:
    """One for each worker process.

    Args:
        folder: The serving folder; each model has a folder in it.
        worker: This worker's id in its acknowledgements.
        table: What to swap versions in.
        metrics: Counts refusals.
        pool: Where models are loaded; not the one where they compute.
        settings_changed: Called in the event loop when the table's settings are others.
    """

    folder: Path
    worker: str
    table: ModelTable
    metrics: Metrics
    pool: Executor
    scanned: bool = False
    canaries: CanaryWatcher = field(init=False)
    shadows: Shadows = field(init=False)
    settings_changed: Callable[[], None] = lambda: None
    _seen: dict[str, tuple[int, int]] = field(default_factory=dict)
    _settings: dict[str, tuple[int, int]] = field(default_factory=dict)
    _loading: dict[str, "asyncio.Task[None]"] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.canaries = CanaryWatcher(self.worker, self.table, self.metrics, self.pool)
        self.shadows = Shadows(self.table, self.metrics, self.pool)

    async def run(self) -> None:
        """Watch until cancelled."""
        while True:
            try:
                self.scan()
            except OSError as error:
                _logger.warning("cannot look at %s: %s", self.folder, error)
            await asyncio.sleep(INTERVAL_S)

    async def close(self) -> None:
        """Tell what the canaries did until now, and end the threads beside the live versions'."""
        self.shadows.close()
        await self.canaries.close(self.folder)

    def scan(self) -> None:
        """Start to load every model whose pointer has changed; one load a model at a time."""
        models = list_models(self.folder)
        names = {model.name for model in models}
        for name in self._seen.keys() - names:
            del self._seen[name]
            self.table.withdraw(name)
            self.canaries.remove(name)
            self.shadows.remove(name)
        for model in models:
            self._read_settings(model)
            # Before the live version, so that a worker that starts sends nobody to the other one.
            self.canaries.scan(model)
            self.shadows.scan(model)
            task = self._loading.get(model.name)
            if task is not None and not task.done():
                continue
            try:
                status = (model / "live.json").stat()
            except FileNotFoundError:
                continue
            stamp = (status.st_mtime_ns, status.st_ino)
            if self._seen.get(model.name) != stamp:
                self._seen[model.name] = stamp
                self._loading[model.name] = asyncio.create_task(self._follow(model))
        self.table.pending = frozenset(names - self.table.entries.keys())
        self.scanned = True

    def _read_settings(self, model: Path) -> None:
        try:
            status = (model / serve_settings.FILE).stat()
        except FileNotFoundError:
            return
        stamp = (status.st_mtime_ns, status.st_ino)
        if self._settings.get(model.name) != stamp:
            self._settings[model.name] = stamp
            self.table.settings[model.name] = serve_settings.read_settings(model)
            self.settings_changed()

    async def _follow(self, model: Path) -> None:
        try:
            pointer = await self._in_pool(LivePointer.read, model)
        except (OSError, PackageError) as error:
            _logger.error("%s keeps its model: %s", model.name, error)
            return
        started = time.perf_counter()
        reason = await self._make_live(model, pointer)
        ack = Ack(
            worker=self.worker,
            pid=os.getpid(),
            sequence=pointer.sequence,
            version=pointer.version,
            digest=pointer.digest,
            state="refused" if reason else "live",
            reason=reason,
            load_ms=round((time.perf_counter() - started) * 1000, 3),
            at=time.time(),
        )
        try:
            await self._in_pool(ack.write, model)
        except OSError as error:
            _logger.error("cannot acknowledge version %d of %s: %s", ack.version, model.name, error)
            self._seen.pop(model.name, None)  # the next scan tries again

    async def _make_live(self, model: Path, pointer: LivePointer) -> str:
        """Swap the version in, or give the reason why not."""
        served = self.table.warm(pointer.name, pointer.digest, pointer.version)
        if served is None:
            loaded = self.canaries.model(pointer)
            if loaded is None:
                try:
                    loaded = await load_pointed(self.pool, model, pointer)
                except PackageError as error:
                    self.metrics.refusals.labels(model.name).inc()
                    return error.message
            served = self.table.serve(loaded)
        if not (model / "live.json").exists():
            return "the pointer was withdrawn"
        entry = self.table.entries.get(pointer.name)
        if entry is None or entry.live is not served:
            self.table.swap(served)
            _logger.info("version %d of %s is live", pointer.version, model.name)
        return ""

    async def _in_pool(self, function, *args):  # noqa: ANN001, ANN002, ANN202 - that of function
        return await asyncio.get_running_loop().run_in_executor(self.pool, function, *args)
