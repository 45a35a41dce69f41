"""Each recipe's score beside scikit-learn's linear model and gradient boosting, on one split.

Every recipe is run whole (fetch to compress, by ``dvc repro``) in a fresh clone. A bar is met where
the shipped file's score on test is not below the better baseline's by more than that one's
interval. ``--only NAME`` runs one recipe.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from time import perf_counter
from typing import Any

import yaml

ROOT = Path(__file__).parents[1]
RECIPES = ("digits", "credit", "diagnosis", "sentiment", "syllables", "houses")


def main() -> None:
    """Run, print the table and the bars, write them."""
    from bars import bar, publish

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", choices=RECIPES)
    arguments = parser.parse_args()
    names = [arguments.only] if arguments.only else list(RECIPES)
    bars, figures = [], {}
    row = "{:<10} {:>8} {:<9} {:>24} {:>24} {:>24} {:>9} {:>7}"
    head = ("recipe", "rows", "metric", "shipped", "linear", "boosting", "kB", "s")
    print(row.format(*head))
    for name in names:
        with tempfile.TemporaryDirectory(prefix="modelyard-recipes-") as folder:
            result = measure(name, Path(folder) / "clone")
        known = result["baselines"]
        cells = [interval(item) for item in (result["shipped"], known["linear"], known["boosting"])]
        size = f"{result['bytes'] / 1e3:,.0f}"
        rows, seconds = f"{result['rows']:,}", f"{result['seconds']:.0f}"
        print(row.format(name, rows, result["metric"], *cells, size, seconds))
        best = max(known.values(), key=lambda item: item["value"])
        bars.append(bar(f"recipe_{name}", [result["shipped"]["value"]], ">=", best["low"]))
        figures[f"{name}_s"] = [result["seconds"]]
    publish("recipes", ROOT, bars, figures)


def measure(name: str, clone: Path) -> dict[str, Any]:
    """Run one recipe in a fresh clone; its scores, rows, seconds and the shipped file's size."""
    subprocess.run(["git", "clone", "-q", str(ROOT), str(clone)], check=True)
    source = clone / ("params.yaml" if name == "digits" else f"recipes/{name}.yaml")
    params = yaml.safe_load(source.read_text(encoding="utf-8"))
    params["evaluate"]["baselines"] = ["linear", "boosting"]
    (clone / "params.yaml").write_text(yaml.safe_dump(params, sort_keys=False), encoding="utf-8")
    started = perf_counter()
    environment = os.environ | {
        "PYTHONPATH": os.pathsep.join([str(clone / "src"), str(clone)]),
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
    }
    command = [sys.executable, "-m", "dvc", "repro", "--quiet"]
    subprocess.run(command, cwd=clone, check=True, env=environment)
    seconds = perf_counter() - started
    metrics = {
        stage: json.loads((clone / f"metrics/{stage}.json").read_text(encoding="utf-8"))
        for stage in ("compress", "baselines")
    }
    dataset = json.loads((clone / "data/dataset/dataset.json").read_text(encoding="utf-8"))
    metric = {"classification": "accuracy", "multi-label": "jaccard", "regression": "skill"}
    main_metric = metric[dataset["task"]]
    return {
        "metric": main_metric,
        "rows": sum(dataset["rows"].values()),
        "seconds": seconds,
        "bytes": (clone / "models/package/model.onnx").stat().st_size,
        "shipped": metrics["compress"]["test"][main_metric],
        "baselines": {
            item["name"]: item["metrics"][main_metric] for item in metrics["baselines"]["baselines"]
        },
    }


def interval(item: dict[str, float]) -> str:
    """A value with its interval."""
    return f"{item['value']:.4f} ({item['low']:.4f}-{item['high']:.4f})"


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parent))
    main()
