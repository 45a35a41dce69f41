"""Ten minutes at 80% of what two workers can do, with a new version every ten seconds.

Capacity is what the same callers get out of the same processes without a rate, so that the callers'
own share of the machine is in it. Then requests leave at a constant rate (``open_loop.py``) while
versions go live as the follower makes them: a package of its own, a pointer, both workers'
acknowledgements. Memory of each worker is read every second; after a tenth of the time it must not
grow. Writes ``docs/soak.md`` and ``docs/images/soak.svg``.
"""

import argparse
import asyncio
import shutil
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from time import perf_counter, sleep

import numpy as np
import psutil
import uvloop
from bars import Bar, publish
from open_loop import Counts, OpenLoop, http_request
from overhead import ROOT
from serving import NAME, Live, prepare
from soak_report import write_report
from wrk import Server

from modelyard.follower.folder import ModelFolder
from modelyard.follower.records import Pointer, Release
from modelyard.services.ports import choose
from modelyard.serving.keys import add as add_key

WORKERS = 2
SHARE = 0.8
PATIENCE_S = 30.0
WARM_UP = 0.1
"""Share of the time that is not looked at."""


@dataclass
class Soak:
    """What was seen: a second each in ``at_s``, ``memory_mb`` by worker, and latencies in s."""

    seconds: float
    every_s: float
    capacity: float = 0.0
    at_s: list[float] = field(default_factory=list)
    memory_mb: dict[int, list[float]] = field(default_factory=dict)
    p50: list[float] = field(default_factory=list)
    p99: list[float] = field(default_factory=list)
    swaps_at_s: list[float] = field(default_factory=list)
    swaps_s: list[float] = field(default_factory=list)
    all_latencies: list[np.ndarray] = field(default_factory=list)
    counts: Counts = field(default_factory=Counts)
    took_s: float = 0.0

    @property
    def rate(self) -> float:
        """Requests a second."""
        return SHARE * self.capacity

    @property
    def num_answers(self) -> int:
        """Requests that were answered with 200."""
        return sum(map(len, self.all_latencies))

    def windows(self, worker: int) -> tuple[float, float]:
        """A worker's memory in MB after the warm-up and at the end: medians of a tenth each."""
        memory = self.memory_mb[worker]
        tenth = max(1, round(len(memory) * WARM_UP))
        return median(memory[tenth : 2 * tenth]), median(memory[-tenth:])

    def growth(self) -> float:
        """The largest growth of a worker's memory after the warm-up, as a share."""
        windows = [self.windows(worker) for worker in self.memory_mb]
        return max(end / begin - 1 for begin, end in windows)


class Releases:
    """Versions going live one after the other, as the follower does it.

    Args:
        live: The first; the others are copies of its package.
    """

    def __init__(self, live: Live) -> None:
        self._folder = ModelFolder(live.folder, NAME)
        pointer = self._folder.read().pointer
        assert pointer is not None
        self._release = pointer.release
        self.may_answer = frozenset({self._release.version})

    def wait(self, pointer: Pointer) -> None:
        """Wait for all workers to serve a version.

        Raises:
            RuntimeError: one refuses it, or they do not in time.
        """
        deadline = perf_counter() + PATIENCE_S
        while (answer := self._folder.answer(pointer)).state != "live":
            if answer.state == "refused" or perf_counter() > deadline:
                raise RuntimeError(f"version {pointer.release.version}: {answer}")
            sleep(0.005)

    def wait_for_first(self) -> None:
        """Wait for all workers to serve what the folder says at the start."""
        pointer = self._folder.read().pointer
        assert pointer is not None
        deadline = perf_counter() + PATIENCE_S
        while len(self._folder.answer(pointer).workers) < WORKERS and perf_counter() < deadline:
            sleep(0.005)
        self.wait(pointer)

    def swap(self) -> float:
        """Make the next version live; seconds until all workers serve it."""
        old, path = self._release, self._folder.path
        new = Release(old.version + 1, old.digest)
        shutil.copytree(path / old.path, path / new.path)
        started = perf_counter()
        self.may_answer = frozenset({old.version, new.version})
        pointer = self._folder.point(new, pinned=False)
        self.wait(pointer)
        self._release = new
        took = perf_counter() - started
        # What was asked before may still be on its way.
        sleep(0.5)
        self.may_answer = frozenset({new.version})
        shutil.rmtree(path / old.path)
        return took


