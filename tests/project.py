"""A small project for tests.

The code as it is, a drawn dataset of 8x8 pictures, a network that trains in seconds.
"""

import hashlib
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from tests.conftest import PREFIXES

SIZE = 8
CLASSES = 3


def drawn_table(num_rows: int = 450, seed: int = 0) -> np.ndarray:
    """Rows of 64 pixels and a label; each class is a bright band at its own height, with noise."""
    rng = np.random.default_rng(seed)
    labels = np.arange(num_rows) % CLASSES
    images = rng.integers(0, 60, (num_rows, SIZE, SIZE))
    for row, label in enumerate(labels):
        top = 1 + 2 * label
        images[row, top : top + 2] += 150
    return np.column_stack([images.reshape(num_rows, -1), labels])


def write_source(root: Path, table: np.ndarray) -> str:
    """Write samples/bands.csv and return its sha256."""
    path = root / "samples" / "bands.csv"
    path.parent.mkdir(exist_ok=True)
    np.savetxt(path, table, fmt="%d", delimiter=",")
    return hashlib.sha256(path.read_bytes()).hexdigest()


def shrink(root: Path, **changes: Any) -> None:
    """Make the clone's params.yaml describe the small dataset and a small network; commit it."""
    digest = write_source(root, drawn_table())
    params = yaml.safe_load((root / "params.yaml").read_text())
    params["data"] |= {
        "source": "samples/bands.csv",
        "sha256": digest,
        "license": "CC0-1.0",
        "schema": {
            "fields": [
                {"name": "image", "type": "image", "height": SIZE, "width": SIZE, "channels": 1},
                {
                    "name": "label",
                    "type": "integer",
                    "constraints": {"required": True, "minimum": 0, "maximum": CLASSES - 1},
                },
            ],
            "rest": "refuse",
        },
        "quality": [{"metric": "rowCount", "mustBeGreaterThan": 100}],
        "expectations": [],
    }
    params["model"] = {"factory": "cnn", "args": {"channels": [4], "hidden": 8}, "init": "kaiming"}
    params["train"] |= {"epochs": 3, "batch_size": 32}
    params["evaluate"] = {"bootstrap": 100, "folds": 0}
    params["compress"]["calibration_rows"] = 32
    params["registry"] = {"name": "bands"}
    params["promote"] = {"mode": "manual", "margin": 0.3, "budgets": {"min_score": 0.5}}
    for path, value in changes.items():
        section, _, key = path.partition("__")
        params[section][key] = value
    (root / "params.yaml").write_text(yaml.safe_dump(params, sort_keys=False))
    commit(root, "small")


def commit(root: Path, message: str) -> None:
    """Commit everything in ``root``."""
    git = ["git", "-c", "user.name=test", "-c", "user.email=test@localhost"]
    subprocess.run([*git, "add", "-A"], cwd=root, check=True)
    subprocess.run([*git, "commit", "-qm", message], cwd=root, check=True)


def environment(root: Path, **extra: str) -> dict[str, str]:
    """The environment in which the clone's own code runs.

    The interpreter's scripts are on PATH.
    """
    scripts = str(Path(sys.executable).parent)
    kept = {key: value for key, value in os.environ.items() if not key.startswith(PREFIXES)}
    return {
        **kept,
        "PATH": f"{root / 'bin'}{os.pathsep}{scripts}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": os.pathsep.join([str(root / "src"), str(root)]),
        **extra,
    }


def modelyard(
    root: Path, *words: str, check: bool = True, timeout: float = 180, **extra: str
) -> subprocess.CompletedProcess[str]:
    """Run a command of the clone's own code.

    With ``check`` its failure fails the test, output shown.
    """
    return call(
        root, sys.executable, "-m", "modelyard.cli", *words, check=check, timeout=timeout, **extra
    )


def call(
    root: Path, *words: str, check: bool = True, timeout: float = 180, **extra: str
) -> subprocess.CompletedProcess[str]:
    """Run any command in the clone."""
    done = subprocess.run(
        words,
        cwd=root,
        check=False,
        capture_output=True,
        text=True,
        timeout=timeout,
        env=environment(root, **extra),
    )
    if check:
        assert done.returncode == 0, f"{' '.join(words)}\n{done.stdout}\n{done.stderr}"
    return done


@contextmanager
def started(root: Path, *words: str, **extra: str) -> Iterator[subprocess.Popen[str]]:
    """A command of the clone under way; ended by its own id if the test leaves it running."""
    with subprocess.Popen(
        [sys.executable, "-m", "modelyard.cli", *words],
        cwd=root,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=environment(root, **extra),
    ) as process:
        try:
            yield process
        finally:
            if process.poll() is None:
                process.kill()


def dvc(root: Path, *words: str, check: bool = True) -> subprocess.CompletedProcess[str]:
    """Run DVC in the clone; its stages find the clone's own code."""
    (root / "bin").mkdir(exist_ok=True)
    script = root / "bin" / "modelyard"
    script.write_text(f'#!/bin/sh\nexec {sys.executable} -m modelyard.cli "$@"\n')
    script.chmod(0o755)
    (root / ".git" / "info" / "exclude").write_text("bin/\n")
    return call(root, sys.executable, "-m", "dvc", *words, check=check)
