"""Several worker processes on one port: one socket, from which each of them accepts.

What waits for an answer when a worker dies waits in that socket, and another worker takes it.
"""

import logging
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from types import FrameType

from prometheus_client.multiprocess import mark_process_dead

_logger = logging.getLogger(__name__)

PARENT = "MODELYARD_SERVING_PARENT"
"""In a worker's environment: the process that started it, without which it ends."""
_LOOK_EVERY_S = 0.2
_GRACE_S = 25.0
_LEAST_LIFE_S = 2.0


class Workers:
    """Keeps so many workers alive until told to stop.

    Args:
        number: How many.
        arguments: Of each, as ``python -m modelyard.serving`` takes them.
        listener: The bound, listening socket.
    """

    def __init__(self, number: int, arguments: list[str], listener: socket.socket) -> None:
        self._number = number
        self._arguments = arguments
        self._listener = listener
        self._stopping = threading.Event()
        self._started: dict[int, tuple[subprocess.Popen[bytes], float]] = {}

    def run(self) -> int:
        """Start the workers, start again those that die, end them on SIGTERM or SIGINT.

        Returns:
            The exit status: 0, or 3 where a worker did not live for ``_LEAST_LIFE_S``.
        """
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._stop)
        # Counters of all workers in one place, so that each can show those of all.
        with tempfile.TemporaryDirectory(prefix="modelyard-metrics-") as metrics:
            environment = os.environ | {
                "PROMETHEUS_MULTIPROC_DIR": metrics,
                PARENT: str(os.getpid()),
            }
            for index in range(self._number):
                self._start(index, environment)
            status = self._watch(environment)
            self._end()
        return status

    def _watch(self, environment: dict[str, str]) -> int:
        while not self._stopping.wait(_LOOK_EVERY_S):
            for index, (process, began) in list(self._started.items()):
                if process.poll() is None:
                    continue
                # Its counters stay; of its gauges nothing holds any more.
                mark_process_dead(process.pid, environment["PROMETHEUS_MULTIPROC_DIR"])
                if time.monotonic() - began < _LEAST_LIFE_S:
                    _logger.error("worker %d ended at once; its reason stands above", index)
                    return 3
                _logger.warning("worker %d ended by %s; starting it again", index, process.poll())
                self._start(index, environment)
        return 0

    def _start(self, index: int, environment: dict[str, str]) -> None:
        descriptor = self._listener.fileno()
        words = [sys.executable, "-m", "modelyard.serving", *self._arguments]
        words += ["--descriptor", str(descriptor), "--index", str(index)]
        process = subprocess.Popen(words, pass_fds=(descriptor,), env=environment)
        self._started[index] = process, time.monotonic()

    def _stop(self, _: int, __: FrameType | None) -> None:
        self._stopping.set()

    def _end(self) -> None:
        processes = [process for process, _ in self._started.values()]
        for process in processes:
            process.terminate()
        end = time.monotonic() + _GRACE_S
        for process in processes:
            try:
                process.wait(max(0.1, end - time.monotonic()))
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def listen(host: str, port: int) -> socket.socket:
    """A listening socket for workers to accept from.

    Raises:
        OSError: the port is in use, or the address is none of this machine's.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
        listener.listen(2048)
    except OSError:
        listener.close()
        raise
    return listener


def end_with_parent() -> None:
    """End this worker, as by SIGTERM, when the process that keeps it is gone."""
    if parent := os.environ.get(PARENT):
        threading.Thread(target=_await_parent, args=(int(parent),), daemon=True).start()


def _await_parent(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(_LOOK_EVERY_S)
    os.kill(os.getpid(), signal.SIGTERM)
