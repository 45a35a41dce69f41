"""What is told of each request once its answer stands: to the access log, to traces.

Nobody listens by default, and then it costs nothing. No body, key or header is told, nor what
stands behind the ``?``, where values of a row may be.
"""

import logging
import time
from collections.abc import Callable
from typing import NamedTuple

from modelyard.serving.http import Request, Response

_access = logging.getLogger("modelyard.access")
_LONGEST = 200


class Ended(NamedTuple):
    """A request and its answer; ``began`` in ns since 1970."""

    method: str
    path: str
    request: Request
    response: Response
    began: int

    @property
    def shown_path(self) -> str:
        """The path, cut to what a log can bear."""
        return self.path[:_LONGEST]

    @property
    def model(self) -> tuple[str, str] | None:
        """Name and version of the model that answered or refused."""
        found = dict(self.response.headers)
        if b"x-model-name" not in found:
            return None
        return found[b"x-model-name"].decode(), found[b"x-model-version"].decode()


Ending = Callable[[Ended], None]
"""Called in the event loop before the answer is sent: it must not wait, nor raise."""


def log_access(ended: Ended) -> None:
    """Write a line about a request."""
    request, status = ended.request, ended.response.status
    milliseconds = round((time.time_ns() - ended.began) / 1e6, 3)
    extra = {
        "request_id": request.id.decode("ascii"),
        "method": ended.method,
        "path": ended.shown_path,
        "status": status,
        "ms": milliseconds,
    }
    if ended.model is not None:
        extra["model"], extra["version"] = ended.model
    if request.key is not None:
        extra["caller"] = request.key.id
    _access.info(
        "%s %r %d %.1f ms", ended.method, ended.shown_path, status, milliseconds, extra=extra
    )
