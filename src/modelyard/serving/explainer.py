"""The process that explains: started at the first question, found by its socket, asked by a line.

Workers of one serving folder share one explainer. It ends when nobody asks for a while, and with
the worker that started it; then the next question starts it anew.
"""

import asyncio
import os
import sys
import time
from asyncio.subprocess import PIPE, Process
from contextlib import suppress
from pathlib import Path
from typing import Any

import orjson

from modelyard.serving.failures import RequestError, busy, unavailable
from modelyard.serving.http import dump

FOLDER = ".explain"
"""Of the socket, in the serving folder; no model has such a name."""
LIMIT_S = 30.0
_MAX_WAITING = 8
_MAX_ANSWER = 256 * 1024 * 1024
_LONGEST_ADDRESS = 100
_RETRY_S = 0.05
_START_AGAIN_S = 10.0
_END_S = 5.0


class ExplainerProcess:
    """Asks the explainer of a serving folder, which it starts where none listens.

    Args:
        folder: The serving folder.
        limit_s: Seconds that an answer may take, the start of the process among them.
    """

    def __init__(self, folder: Path, limit_s: float = LIMIT_S) -> None:
        self._folder = folder
        self._socket = folder / FOLDER / "socket"
        self._limit_s = limit_s
        self._child: Process | None = None
        self._started = 0.0
        self._place: int | None = None
        self._num_waiting = 0

    async def ask(self, job: dict[str, Any]) -> dict[str, Any]:
        """The answer to a job of ``explaining``.

        Raises:
            RequestError: 429, too many wait; 503, no answer came in time, the explainer ended, or
                it does not start.
        """
        if self._num_waiting >= _MAX_WAITING:
            raise busy()
        self._num_waiting += 1
        try:
            async with asyncio.timeout(self._limit_s):
                line = await self._ask_twice(dump(job))
        except TimeoutError:
            raise unavailable(
                f"no explanation within {self._limit_s:g} s; send fewer rows or steps, or come "
                "back later",
                5,
            ) from None
        finally:
            self._num_waiting -= 1
        if not line.endswith(b"\n"):
            raise unavailable("the explainer ended at this request; it starts anew")
        answer = orjson.loads(line)
        if status := answer.get("status"):
            retry = ((b"retry-after", b"5"),) if status == 503 else ()
            raise RequestError(status, answer["error"], retry)
        return answer

    async def close(self) -> None:
        """End the process that this worker started."""
        if self._place is not None:
            os.close(self._place)
            self._place = None
        child, self._child = self._child, None
        if child is None or child.returncode is not None:
            return
        with suppress(ProcessLookupError):
            child.terminate()
        try:
            await asyncio.wait_for(child.wait(), _END_S)
        except TimeoutError:
            with suppress(ProcessLookupError):
                child.kill()
            await child.wait()

    async def _ask_twice(self, line: bytes) -> bytes:
        """Once more where the explainer ended meanwhile; never again, it may be the job's fault."""
        answer = b""
        for _ in range(2):
            with suppress(OSError):
                answer = await self._ask(line)
            if answer.endswith(b"\n"):
                break
        return answer

    async def _ask(self, line: bytes) -> bytes:
        reader, writer = await self._connect()
        try:
            writer.write(line + b"\n")
            await writer.drain()
            return await reader.readline()
        finally:
            writer.close()

    async def _connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        while True:
            try:
                return await asyncio.open_unix_connection(self._address(), limit=_MAX_ANSWER)
            except (FileNotFoundError, ConnectionRefusedError):
                await self._start()
                await asyncio.sleep(_RETRY_S)

    def _address(self) -> str:
        address = str(self._socket)
        if len(os.fsencode(address)) <= _LONGEST_ADDRESS:
            return address
        if self._place is None:
            self._socket.parent.mkdir(mode=0o700, exist_ok=True)
            self._place = os.open(self._socket.parent, os.O_RDONLY)
        return f"/proc/self/fd/{self._place}/{self._socket.name}"

    async def _start(self) -> None:
        """Start the process unless one that this worker started still runs."""
        child, now = self._child, time.monotonic()
        if child is not None and child.returncode is None:
            return
        if child is not None and child.returncode and child.returncode > 0:
            if now - self._started < _START_AGAIN_S:
                raise unavailable("the explainer does not start; the server's log says why", 10)
        elif now - self._started < _RETRY_S * 10:
            return  # another worker's holds the lock and will listen soon
        self._started = now
        self._socket.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        words = ["-m", "modelyard.explaining", "--folder", str(self._folder)]
        words += ["--socket", str(self._socket)]
        self._child = await asyncio.create_subprocess_exec(sys.executable, *words, stdin=PIPE)
