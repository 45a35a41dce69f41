"""The process's life: a socket, a queue of one, two packages in memory, an end when idle.

A question is one line of JSON and so is the answer; a connection carries one of each.
"""

import asyncio
import fcntl
import json
import logging
import os
import time
from collections import OrderedDict
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from io import BufferedRandom
from pathlib import Path
from typing import TYPE_CHECKING, Any

from modelyard.errors import PackageError

if TYPE_CHECKING:
    from modelyard.explaining.explainer import Explainer

NUM_LOADED = 2
MAX_LINE = 256 * 1024 * 1024
_LOOK_EVERY_S = 0.2

_logger = logging.getLogger(__name__)


def lock(path: Path) -> BufferedRandom | None:
    """Take the lock that one explainer at a time holds; None where another one does."""
    file = path.open("a+b")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        file.close()
        return None
    return file


class Service:
    """Answers questions about the packages of a serving folder.

    Args:
        folder: The serving folder; no package outside of it is read.
        idle_s: Ends when nobody asked for as long.
    """

    def __init__(self, folder: Path, idle_s: float) -> None:
        self._folder = folder
        self._idle_s = idle_s
        self._pool = ThreadPoolExecutor(1, "explain")
        self._turn = asyncio.Lock()
        self._loaded: OrderedDict[str, Explainer] = OrderedDict()
        self._last = time.monotonic()
        self._num_open = 0

    async def run(self, socket: Path, stopping: asyncio.Event) -> None:
        """Listen until idle or ``stopping``."""
        socket.unlink(missing_ok=True)
        # Where the path is too long for a socket's address.
        os.chdir(socket.parent)
        server = await asyncio.start_unix_server(self._connected, socket.name, limit=MAX_LINE)
        # The imports take seconds; who asks meanwhile waits in the socket.
        self._pool.submit(_prepare)
        async with server:
            while self._num_open or time.monotonic() - self._last < self._idle_s:
                with suppress(TimeoutError):
                    await asyncio.wait_for(stopping.wait(), _LOOK_EVERY_S)
                    break
        with suppress(FileNotFoundError):
            os.unlink(socket.name)  # noqa: PTH108 - relative, as it was bound
        self._pool.shutdown(wait=False, cancel_futures=True)

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._num_open += 1
        try:
            line = await reader.readline()
            async with self._turn:
                answer = await self._answer(line, reader)
            if answer is not None:
                writer.write(json.dumps(answer).encode() + b"\n")
                await writer.drain()
        except (ConnectionError, ValueError) as error:
            _logger.warning("a question was not answered: %s", error)
        finally:
            writer.close()
            self._num_open -= 1
            self._last = time.monotonic()

    async def _answer(self, line: bytes, reader: asyncio.StreamReader) -> dict[str, Any] | None:
        """The answer; None where nobody waits for it any more."""
        loop = asyncio.get_running_loop()
        rows: list[dict[str, Any]] = []
        try:
            job = json.loads(line)
            folder = self._package(job["path"])
            explainer = await loop.run_in_executor(self._pool, self._load, folder, job["digest"])
            for number in range(len(job["targets"])):
                # Whoever asked has gone when the server's limit is over.
                if reader.at_eof():
                    return None
                rows.append(await loop.run_in_executor(self._pool, explainer.explain, job, number))
        except PackageError as error:
            _logger.error("%s", error.message)
            return {"status": 503, "error": "the package cannot be read to be explained"}
        except ArithmeticError:
            return {
                "status": 400,
                "error": f"rows[{len(rows)}]: the model's answer has no gradient that is a number "
                "on the way from the baseline; give another baseline",
            }
        except Exception:
            _logger.exception("an explanation failed")
            return {"status": 500, "error": "the explanation failed; the server's log says why"}
        return {"rows": rows}

    def _package(self, path: str) -> Path:
        folder = (self._folder / path).resolve()
        if not folder.is_relative_to(self._folder.resolve()):
            raise PackageError(f"{path} is not in the serving folder")
        return folder

    def _load(self, folder: Path, digest: str) -> "Explainer":
        from modelyard.explaining.explainer import Explainer

        if digest in self._loaded:
            self._loaded.move_to_end(digest)
            return self._loaded[digest]
        explainer = self._loaded[digest] = Explainer.load(folder, digest)
        while len(self._loaded) > NUM_LOADED:
            self._loaded.popitem(last=False)
        return explainer


def _prepare() -> None:
    import torch

    import modelyard.explaining.explainer

    # One thread: what answers callers shares these cores.
    torch.set_num_threads(1)
    _logger.info("ready to explain: %s", modelyard.explaining.explainer.__name__)
