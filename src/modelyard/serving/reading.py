"""Bodies as they come in: bounded in size and in time, so that a slow caller holds nothing long."""

import asyncio

from modelyard.serving.failures import RequestError
from modelyard.serving.http import MAX_BODY, ClientGone, Headers, Request

MAX_BODY_S = 30.0
_LATE = "the body is late"
_CLOSE: Headers = ((b"connection", b"close"),)


class BodyReader:
    """Reads bodies; one timer watches over all of them, as a timer each would cost every request.

    Args:
        max_body: Bytes of a body at most.
        max_s: Seconds that it may take to come.
    """

    def __init__(self, max_body: int = MAX_BODY, max_s: float = MAX_BODY_S) -> None:
        self.max_body = max_body
        self._max_s = max_s
        self._reading: dict[asyncio.Task[object] | None, float] = {}
        self._timer: asyncio.TimerHandle | None = None

    async def read(self, request: Request) -> bytes:
        """The request's body.

        A body that is too large is read to its end and dropped as long as that is cheap: to answer
        before the caller has sent it would reset the connection, and the caller would see that
        instead of the answer.

        Raises:
            RequestError: 413, it is too large; 408, it took too long.
            ClientGone: the connection was closed.
        """
        if request.body is None:
            return await self._collect(request)
        if len(request.body) > self.max_body:
            raise self._too_large()
        return request.body

    async def _collect(self, request: Request) -> bytes:
        self._check_declared(request.headers)
        task, loop = asyncio.current_task(), asyncio.get_running_loop()
        due = self._reading[task] = loop.time() + self._max_s
        if self._timer is None:
            self._timer = loop.call_at(due, self._stop_late, loop)
        chunks: list[bytes] = []
        size, more = 0, True
        try:
            while more:
                message = await request.receive()
                if message["type"] == "http.disconnect":
                    raise ClientGone
                chunk = message.get("body", b"")
                more = message.get("more_body", False)
                size += len(chunk)
                if size <= self.max_body:
                    chunks.append(chunk)
                elif size > 4 * self.max_body:
                    raise self._too_large(_CLOSE)
        except asyncio.CancelledError as error:
            if task is None or error.args != (_LATE,):
                raise
            task.uncancel()
            raise RequestError(
                408, f"the body did not come within {self._max_s:g} s; send it at once", _CLOSE
            ) from None
        finally:
            del self._reading[task]
        if size > self.max_body:
            raise self._too_large()
        return chunks[0] if len(chunks) == 1 else b"".join(chunks)

    def _check_declared(self, given: dict[bytes, bytes]) -> None:
        length = given.get(b"content-length", b"")
        declared = int(length) if length.isdigit() and len(length) < 20 else 0
        if declared > 4 * self.max_body:
            raise self._too_large(_CLOSE)

    def _too_large(self, headers: Headers = ()) -> RequestError:
        return RequestError(
            413,
            f"the body is larger than {self.max_body} bytes; send fewer rows in a request",
            headers,
        )

    def _stop_late(self, loop: asyncio.AbstractEventLoop) -> None:
        now = loop.time()
        waiting: list[float] = []
        for task, due in self._reading.items():
            if due > now:
                waiting.append(due)
            elif task is not None:
                task.cancel(_LATE)
        self._timer = loop.call_at(min(waiting), self._stop_late, loop) if waiting else None
