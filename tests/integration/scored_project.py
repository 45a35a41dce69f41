"""A project with a live model of a table, as a follower leaves it, and rows to be scored."""

import json
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from modelyard.follower.folder import ModelFolder
from modelyard.follower.records import Event, Release
from modelyard.package import Proof, ensure_key, sign_folder, write_manifest
from modelyard.params import parse
from modelyard.runs.score.job import Job
from modelyard.runs.score.model import find_live
from modelyard.runs.score.result import Scored
from modelyard.settings import Settings
from tests.unit.serving.table_packages import INPUTS, write_table_package

ROOT = Path(__file__).parents[2]
NAME = "visits"
Writer = Callable[[Path], object]
FIELDS: list[dict[str, Any]] = [
    {"name": "age", "type": "number", "header": "Age", "constraints": {"minimum": 0}},
    {"name": "visits", "type": "integer", "constraints": {"required": True, "unique": True}},
    {"name": "married", "type": "boolean"},
    {"name": "since", "type": "date"},
    {"name": "seen", "type": "datetime"},
    {"name": "status", "type": "category"},
    {"name": "note", "type": "text"},
    {"name": "id", "type": "string", "use": False},
    {"name": "y", "type": "integer", "constraints": {"required": True}},
]
HEADER = ["Age", "visits", "married", "since", "seen", "status", "note"]
ROW = ["31.5", "2", "true", "1970-01-11", "1970-01-01T00:01:40Z", "good", "bad"]


def make_project(root: Path, task: str = "classification", **data: Any) -> Settings:
    """Make ``root`` a project whose live model is version 3 of ``NAME``."""
    root.mkdir(parents=True, exist_ok=True)
    tree = yaml.safe_load((ROOT / "params.yaml").read_text())
    tree["data"] = {
        "kind": "tabular",
        "source": "somewhere.csv",
        "sha256": None,
        "schema": {"fields": FIELDS, "rest": "refuse"},
        "target": "y",
        "task": task,
        "split": {"type": "hash"},
        "max_rejected": 0.5,
        "quality": [{"metric": "rowCount", "mustBeGreaterThan": 1_000_000}],
        **data,
    }
    tree["registry"] = {"name": NAME}
    tree["train"]["loss"] = {"name": "auto"}
    (root / "params.yaml").write_text(yaml.safe_dump(tree))
    params = parse(tree).model_dump(mode="json", by_alias=True)
    settings = Settings(state_dir=root / ".modelyard")
    place_live(settings, lambda folder: write_table_package(folder, task), params)
    return settings


def place_live(
    settings: Settings, write: Writer, params: dict[str, Any], commit: str = "0" * 40
) -> None:
    """Sign the package that ``write`` makes and confirm it as live, as the follower does."""
    staged = settings.state_dir / "staged"
    write(staged)
    digest = write_manifest(staged)
    texts = dict.fromkeys((*Proof.__dataclass_fields__,), "a")
    proof: dict[str, Any] = {**texts, "params": params, "metrics": {}, "parent": None}
    Proof(**{**proof, "snapshot_commit": commit, "package_digest": digest}).write(staged)
    sign_folder(staged, ensure_key(settings.key_folder, settings.trusted))
    folder, release = ModelFolder(settings.serving, NAME), Release(3, digest)
    (folder.path / "versions").mkdir(parents=True, exist_ok=True)
    shutil.rmtree(folder.path / release.path, ignore_errors=True)
    staged.rename(folder.path / release.path)
    folder.write_history((Event("e", release, None, "champion", "", 1.0),))


def write_rows(path: Path, rows: list[list[str]], header: list[str] = HEADER) -> Path:
    """Write a CSV of ``rows``."""
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = [",".join(header), *(",".join(row) for row in rows)]
    path.write_text("\n".join(lines) + "\n")
    return path


def numbered(count: int) -> list[list[str]]:
    """Good rows that differ in age."""
    return [[str(index), *ROW[1:]] for index in range(count)]


def total(**changes: float) -> float:
    """The model's sum for ROW, with other values of some numbers."""
    values = {"age": 31.5, "visits": 2, "married": 1, "since": 10, "seen": 100}
    return sum((values | changes).values()) + 2 + 3


def expected(totals: np.ndarray) -> np.ndarray:
    """The hand-made model's probabilities for sums."""
    logits = totals[:, None] * np.array([0.02, 0.04]) + np.array([0.0, -1.0])
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    return powers / powers.sum(axis=1, keepdims=True)


def score(root: Path, settings: Settings, source: str, output: str = "out") -> Scored:
    """A whole job."""
    job = Job(root, settings, find_live(settings, NAME), source, root / output)
    with job.held():
        job.fetch()
        job.predict()
        return job.publish()


def files(folder: Path) -> dict[str, bytes]:
    """The bytes of a result."""
    found = sorted(path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): path.read_bytes() for path in found}


def manifest(folder: Path) -> dict[str, Any]:
    """Of a result."""
    return json.loads((folder / "manifest.json").read_text())


def git(root: Path, *words: str) -> str:
    """Run git in ``root``."""
    identity = ["-c", "user.name=test", "-c", "user.email=test@localhost"]
    done = subprocess.run(
        ["git", *identity, *words], cwd=root, check=True, capture_output=True, text=True
    )
    return done.stdout.strip()


assert [spec["name"] for spec in INPUTS] == [field["name"] for field in FIELDS[:-2]]
