"""The short table that a run ends with.

It is for the terminal, for Prefect's artifact, for whoever asks later.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from modelyard.artifacts import Dataset, Layout, ModelVersion, read_json
from modelyard.evaluation.latency import read_measurement
from modelyard.runs import lockfile


@dataclass(frozen=True)
class Promotion:
    """How the wish to promote ended.

    ``outcome`` is ``live``, ``canary``, ``unchanged``, ``refused``, ``manual``, ``waiting`` or
    ``skipped``.
    """

    outcome: str
    reason: str = ""
    aliases: tuple[str, ...] = ()
    seconds: float = 0.0


@dataclass(frozen=True)
class Result:
    """What a run of the pipeline made; ``version`` is None where MLflow was away."""

    run_id: str
    version: ModelVersion | None
    promotion: Promotion


def rows(root: Path, measurements: Path, result: Result) -> list[tuple[str, str]]:
    """Label and value of each line of the table."""
    layout = Layout(root)
    dataset = Dataset.read(layout.dataset)
    trained, compressed = (read_json(layout.metrics(name)) for name in ("evaluate", "compress"))
    metric = dataset.main_metric
    accepted = sum(dataset.rows.values())
    table = [
        ("run", result.run_id),
        ("dataset version", f"{lockfile.read(root).dataset_md5.removesuffix('.dir')} (DVC)"),
        ("rows", f"{accepted:,} accepted, {dataset.num_rejected:,} rejected; {_splits(dataset)}"),
        (f"test {metric}, trained", interval(trained[metric])),
        (
            f"test {metric}, shipped ({compressed['chosen']})",
            interval(compressed["test"][metric]),
        ),
        *((f"test {metric}, {item['title']}", _baseline(item)) for item in trained["baselines"]),
        ("trained model (fp32)", _cost(layout, measurements, "fp32")),
        (f"shipped model ({compressed['chosen']})", _cost(layout, measurements, None)),
    ]
    if result.version:
        aliases = ", ".join(result.promotion.aliases) or "no alias"
        table.append(("version", f"{result.version.name} {result.version.version}: {aliases}"))
    else:
        table.append(("version", "not registered yet"))
    return table


def interval(metric: dict[str, Any]) -> str:
    """``0.976 [0.962, 0.988]`` from a metric with ``value``, ``low``, ``high``."""
    return f"{metric['value']:.3f} [{metric['low']:.3f}, {metric['high']:.3f}]"


def _baseline(item: dict[str, Any]) -> str:
    """A baseline's score, and plainly so where it beats the network."""
    wins = ", better than the network" if item["better"] == "baseline" else ""
    return f"{interval(item['score'])}{wins}"


def markdown(table: list[tuple[str, str]]) -> str:
    """The table as Markdown."""
    lines = [f"| {label} | {value} |" for label, value in table]
    return "\n".join(["| | |", "|---|---|", *lines])


def _splits(dataset: Dataset) -> str:
    return ", ".join(f"{count:,} {split}" for split, count in dataset.rows.items())


def _cost(layout: Layout, measurements: Path, name: str | None) -> str:
    """Size, and one-row latency on this machine where it was measured."""
    file = "reference.onnx" if name == "fp32" else "model.onnx"
    manifest = read_json(layout.package / "manifest.json")["files"][file]
    measured = read_measurement(measurements, manifest["sha256"])
    latency = f"{measured.p50_ms * 1e3:,.0f} µs a row" if measured else "latency not measured here"
    return f"{manifest['size'] / 1e3:,.0f} kB, {latency}"
