"""What the server says of itself and of its models: health, metadata, the repository, metrics."""

from typing import Any

from modelyard import __version__
from modelyard.serving.failures import RequestError, unavailable
from modelyard.serving.http import (
    NOT_STORED,
    Request,
    Response,
    cached_page,
    dump,
    json_page,
)
from modelyard.serving.metrics import Metrics
from modelyard.serving.protocol import EXTENSIONS, describe
from modelyard.serving.reading import BodyReader
from modelyard.serving.rows import parse_json
from modelyard.serving.table import ModelTable, Served
from modelyard.serving.watch import Watcher

_METRICS = ((b"content-type", b"text/plain; version=0.0.4; charset=utf-8"),)


class Metadata:
    """Handlers of the pages that name and count.

    Args:
        table: The models.
        watcher: Whether the serving folder has been looked at.
        metrics: What ``/metrics`` shows.
        bodies: Reads them.
    """

    def __init__(
        self, table: ModelTable, watcher: Watcher, metrics: Metrics, bodies: BodyReader
    ) -> None:
        self.draining = False
        self._table = table
        self._watcher = watcher
        self._metrics = metrics
        self._bodies = bodies

    async def server(self, request: Request) -> Response:
        """Name, version and extensions."""
        page = {"name": "modelyard", "version": __version__, "extensions": EXTENSIONS}
        return cached_page(request, dump(page))

    async def live(self, _: Request) -> Response:
        """Whether the process answers."""
        return json_page({"live": True})

    async def ready(self, _: Request) -> Response:
        """Whether every model that shall be served is."""
        self._check_ready()
        return json_page({"ready": True})

    async def health(self, _: Request) -> Response:
        """As ``ready``, with the live versions; MLflow's ``/ping`` and ``/health``."""
        self._check_ready()
        models = {
            name: {
                "version": entry.live.model.version,
                "digest": entry.live.model.digest,
                **self._beside(name),
            }
            for name, entry in self._table.entries.items()
        }
        return json_page({"status": "ok", "models": models})

    async def version(self, request: Request) -> Response:
        """The server's version."""
        return cached_page(request, dump({"modelyard": __version__}))

    async def metrics(self, _: Request) -> Response:
        """Prometheus' text."""
        return Response(200, self._metrics.page(), (*_METRICS, *NOT_STORED))

    async def model(self, request: Request, *names: str) -> Response:
        """A model's metadata; ``names`` are its own, or that and a version's."""
        served = self._table.find(*names)
        page = describe(served.model, self._versions(served))
        return cached_page(request, dump(page), served.headers)

    async def model_ready(self, _: Request, *names: str) -> Response:
        """Whether a version is loaded."""
        served = self._table.find(*names)
        return json_page({"name": served.model.name, "ready": True}, served.headers)

    async def repository(self, request: Request) -> Response:
        """The loaded versions, and the models that are still to be loaded."""
        body = await self._bodies.read(request)
        ready = parse_json(body).get("ready", False) if body else False
        if type(ready) is not bool:
            raise RequestError(400, '"ready" must be true or false')
        entries: list[dict[str, Any]] = [
            {"name": name, "version": str(version), "state": "READY", "reason": ""}
            for name, entry in sorted(self._table.entries.items())
            for version in self._versions(entry.live)
        ]
        if not ready:
            entries += [
                {"name": name, "version": "", "state": "UNAVAILABLE", "reason": "not loaded yet"}
                for name in sorted(self._table.pending)
            ]
        return json_page(entries)

    async def change_repository(self, _: Request, name: str) -> Response:
        """Load and unload, which are not a caller's to say."""
        raise RequestError(
            403,
            f"model {name[:60]!r} is loaded and unloaded by its alias in the registry; promote a "
            "version there",
        )

    def _versions(self, served: Served) -> list[int]:
        loaded = self._table.loaded(served.model.name)
        return sorted({other.model.version for other in loaded})

    def _beside(self, name: str) -> dict[str, Any]:
        """The canary and the shadow of a model, where it has them."""
        canary, shadow = self._table.canaries.get(name), self._watcher.shadows.version(name)
        found: dict[str, Any] = {}
        if canary is not None:
            found["canary"] = {
                "version": canary.served.model.version,
                "percent": canary.pointer.percent,
            }
        if shadow is not None:
            found["shadow"] = {"version": shadow}
        return found

    def _check_ready(self) -> None:
        if self.draining:
            raise unavailable("this server is stopping")
        if not self._watcher.scanned:
            raise unavailable("this server is starting")
        if self._table.pending:
            raise unavailable(f"not loaded yet: {', '.join(sorted(self._table.pending))}")
