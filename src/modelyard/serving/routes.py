"""Which function answers which path, as a table that names the whole API."""

from collections.abc import Awaitable, Callable
from typing import NamedTuple

from modelyard.serving.failures import RequestError
from modelyard.serving.http import Response

Handler = Callable[..., Awaitable[Response]]
"""Called with the request and then the parts of the path that stand for ``*``."""


_MANY = 256


def _always(*_: str) -> bool:
    return True


class Route(NamedTuple):
    """``GET`` answers HEAD as well; a ``*`` in ``path`` stands for any one part.

    ``offered`` says, from the parts of the path, whether an answer of 405 names this method.
    """

    method: str
    path: str
    handler: Handler
    offered: Callable[..., bool] = _always


class Routes:
    """Finds handlers.

    Args:
        routes: Of equal length of path, what stands first is tried first.
    """

    def __init__(self, *routes: Route) -> None:
        self._by_length: dict[int, list[tuple[Route, tuple[str, ...]]]] = {}
        self._found: dict[tuple[str, str], tuple[Handler, list[str]]] = {}
        for route in routes:
            parts = tuple(route.path.split("/"))
            self._by_length.setdefault(len(parts), []).append((route, parts))

    def find(self, method: str, path: str) -> tuple[Handler, list[str]]:
        """The handler of a request and the parts of its path that it is called with.

        Raises:
            RequestError: 404, nothing has this path; 405, nothing takes this method there.
        """
        known = self._found.get((method, path))
        if known is not None:
            return known
        given = path.split("/")
        allowed: list[str] = []
        for route, parts in self._by_length.get(len(given), ()):
            if (keys := _match(parts, given)) is None:
                continue
            if method == route.method or (method == "HEAD" and route.method == "GET"):
                # A few paths are asked for again and again; a caller may make up any number.
                if len(self._found) < _MANY:
                    self._found[method, path] = route.handler, keys
                return route.handler, keys
            if not route.offered(*keys):
                continue
            allowed += ("GET", "HEAD") if route.method == "GET" else (route.method,)
        if not allowed:
            raise RequestError(
                404,
                f"there is nothing at {path[:60]!r}; GET /openapi.json lists what is, as "
                "POST /predict, POST /v2/models/NAME/infer and GET /v2/health/ready",
            )
        takes = ", ".join(dict.fromkeys(allowed))
        raise RequestError(405, f"{path[:60]} takes {takes} alone", ((b"allow", takes.encode()),))


def _match(parts: tuple[str, ...], given: list[str]) -> list[str] | None:
    """What stands for each ``*``; None where another part differs."""
    keys: list[str] = []
    for part, other in zip(parts, given, strict=True):
        if part == "*" and other:
            keys.append(other)
        elif part != other:
            return None
    return keys
