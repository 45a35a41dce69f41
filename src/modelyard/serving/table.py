"""Which versions answer.

A version goes live by one dict store; requests already queued keep the model they came for.
"""

from concurrent.futures import Executor
from dataclasses import dataclass
from typing import TYPE_CHECKING

from modelyard.serving.batcher import Batcher, BatchLimits
from modelyard.serving.failures import RequestError, unavailable
from modelyard.serving.metrics import Metrics, VersionMetrics
from modelyard.serving.model import Model
from modelyard.serving.serve_settings import ServeSettings

if TYPE_CHECKING:
    from modelyard.serving.canary import Canary

NUM_WARM = 2


@dataclass(frozen=True, eq=False)
class Served:
    """A loaded version with its queue, its metrics and the headers that name it."""

    model: Model
    batcher: Batcher
    metrics: VersionMetrics
    headers: tuple[tuple[bytes, bytes], ...]


@dataclass(frozen=True)
class Entry:
    """A model's ``live`` version and the ``warm`` ones, newest first, the live one among them."""

    live: Served
    warm: tuple[Served, ...]


class ModelTable:
    """The models of this process by name; changed from the event loop only."""

    def __init__(self, pool: Executor, metrics: Metrics, limits: BatchLimits) -> None:
        self._pool = pool
        self._metrics = metrics
        self._limits = limits
        self._entries: dict[str, Entry] = {}
        self.pending: frozenset[str] = frozenset()
        """Names that have a live pointer and no loaded version."""
        self.settings: dict[str, ServeSettings] = {}
        """Name -> how it is served; those of the defaults may be missing."""
        self.canaries: dict[str, Canary] = {}
        """Name -> the version that answers some of the callers."""

    @property
    def entries(self) -> dict[str, Entry]:
        """Name -> what is loaded."""
        return self._entries

    def find(self, name: str, version: str | None = None) -> Served:
        """The live version of ``name``, or the loaded one that ``version`` names.

        Raises:
            RequestError: 404 where there is no such model or version, 503 where it is still being
                loaded.
        """
        entry = self._entries.get(name)
        if entry is None:
            if name in self.pending:
                raise unavailable(f"model {name} is not loaded yet")
            raise RequestError(
                404, f"there is no model {name[:60]!r} here; GET /health lists the models"
            )
        if version is None:
            return entry.live
        for served in (loaded := self.loaded(name)):
            if str(served.model.version) == version:
                return served
        numbers = sorted(served.model.version for served in loaded)
        raise RequestError(
            404, f"version {version[:20]!r} of {name} is not loaded; loaded are {numbers}"
        )

    def only(self) -> Served:
        """The live version of the one model there is.

        Raises:
            RequestError: 400 where there are several, 503 where there is none yet.
        """
        if len(self._entries) > 1:
            names = ", ".join(sorted(self._entries))
            raise RequestError(400, f"name the model: POST /predict/NAME with one of {names}")
        for entry in self._entries.values():
            return entry.live
        raise unavailable("no model is live yet")

    def loaded(self, name: str) -> tuple[Served, ...]:
        """The versions of a served model that answer who names them."""
        canary = self.canaries.get(name)
        return (*self._entries[name].warm, *([canary.served] if canary else []))

    def warm(self, name: str, digest: str, version: int) -> Served | None:
        """A loaded version, if it still is."""
        entry = self._entries.get(name)
        for served in entry.warm if entry else ():
            if served.model.digest == digest and served.model.version == version:
                return served
        return None

    def serve(self, model: Model, pool: Executor | None = None) -> Served:
        """Give a loaded model its queue, in the pool where all compute or one of its own."""
        metrics = VersionMetrics(self._metrics, model.name, model.version)
        batcher = Batcher(model.run, pool or self._pool, self._limits, metrics.batch_rows.observe)
        headers = (
            (b"x-model-name", model.name.encode()),
            (b"x-model-version", b"%d" % model.version),
        )
        return Served(model, batcher, metrics, headers)

    def swap(self, served: Served) -> None:
        """Make a version live; the last ``NUM_WARM`` stay loaded: the way back is instant."""
        name = served.model.name
        before = self._entries.get(name)
        others = [other for other in (before.warm if before else ()) if other is not served]
        # The live one counts as the newest: after a rollback the version left is kept, too.
        self._entries[name] = Entry(served, (served, *others)[:NUM_WARM])
        self._metrics.version.labels(name).set(served.model.version)
        self._metrics.swaps.labels(name).inc()

    def withdraw(self, name: str) -> None:
        """Take a model away whose pointer is gone."""
        if self._entries.pop(name, None):
            # Not removed: several workers' gauges lie in files, where the last value would stay.
            self._metrics.version.labels(name).set(0)
