"""The soak as a page of Markdown and a picture."""

import os
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from bars import Bar, cpu

if TYPE_CHECKING:
    from soak import Soak

_PAGE = """# The server under load: {minutes:g} minutes, {swaps} versions

`make soak` on {cpu}, {cores} cores: two workers get {rate:,.0f} requests a second,
{share:.0%} of the {capacity:,.0f} that the same callers and workers reach without a rate, for
{minutes:g} minutes. Every {every:g} s a new version goes live in both. The callers share the cores
with the workers. A latency counts from when its request should have been sent.

![Memory of each worker and latency over time](images/soak.svg)

| | |
|---|---|
| requests answered | {answers:,} |
| swaps, and their median until both workers serve the new version | {swaps}, {swap_ms:.0f} ms |
| latency: median, 99%, 99.9%, longest | {p50:.1f}, {p99:.1f}, {p999:.1f}, {longest:.0f} ms |
{memory}

```
{bars}
```
"""


def write_report(soak: "Soak", latencies: np.ndarray, bars: list[Bar], folder: Path) -> Path:
    """Write ``soak.md`` and ``images/soak.svg`` below a folder; return the page's path."""
    from soak import SHARE

    lines: list[str] = []
    for number, worker in enumerate(soak.memory_mb):
        begin, end = soak.windows(worker)
        lines.append(
            f"| memory of worker {number}, after the warm-up and at the end | "
            f"{begin:.1f} MB, {end:.1f} MB ({end / begin - 1:+.1%}) |"
        )
    p50, p99, p999, longest = np.quantile(latencies, [0.5, 0.99, 0.999, 1.0]) * 1e3
    page = _PAGE.format(
        cpu=cpu(),
        cores=len(os.sched_getaffinity(0)),
        rate=soak.rate,
        share=SHARE,
        capacity=soak.capacity,
        minutes=soak.seconds / 60,
        every=soak.every_s,
        answers=soak.num_answers,
        swaps=len(soak.swaps_s),
        swap_ms=np.median(soak.swaps_s) * 1e3 if soak.swaps_s else float("nan"),
        p50=p50,
        p99=p99,
        p999=p999,
        longest=longest,
        memory="\n".join(lines),
        bars="\n".join(map(str, bars)),
    )
    (folder / "images").mkdir(parents=True, exist_ok=True)
    draw(soak, folder / "images/soak.svg")
    path = folder / "soak.md"
    path.write_text(page, encoding="utf-8")
    return path


def draw(soak: "Soak", path: Path) -> None:
    """Memory in MB and latency in ms over minutes, one below the other; swaps are thin lines."""
    import matplotlib as mpl
    from matplotlib.figure import Figure

    at = np.array(soak.at_s) / 60
    with mpl.rc_context({"svg.fonttype": "none", "svg.hashsalt": "soak", "font.size": 9}):
        figure = Figure(figsize=(8, 4.6), layout="constrained")
        memory, latency = figure.subplots(2, 1, sharex=True)
        for number, found in enumerate(soak.memory_mb.values()):
            memory.plot(at, found, label=f"worker {number}", linewidth=1.2)
        memory.set_ylim(bottom=0)
        memory.set_ylabel("memory, MB")
        latency.plot(at, np.array(soak.p99) * 1e3, label="99%", linewidth=1, color="tab:red")
        latency.plot(at, np.array(soak.p50) * 1e3, label="median", linewidth=1, color="tab:gray")
        latency.set_yscale("log")
        latency.set_ylabel("latency, ms")
        latency.set_xlabel("minutes")
        for axes in (memory, latency):
            for swap in soak.swaps_at_s:
                axes.axvline(swap / 60, color="0.85", linewidth=0.5, zorder=0)
            axes.legend(loc="lower right", fontsize=8)
        figure.savefig(path, metadata={"Date": None})
