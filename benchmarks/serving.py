"""The server beside plain FastAPI, and beside the least that is possible, on one core each.

``wrk`` (Debian's package) has one core, the server the other. The same small network answers one
picture a request, as JSON and as bytes, to 1, 8 and 64 connections. The servers take turns, and
ratios are medians over ``--rounds`` of them. CPU is that of the server's process.
"""

import argparse
import json
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from time import perf_counter, sleep
from typing import Any
from urllib.error import URLError
from urllib.request import urlopen

import numpy as np
from overhead import ROOT, clone, timed

NAME = "digits"
CONNECTIONS = (1, 8, 64)
FORMATS = ("json", "binary")
_SECONDS = {"us": 1e-6, "ms": 1e-3, "s": 1.0}
_SCRIPT = """
local file = io.open("{body}", "rb")
wrk.method, wrk.body = "POST", file:read("*a")
file:close()
{headers}
"""


@dataclass(frozen=True)
class Run:
    """What one run of ``wrk`` found: requests a second, CPU seconds a request, p99 in seconds."""

    rate: float
    cpu: float
    p99: float


def main() -> None:
    """Measure, print the bars, write them."""
    from bars import bar, publish

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=int, default=3)
    arguments = parser.parse_args()
    if shutil.which("wrk") is None:
        sys.exit("wrk is missing: apt-get install wrk")
    runs: dict[tuple[str, str, int], list[Run]] = {}
    with tempfile.TemporaryDirectory(prefix="modelyard-serving-") as place:
        root = prepare(Path(place))
        with servers(root) as all_servers:
            for number in range(1, arguments.rounds + 1):
                for kind in FORMATS:
                    for connections in CONNECTIONS:
                        for server in all_servers:
                            found = server.press(kind, connections, arguments.seconds)
                            runs.setdefault((server.name, kind, connections), []).append(found)
                print(f"round {number} of {arguments.rounds}", flush=True)
            memory = [server.memory_mb() for server in all_servers if server.name == "modelyard"]
            ready = [server.ready_s for server in all_servers if server.name == "modelyard"]
    show(runs)

    def ratios(over: str, under: str, kind: str, figure: Callable[[Run], float]) -> list[float]:
        pairs = zip(runs[over, kind, 64], runs[under, kind, 64], strict=True)
        return [figure(first) / figure(second) for first, second in pairs]

    bars = [
        bar(
            f"cpu_fastapi_over_ours_{kind}",
            ratios("fastapi", "modelyard", kind, cpu_of),
            ">=",
            least,
        )
        for kind, least in (("json", 3.2), ("binary", 3.5))
    ]
    bars += [
        bar(f"cpu_ours_over_limit_{kind}", ratios("modelyard", "limit", kind, cpu_of), "<=", 2.3)
        for kind in FORMATS
    ]
    bars += [
        bar(f"p99_ours_over_fastapi_{kind}", ratios("modelyard", "fastapi", kind, p99_of), "<", 1.0)
        for kind in FORMATS
    ]
    bars += [bar("worker_memory_mb", memory, "<=", 90.0), bar("ready_s", ready, "<=", 1.0)]
    figures = {
        f"{name}_{kind}_{connections}_{figure}": [getattr(run, figure) for run in found]
        for (name, kind, connections), found in runs.items()
        for figure in ("rate", "cpu", "p99")
    }
    publish("serving", ROOT, bars, figures)


def cpu_of(run: Run) -> float:
    """CPU seconds a request."""
    return run.cpu


def p99_of(run: Run) -> float:
    """Seconds that one request in a hundred exceeds."""
    return run.p99


def show(runs: dict[tuple[str, str, int], list[Run]]) -> None:
    """A table of medians."""
    row = "{:<10} {:<7} {:>5} {:>11} {:>12} {:>9}"
    print(row.format("server", "format", "conns", "requests/s", "CPU us/req", "p99 ms"))
    for (name, kind, connections), found in sorted(runs.items()):
        rate, cpu, p99 = (
            median(getattr(run, key) for run in found) for key in ("rate", "cpu", "p99")
        )
        cells = f"{rate:,.0f}", f"{cpu * 1e6:.0f}", f"{p99 * 1e3:.2f}"
        print(row.format(name, kind, connections, *cells))


def prepare(place: Path) -> Path:
    """A clone with a live champion; its services are stopped, its serving folder stays."""
    root = clone(place, "clone")
    try:
        timed(root, "-m", "modelyard.cli", "run", "--set", "evaluate.baselines=[]")
    finally:
        timed(root, "-m", "modelyard.cli", "down")
    return root