def main() -> None:
    """Measure, print the bars, write them and the report."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--every", type=float, default=10.0, help="seconds from swap to swap")
    parser.add_argument("--folder", type=Path, help="a serving folder with a live `digits`")
    parser.add_argument("--report", type=Path, default=ROOT / "docs", help="where the report goes")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="soak-") as place:
        root = prepare(Path(place), arguments.folder)
        env = {"PYTHONPATH": f"{root / 'src'}:{root}", "PATH": "/usr/bin:/bin"}
        soak = Soak(arguments.minutes * 60, arguments.every)
        uvloop.run(press(soak, root, env))
    latencies = np.concatenate(soak.all_latencies)
    bars = [
        _bar("soak_memory_growth", soak.growth(), "<=", 0.05),
        _bar("soak_failed_requests", float(soak.counts.failures.total()), "<=", 0.0),
        _bar("soak_wrong_versions", float(soak.counts.wrong), "<=", 0.0),
        _bar("soak_rate_kept", soak.seconds / soak.took_s, ">=", 0.99),
    ]
    for why, number in soak.counts.failures.most_common(5):
        print(f"{number} x {why}")
    figures = {
        "capacity": [soak.capacity],
        "rate": [soak.rate],
        "swaps_s": soak.swaps_s,
        "latency_s_p50_p99_p999_max": np.quantile(latencies, [0.5, 0.99, 0.999, 1.0]).tolist(),
        **{f"memory_mb_{worker}": found for worker, found in enumerate(soak.memory_mb.values())},
    }
    publish("soak", ROOT, bars, figures)
    print(f"the report is {write_report(soak, latencies, bars, arguments.report)}")


async def press(soak: Soak, root: Path, env: Mapping[str, str]) -> None:
    """Start the workers, find their capacity, keep the rate."""
    live = Live(root / ".modelyard/serving")
    keys = root / "keys/api-keys.json"
    key, _ = add_key(keys, "soak", (NAME,), rate=1e6, days=None)
    port = choose([0])
    command = [sys.executable, "-m", "modelyard.serving", "--folder", str(live.folder)]
    command += ["--workers", str(WORKERS), "--keys", str(keys), "--port", str(port)]
    server = Server("modelyard", command, port, root, env, "/v2/health/ready")
    try:
        releases = Releases(live)
        await asyncio.to_thread(releases.wait_for_first)
        call = live.infer_calls(**{"x-api-key": key})["json"]
        request = http_request(call.path, call.body, call.headers)
        load = OpenLoop(port, request, lambda: releases.may_answer)
        soak.capacity = await find_capacity(load)
        print(f"capacity {soak.capacity:,.0f} requests/s, rate {soak.rate:,.0f}", flush=True)
        await keep(load, releases, soak, server.process.pid)
        load.close()
    finally:
        server.stop()


async def find_capacity(load: OpenLoop, seconds: float = 5.0) -> float:
    """Answers a second without a rate: the median of three runs, after one to warm up."""
    rates: list[float] = []
    for _ in range(4):
        took = await load.run(seconds, None)
        rates.append(len(load.counts.latencies) / took)
        if load.counts.failures:
            sys.exit(f"requests fail before the soak begins: {load.counts.failures}")
        load.counts = Counts()
    return median(rates[1:])


async def keep(load: OpenLoop, releases: Releases, soak: Soak, pid: int) -> None:
    """Requests at the rate, samples, swaps."""
    workers = psutil.Process(pid).children()
    soak.memory_mb = {worker.pid: [] for worker in workers}
    soak.counts = load.counts
    started = perf_counter()
    others = [
        asyncio.create_task(_sample(load, workers, soak, started)),
        asyncio.create_task(_swap(releases, soak, started)),
    ]
    soak.took_s = await load.run(soak.seconds, soak.rate)
    for task in others:
        if task.done():
            task.result()
        task.cancel()
    await asyncio.gather(*others, return_exceptions=True)
    soak.all_latencies.append(np.array(load.counts.latencies))


async def _sample(
    load: OpenLoop, workers: list[psutil.Process], soak: Soak, started: float
) -> None:
    """Every second: memory of the workers, latencies of what was answered meanwhile."""
    while True:
        await asyncio.sleep(1.0)
        latencies, load.counts.latencies = np.array(load.counts.latencies), []
        if not len(latencies):
            continue
        soak.all_latencies.append(latencies)
        soak.at_s.append(perf_counter() - started)
        soak.p50.append(float(np.quantile(latencies, 0.5)))
        soak.p99.append(float(np.quantile(latencies, 0.99)))
        for worker in workers:
            soak.memory_mb[worker.pid].append(worker.memory_info().rss / 1e6)


async def _swap(releases: Releases, soak: Soak, started: float) -> None:
    while True:
        await asyncio.sleep(soak.every_s - (perf_counter() - started) % soak.every_s)
        soak.swaps_at_s.append(perf_counter() - started)
        soak.swaps_s.append(await asyncio.to_thread(releases.swap))


def _bar(name: str, value: float, op: str, target: float) -> Bar:
    return Bar(name, value, op, target, [value])


if __name__ == "__main__":
    main()
