"""One line for each bar, and the same as JSON with the machine it was measured on."""

import json
import operator
import os
import platform
from collections.abc import Callable
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from statistics import median

_PACKAGES = ("prefect", "dvc", "mlflow", "torch", "onnxruntime")
_OPS: dict[str, Callable[[float, float], bool]] = {
    "<": operator.lt,
    "<=": operator.le,
    ">=": operator.ge,
}


@dataclass(frozen=True)
class Bar:
    """A measured value against its target; ``samples`` are what its median was taken of."""

    name: str
    value: float
    op: str
    target: float
    samples: list[float]

    @property
    def met(self) -> bool:
        """Whether the value is on the right side of the target."""
        return _OPS[self.op](self.value, self.target)

    def __str__(self) -> str:
        state = "met" if self.met else "short"
        return f"BAR {self.name} {self.value:.2f} {self.op} {self.target:.2f} {state}"


def bar(name: str, samples: list[float], op: str, target: float) -> Bar:
    """A bar on the median of ``samples``."""
    return Bar(name, median(samples), op, target, samples)


def publish(bench: str, root: Path, bars: list[Bar], figures: dict[str, list[float]]) -> None:
    """Print the bars and write ``.modelyard/bench/NAME.json`` below ``root``."""
    for item in bars:
        print(item)
    machine = {
        "cpu": cpu(),
        "cores": len(os.sched_getaffinity(0)),
        "python": platform.python_version(),
        "versions": {
            name: version(name) for name in ("prefect", "dvc", "mlflow", "torch", "onnxruntime")
        },
    }
    report = {
        "bars": [asdict(item) | {"met": item.met} for item in bars],
        "figures": figures,
        "machine": machine,
    }
    path = root / ".modelyard" / "bench" / f"{bench}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")


def cpu() -> str:
    """The processor's name."""
    for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.processor()