class Server:
    """A server on one core, and what to ask it by each format (path, body, headers)."""

    def __init__(self, name: str, words: list[str], port: int, place: Path) -> None:
        self.name, self._port, self._place = name, port, place
        self._requests: dict[str, Path] = {}
        started = perf_counter()
        self.process = subprocess.Popen(
            ["taskset", "-c", "1", sys.executable, *words, "--port", str(port)],
            cwd=place,
            env={"PYTHONPATH": f"{place / 'src'}:{place}", "PATH": "/usr/bin:/bin"},
        )
        while not self._answers():
            if self.process.poll() is not None or perf_counter() - started > 30:
                sys.exit(f"{name} did not start")
            sleep(0.01)
        self.ready_s = perf_counter() - started

    def _answers(self) -> bool:
        path = "/v2/health/ready" if self.name == "modelyard" else "/"
        try:
            with urlopen(f"http://127.0.0.1:{self._port}{path}", timeout=1) as answer:
                return answer.status == 200
        except URLError as error:
            # A reference has no page of health; that it answers at all will do.
            return getattr(error, "code", 503) in (404, 405)

    def give(self, kind: str, path: str, body: bytes, **headers: str) -> None:
        """What ``press`` sends."""
        place = self._place / f"{self.name}-{kind}"
        place.with_suffix(".body").write_bytes(body)
        lines = "\n".join(
            f'wrk.headers["{name.replace("_", "-")}"] = "{text}"' for name, text in headers.items()
        )
        script = _SCRIPT.format(body=place.with_suffix(".body"), headers=lines)
        place.with_suffix(".lua").write_text(f"-- {path}\n{script}")
        self._requests[kind] = place.with_suffix(".lua")

    def press(self, kind: str, connections: int, seconds: int) -> Run:
        """Send requests for some seconds."""
        script = self._requests[kind]
        path = script.read_text().partition("\n")[0].removeprefix("-- ")
        before = self._cpu()
        words = ["taskset", "-c", "0", "wrk", "-t1", f"-c{connections}", f"-d{seconds}s"]
        words += ["--latency", "-s", str(script), f"http://127.0.0.1:{self._port}{path}"]
        done = subprocess.run(words, check=True, capture_output=True, text=True)
        cpu = self._cpu() - before
        if "Non-2xx" in done.stdout or "Socket errors" in done.stdout:
            sys.exit(f"{self.name}, {kind}:\n{done.stdout}")
        count = re.search(r"(\d+) requests in", done.stdout)
        p99 = re.search(r"99%\s+([\d.]+)(us|ms|s)", done.stdout)
        rate = re.search(r"Requests/sec:\s+([\d.]+)", done.stdout)
        if not (count and p99 and rate):
            sys.exit(f"wrk printed something else than expected:\n{done.stdout}")
        slow = float(p99[1]) * _SECONDS[p99[2]]
        return Run(float(rate[1]), cpu / int(count[1]), slow)

    def memory_mb(self) -> float:
        """Resident memory now."""
        import psutil

        return psutil.Process(self.process.pid).memory_info().rss / 1e6

    def _cpu(self) -> float:
        import psutil

        times = psutil.Process(self.process.pid).cpu_times()
        return times.user + times.system

    def stop(self) -> None:
        """End it."""
        self.process.terminate()
        self.process.wait(30)


@contextmanager
def servers(root: Path) -> Iterator[list[Server]]:
    """All of them, started, with their requests."""
    from modelyard.services.ports import choose

    folder = root / ".modelyard/serving"
    live = json.loads((folder / NAME / "live.json").read_bytes())
    package = folder / NAME / live["path"]
    schema = json.loads((package / "schema.json").read_bytes())["inputs"][0]
    (row,) = json.loads((package / "input_example.json").read_bytes())["rows"]
    picture = np.array([row[schema["name"]]], dtype=np.uint8)
    reference = str(ROOT / "benchmarks/reference_servers.py")
    model = ["--model", str(package / "model.onnx")]
    words = {
        "modelyard": ["-m", "modelyard.serving", "--folder", str(folder)],
        "fastapi": [reference, "fastapi", *model],
        "limit": [reference, "limit", *model],
    }
    started: list[Server] = []
    try:
        for name, command in words.items():
            started.append(Server(name, command, choose([0]), root))
            give(started[-1], schema["name"], picture)
        yield started
    finally:
        for server in started:
            server.stop()


def give(server: Server, name: str, picture: np.ndarray) -> None:
    """The same picture to each server, by its own protocol."""
    as_json, as_bytes = json.dumps({name: picture.tolist()}).encode(), picture.tobytes()
    kind = {"content_type": "application/json"}
    if server.name != "modelyard":
        server.give("json", "/json", as_json, **kind)
        server.give("binary", "/binary", as_bytes, content_type="application/octet-stream")
        return
    tensor: dict[str, Any] = {"name": name, "shape": list(picture.shape), "datatype": "UINT8"}
    path = f"/v2/models/{NAME}/infer"
    server.give(
        "json", path, json.dumps({"inputs": [tensor | {"data": picture.tolist()}]}).encode(), **kind
    )
    tensor["parameters"] = {"binary_data_size": len(as_bytes)}
    head = json.dumps({"inputs": [tensor], "parameters": {"binary_data_output": True}}).encode()
    length = {"Inference_Header_Content_Length": str(len(head))}
    server.give("binary", path, head + as_bytes, content_type="application/octet-stream", **length)


if __name__ == "__main__":
    main()
