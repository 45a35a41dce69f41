"""The server beside plain FastAPI, and beside the least that is possible, on one core each.

``wrk`` (Debian's package) has one core, the server the other. The same small network answers one
picture a request, as JSON and as bytes, to 1, 8 and 64 connections. The servers take turns, and
ratios are medians over ``--rounds`` of them. CPU is that of the server's process.
"""

import argparse
import json
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from overhead import ROOT, clone, timed
from wrk import ONE_CORE, Call, Run, Server

from modelyard.artifacts import write_json
from modelyard.services.ports import choose
from modelyard.serving.keys import add as add_key

NAME = "digits"
CONNECTIONS = (1, 8, 64)
FORMATS = ("json", "binary")
OCTETS = {"content-type": "application/octet-stream"}


def main() -> None:
    """Measure, print the bars, write them."""
    from bars import bar, publish

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=int, default=3)
    parser.add_argument("--folder", type=Path, help="a serving folder with a live `digits`")
    arguments = parser.parse_args()
    if shutil.which("wrk") is None:
        sys.exit("wrk is missing: apt-get install wrk")
    runs: dict[tuple[str, str, int], list[Run]] = {}
    with tempfile.TemporaryDirectory(prefix="modelyard-serving-") as place:
        root = prepare(Path(place), arguments.folder)
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


def prepare(place: Path, folder: Path | None) -> Path:
    """A clone with a live champion; its services are stopped, its serving folder stays.

    With a serving ``folder`` there is no clone, but a copy of that.
    """
    if folder is not None:
        shutil.copytree(folder, place / ".modelyard/serving")
        return place
    root = clone(place, "clone")
    try:
        timed(root, "-m", "modelyard.cli", "run", "--set", "evaluate.baselines=[]")
    finally:
        timed(root, "-m", "modelyard.cli", "down")
    return root


class Live:
    """The live model of a serving folder, and a picture for it [1, height, width] uint8."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        live = json.loads((folder / NAME / "live.json").read_bytes())
        self.package = folder / NAME / live["path"]
        (given,) = json.loads((self.package / "schema.json").read_bytes())["inputs"]
        (row,) = json.loads((self.package / "input_example.json").read_bytes())["rows"]
        self.input = given["name"]
        self.picture = np.array([row[self.input]], dtype=np.uint8)

    @property
    def model(self) -> Path:
        """Its ONNX file."""
        return self.package / "model.onnx"

    def infer_calls(self, **headers: str) -> dict[str, Call]:
        """The picture by the Open Inference Protocol, as JSON and as bytes."""
        path, pixels = f"/v2/models/{NAME}/infer", self.picture.tobytes()
        shape = list(self.picture.shape)
        tensor: dict[str, Any] = {"name": self.input, "shape": shape, "datatype": "UINT8"}
        as_json = json.dumps({"inputs": [tensor | {"data": self.picture.tolist()}]}).encode()
        tensor["parameters"] = {"binary_data_size": len(pixels)}
        head = json.dumps({"inputs": [tensor], "parameters": {"binary_data_output": True}}).encode()
        lengths = OCTETS | {"Inference-Header-Content-Length": str(len(head))}
        return {
            "json": Call(path, as_json, headers | {"content-type": "application/json"}),
            "binary": Call(path, head + pixels, headers | lengths),
        }


def start_ours(live: Live, place: Path, env: Mapping[str, str]) -> Server:
    """Our server with all on: a key and its rate, validation, metrics, a log of 1% of requests."""
    log = {"sample": 0.01, "days": 1, "max_mb": 500, "content": False}
    write_json(live.folder / NAME / "serve.json", {"log": log})
    keys = place / "keys/api-keys.json"
    key, _ = add_key(keys, "benchmark", (NAME,), rate=1e6, days=None)
    port = choose([0])
    words = ["-m", "modelyard.serving", "--folder", str(live.folder), "--keys", str(keys)]
    command = [*ONE_CORE, sys.executable, *words, "--port", str(port)]
    server = Server("modelyard", command, port, place, env, "/v2/health/ready")
    for kind, call in live.infer_calls(**{"x-api-key": key}).items():
        server.give(kind, call)
    return server


def start_reference(name: str, live: Live, place: Path, env: Mapping[str, str]) -> Server:
    """One of ``reference_servers``."""
    port = choose([0])
    command = [*ONE_CORE, sys.executable, str(ROOT / "benchmarks/reference_servers.py"), name]
    command += ["--model", str(live.model), "--port", str(port)]
    rows = json.dumps({live.input: live.picture.tolist()}).encode()
    call = Call("/json", rows)
    server = Server(name, command, port, place, env, call)
    server.give("json", call)
    server.give("binary", Call("/binary", live.picture.tobytes(), OCTETS))
    return server


@contextmanager
def servers(root: Path) -> Iterator[list[Server]]:
    """All of them, started, with their requests."""
    live = Live(root / ".modelyard/serving")
    env = {"PYTHONPATH": f"{root / 'src'}:{root}", "PATH": "/usr/bin:/bin"}
    started: list[Server] = []
    try:
        started.append(start_ours(live, root, env))
        for name in ("fastapi", "limit"):
            started.append(start_reference(name, live, root, env))
        yield started
    finally:
        for server in started:
            server.stop()


if __name__ == "__main__":
    main()
