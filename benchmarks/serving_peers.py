"""The server beside others that serve models, each in a venv of its own with documented settings.

The network, the picture and the cores are those of ``serving.py``; ``wrk`` has 64 connections and
sends JSON, which all of them take. Each peer is measured in ``--rounds`` turns with ours, with and
without its batching where it has that; the best of all counts. All of it runs in a network
namespace with nothing but loopback, so that no peer listens elsewhere or reports home. What does
not install or run is named with its message, and counts for nothing.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import onnxruntime as ort
from bars import bar, publish
from overhead import ROOT
from serving import Live, prepare, start_ours
from wrk import ONE_CORE, BenchError, Call, Run, Server

from modelyard.services.ports import choose

HERE = ROOT / "benchmarks/peers"
VENVS = ROOT / ".modelyard/bench/peers"
QUIET = {
    "DO_NOT_TRACK": "1",
    "BENTOML_DO_NOT_TRACK": "True",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "RAY_USAGE_STATS_ENABLED": "0",
    "LIGHTNING_DISABLE_VERSION_CHECK": "1",
}
BATCHING = {"PEER_BATCH": "1"}
CONNECTIONS = 64


def _rows(live: Live) -> Call:
    return Call("", json.dumps({"image": live.picture.tolist()}).encode())


def _tensors(live: Live) -> Call:
    return live.infer_calls()["json"]


def _inputs(live: Live) -> Call:
    return Call("", json.dumps({"inputs": {live.input: live.picture.tolist()}}).encode())


@dataclass(frozen=True)
class Peer:
    """A way to serve the model.

    Args:
        name: In figures.
        packages: What pip installs; equal ones share a venv.
        command: Its words; {bin} the venv's programs, {here} this folder's ``peers``, {port},
            {other}, {third} free ports, {model} the ONNX file, {place} a folder of its own.
        path: Where it answers.
        body: What it is sent.
        env: Added to its environment.
        files: Written into {place} first, by name, with the same words put in as ``<port>``.
        before: A command to run first.
    """

    name: str
    packages: tuple[str, ...]
    command: tuple[str, ...]
    path: str
    body: Callable[[Live], Call] = _rows
    env: dict[str, str] = field(default_factory=dict)
    files: dict[str, str] = field(default_factory=dict)
    before: tuple[str, ...] = ()

    @property
    def venv(self) -> Path:
        """Its venv."""
        return VENVS / self.name.removesuffix("-batching")


_MLSERVER = {
    "host": "127.0.0.1",
    "http_port": "<port>",
    "grpc_port": "<other>",
    "metrics_port": "<third>",
    "parallel_workers": 0,
    "debug": False,
}
_DIGITS = {"name": "digits", "implementation": "mlserver_runtime.Digits"}
_BENTO = ("{bin}/bentoml", "serve", "bentoml_service:Digits", "--working-dir", "{here}")
_BENTO += ("--host", "127.0.0.1", "--port", "{port}")
_RAY = ("{bin}/python", "{here}/ray_serve.py", "{port}", "{place}")
_LITSERVE = ("{bin}/python", "{here}/litserve_server.py", "{port}")
_MLFLOW = ("{bin}/mlflow", "models", "serve", "-m", "{place}/model", "--env-manager", "local")
_MLFLOW += ("-h", "127.0.0.1", "-p", "{port}")
PEERS = (
    Peer(
        "mlflow",
        ("mlflow==3.17.2", "onnx"),
        _MLFLOW,
        "/invocations",
        _inputs,
        before=("{bin}/python", "{here}/mlflow_model.py", "{model}", "{place}/model"),
    ),
    Peer("bentoml", ("bentoml==1.4.39",), _BENTO, "/predict"),
    Peer("bentoml-batching", ("bentoml==1.4.39",), _BENTO, "/predict", env=BATCHING),
    Peer("litserve", ("litserve==0.2.19",), _LITSERVE, "/predict"),
    Peer("litserve-batching", ("litserve==0.2.19",), _LITSERVE, "/predict", env=BATCHING),
    Peer(
        "mlserver",
        ("mlserver==1.7.1",),
        ("{bin}/mlserver", "start", "{place}"),
        "/v2/models/digits/infer",
        _tensors,
        files={"settings.json": json.dumps(_MLSERVER), "model-settings.json": json.dumps(_DIGITS)},
    ),
    Peer(
        "mlserver-batching",
        ("mlserver==1.7.1",),
        ("{bin}/mlserver", "start", "{place}"),
        "/v2/models/digits/infer",
        _tensors,
        files={
            "settings.json": json.dumps(_MLSERVER),
            "model-settings.json": json.dumps(
                _DIGITS | {"max_batch_size": 64, "max_batch_time": 0.002}
            ),
        },
    ),
    Peer(
        "kserve",
        ("kserve==0.21.0",),
        ("{bin}/python", "{here}/kserve_server.py", "{port}"),
        "/v2/models/digits/infer",
        _tensors,
    ),
    Peer("ray-serve", ("ray[serve]==2.60.0",), _RAY, "/"),
    Peer("ray-serve-batching", ("ray[serve]==2.60.0",), _RAY, "/", env=BATCHING),
)


def main() -> None:
    """Install what is missing, measure, print the bar, write it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=int, default=3)
    parser.add_argument("--peers", help="their names, divided by commas; without it all")
    parser.add_argument("--folder", type=Path, help="a serving folder with a live `digits`")
    parser.add_argument("--fresh", action="store_true", help="install all of them anew")
    parser.add_argument("--inside", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    names = arguments.peers.split(",") if arguments.peers else [peer.name for peer in PEERS]
    chosen = [peer for peer in PEERS if peer.name in names]
    if arguments.inside is not None:
        measure(chosen, arguments.inside, arguments.rounds, arguments.seconds)
        return
    if shutil.which("wrk") is None:
        sys.exit("wrk is missing: apt-get install wrk")
    if arguments.fresh:
        shutil.rmtree(VENVS, ignore_errors=True)
    for peer in chosen:
        install(peer)
    with tempfile.TemporaryDirectory(prefix="peers-") as place:
        root = prepare(Path(place), arguments.folder)
        words = [sys.executable, __file__, "--inside", str(root)]
        words += ["--rounds", str(arguments.rounds), "--seconds", str(arguments.seconds)]
        words += ["--peers", ",".join(names)]
        sys.exit(subprocess.run([*confined(), *words], check=False).returncode)


def confined() -> list[str]:
    """The words that start a command where there is nothing but loopback.

    Ends the program where the machine does not allow that: KServe listens on every interface, and
    so do parts of Ray.
    """
    words = ["unshare", "-rn", "sh", "-c", 'ip link set lo up && exec "$@"', "sh"]
    tried = subprocess.run([*words, "true"], capture_output=True, text=True, check=False)
    if tried.returncode:
        sys.exit(f"no network namespace can be made here: {tried.stderr.strip()}")
    return words


def install(peer: Peer) -> None:
    """A venv with the peer's packages and our ONNX Runtime; what pip said where it fails."""
    wanted = [*peer.packages, f"onnxruntime=={version('onnxruntime')}"]
    done, failed = peer.venv / "installed.txt", peer.venv / "failed.txt"
    if done.exists() and done.read_text().split() == wanted:
        return
    print(f"installing {' '.join(wanted)}", flush=True)
    shutil.rmtree(peer.venv, ignore_errors=True)
    subprocess.run([sys.executable, "-m", "venv", str(peer.venv)], check=True)
    pip = [str(peer.venv / "bin/python"), "-m", "pip", "install", "--quiet"]
    tried = subprocess.run([*pip, *wanted], capture_output=True, text=True, check=False)
    if tried.returncode:
        failed.write_text(tried.stderr[-1000:])
    else:
        done.write_text("\n".join(wanted))


def measure(peers: list[Peer], root: Path, rounds: int, seconds: int) -> None:
    """Inside the namespace: ours and each peer in turns."""
    live = Live(root / ".modelyard/serving")
    env = {"PYTHONPATH": f"{root / 'src'}:{root}", "PATH": "/usr/bin:/bin"}
    figures: dict[str, list[float]] = {}
    rates: dict[str, tuple[list[Run], list[Run]]] = {}
    refused: dict[str, str] = {}
    ours = start_ours(live, root, env)
    try:
        for peer in peers:
            try:
                rates[peer.name] = pairs(peer, ours, live, rounds, seconds)
            except BenchError as error:
                refused[peer.name] = str(error)
                continue
            show(peer.name, rates[peer.name][1])
    finally:
        ours.stop()
    for name, why in refused.items():
        print(f"{name} did not run: {why}")
    if not rates:
        sys.exit("no peer ran: there is nothing to compare with")
    mine = [run for own, _ in rates.values() for run in own]
    show("modelyard", mine)
    for name, found in [("modelyard", mine), *((name, runs) for name, (_, runs) in rates.items())]:
        figures[f"{name}_rate"] = [run.rate for run in found]
        figures[f"{name}_p99"] = [run.p99 for run in found]
    best = max(rates, key=lambda name: median(figures[f"{name}_rate"]))
    print(f"the best peer is {best}; {len(rates)} of {len(peers)} ran")
    ratios = [own.rate / other.rate for own, other in zip(*rates[best], strict=True)]
    publish("serving-peers", ROOT, [bar("rps_ours_over_best_peer", ratios, ">=", 2.0)], figures)


def pairs(
    peer: Peer, ours: Server, live: Live, rounds: int, seconds: int
) -> tuple[list[Run], list[Run]]:
    """Runs of ours and of the peer, one after the other.

    Raises:
        BenchError: the peer is not installed, does not start, or fails.
    """
    if not (peer.venv / "installed.txt").exists():
        why = peer.venv / "failed.txt"
        raise BenchError(why.read_text() if why.exists() else "it is not installed")
    with tempfile.TemporaryDirectory(prefix="peer-") as folder:
        server = start(peer, live, Path(folder))
        try:
            server.press("json", CONNECTIONS, 1)
            found = [
                (
                    ours.press("json", CONNECTIONS, seconds),
                    server.press("json", CONNECTIONS, seconds),
                )
                for _ in range(rounds)
            ]
        finally:
            server.stop()
    return [own for own, _ in found], [other for _, other in found]


def start(peer: Peer, live: Live, place: Path) -> Server:
    """The peer, once it answers.

    Raises:
        BenchError: it does not.
    """
    ports = [choose([0])]
    while len(ports) < 3:
        ports.append(choose([0], ports))
    words = {
        "bin": str(peer.venv / "bin"),
        "here": str(HERE),
        "model": str(live.model),
        "place": str(place),
        **dict(zip(("port", "other", "third"), map(str, ports), strict=True)),
    }
    for name, text in peer.files.items():
        for key in ("port", "other", "third"):
            text = text.replace(f'"<{key}>"', words[key])
        (place / name).write_text(text)
    env = QUIET | peer.env
    env |= {"PATH": f"{words['bin']}:{os.environ['PATH']}", "HOME": str(place)}
    env |= {"PYTHONPATH": str(HERE), "PEER_MODEL": str(live.model)}
    if peer.before:
        first = [word.format(**words) for word in peer.before]
        done = subprocess.run(first, env=env, capture_output=True, text=True, check=False)
        if done.returncode:
            raise BenchError(done.stderr[-1000:])
    call = peer.body(live)
    call = Call(peer.path, call.body, call.headers)
    command = [*ONE_CORE, *(word.format(**words) for word in peer.command)]
    server = Server(peer.name, command, ports[0], place, env, call, patience_s=90)
    if not answers(server.ask(call), live):
        server.stop()
        raise BenchError("it answers something else than the model does")
    server.give("json", call)
    return server


def answers(body: bytes, live: Live) -> bool:
    """Whether a JSON answer holds the model's probabilities for the picture, in their order."""
    session = ort.InferenceSession(str(live.model), providers=["CPUExecutionProvider"])
    expected = np.asarray(session.run(None, {live.input: live.picture})[0]).reshape(-1)
    found = np.array(list(numbers(json.loads(body))))
    places = range(len(found) - len(expected) + 1)
    return any(np.allclose(found[at : at + len(expected)], expected, atol=1e-3) for at in places)


def numbers(tree: Any) -> Iterator[float]:
    """The numbers in a JSON value, in their order."""
    if isinstance(tree, dict | list):
        for item in tree.values() if isinstance(tree, dict) else tree:
            yield from numbers(item)
    elif isinstance(tree, int | float):
        yield tree


def show(name: str, runs: list[Run]) -> None:
    """A line of medians."""
    rate, p99 = (median(getattr(run, key) for run in runs) for key in ("rate", "p99"))
    print(f"{name:<20} {rate:>9,.0f} requests/s  p99 {p99 * 1e3:>8.2f} ms", flush=True)


if __name__ == "__main__":
    main()
