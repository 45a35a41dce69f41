"""A server on one core, pressed by ``wrk`` (Debian's package) on the other."""

import re
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from time import perf_counter, sleep
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import psutil

ONE_CORE = ("taskset", "-c", "1")
_LOAD_CORE = ("taskset", "-c", "0")
_SECONDS = {"us": 1e-6, "ms": 1e-3, "s": 1.0}
_SCRIPT = """
local file = io.open("{body}", "rb")
wrk.method, wrk.body = "POST", file:read("*a")
file:close()
{headers}
"""


class BenchError(Exception):
    """A server that did not start or did not answer; the message says what it said."""


@dataclass(frozen=True)
class Run:
    """What one run of ``wrk`` found: requests a second, CPU seconds a request, p99 in seconds."""

    rate: float
    cpu: float
    p99: float


@dataclass(frozen=True)
class Call:
    """One request, sent again and again."""

    path: str
    body: bytes
    headers: Mapping[str, str] = field(default_factory=lambda: {"content-type": "application/json"})


class Server:
    """A server from its start to ``stop``.

    Args:
        name: In messages and file names.
        command: Its words; behind ``ONE_CORE`` it has one core alone.
        port: Where it listens, on 127.0.0.1.
        place: A folder for its log and for what wrk reads; its working directory.
        env: Its environment.
        ready: A call that it answers with 200 as soon as it is ready, or a path to get.
        patience_s: How long that may take.

    Raises:
        BenchError: it ended, or did not answer in time.
    """

    def __init__(
        self,
        name: str,
        command: list[str],
        port: int,
        place: Path,
        env: Mapping[str, str],
        ready: Call | str,
        patience_s: float = 30.0,
    ) -> None:
        self.name, self._port, self._place = name, port, place
        self._scripts: dict[str, tuple[str, Path]] = {}
        self._log = place / f"{name}.log"
        with self._log.open("wb") as log:
            self.process = subprocess.Popen(
                command,
                cwd=place,
                env=dict(env),
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        try:
            self.ready_s = self._wait(ready, patience_s)
        except BaseException:
            self.stop()
            raise

    def ask(self, call: Call) -> bytes:
        """The answer to one call.

        Raises:
            BenchError: there is none, or it is not 200.
        """
        url = f"http://127.0.0.1:{self._port}{call.path}"
        try:
            with urlopen(Request(url, call.body or None, dict(call.headers)), timeout=5) as answer:
                if answer.status != 200:
                    raise BenchError(str(answer.status))
                return answer.read()
        except HTTPError as error:
            raise BenchError(f"{error.code} {error.read(300)!r}") from None
        except OSError as error:
            raise BenchError(str(error)) from None

    def _wait(self, ready: Call | str, patience_s: float) -> float:
        """Seconds until the server was ready."""
        started = perf_counter()
        call = Call(ready, b"", {}) if isinstance(ready, str) else ready
        while True:
            try:
                self.ask(call)
            except BenchError as error:
                if self.process.poll() is None and perf_counter() - started < patience_s:
                    sleep(0.01)
                    continue
                raise BenchError(f"it did not start: {error}\n{self._log_end()}") from None
            return perf_counter() - started

    def _log_end(self) -> str:
        return self._log.read_text(errors="replace")[-2000:]

    def give(self, kind: str, call: Call) -> None:
        """What ``press`` sends as ``kind``."""
        place = self._place / f"{self.name}-{kind}"
        place.with_suffix(".body").write_bytes(call.body)
        lines = "\n".join(
            f'wrk.headers["{name}"] = "{text}"' for name, text in call.headers.items()
        )
        script = _SCRIPT.format(body=place.with_suffix(".body"), headers=lines)
        place.with_suffix(".lua").write_text(script)
        self._scripts[kind] = call.path, place.with_suffix(".lua")

    def press(self, kind: str, connections: int, seconds: int) -> Run:
        """Send requests for some seconds.

        Raises:
            BenchError: a request failed.
        """
        path, script = self._scripts[kind]
        before = self._cpu()
        words = [*_LOAD_CORE, "wrk", "-t1", f"-c{connections}", f"-d{seconds}s"]
        words += ["--latency", "-s", str(script), f"http://127.0.0.1:{self._port}{path}"]
        done = subprocess.run(words, check=True, capture_output=True, text=True)
        cpu = self._cpu() - before
        if "Non-2xx" in done.stdout or "Socket errors" in done.stdout:
            raise BenchError(f"{self.name}, {kind}:\n{done.stdout}\n{self._log_end()}")
        count = re.search(r"(\d+) requests in", done.stdout)
        p99 = re.search(r"99%\s+([\d.]+)(us|ms|s)", done.stdout)
        rate = re.search(r"Requests/sec:\s+([\d.]+)", done.stdout)
        if not (count and p99 and rate) or not int(count[1]):
            raise BenchError(f"wrk printed something else than expected:\n{done.stdout}")
        slow = float(p99[1]) * _SECONDS[p99[2]]
        return Run(float(rate[1]), cpu / int(count[1]), slow)

    def memory_mb(self) -> float:
        """Resident memory now."""
        return psutil.Process(self.process.pid).memory_info().rss / 1e6

    def _cpu(self) -> float:
        """CPU seconds of the server and of the processes that it started."""
        total = 0.0
        for process in _family(self.process.pid):
            times = process.cpu_times()
            total += times.user + times.system
        return total

    def stop(self) -> None:
        """End it, and whatever it started."""
        family = _family(self.process.pid)
        self.process.terminate()
        try:
            self.process.wait(30)
        except subprocess.TimeoutExpired:
            print(f"{self.name} did not end by itself", file=sys.stderr)
        for process in family:
            if process.is_running():
                process.kill()
        self.process.wait(30)


def _family(pid: int) -> list[psutil.Process]:
    try:
        process = psutil.Process(pid)
        return [process, *process.children(recursive=True)]
    except psutil.NoSuchProcess:
        return []
