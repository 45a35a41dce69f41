"""What git keeps of a run, for the links of the proof: its snapshot and the dvc.lock it ended with.

A proof may be anybody's. Nothing in it reaches git as an option or as a path that it chose.
"""

import hashlib
import re
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from modelyard.errors import ModelyardError
from modelyard.package import Proof
from modelyard.yaml_text import load_yaml

DVC_LOCK = "dvc.lock"
# Of every registered version, of isolated runs.
RESULTS_REFS = ("refs/modelyard/results", "refs/heads/runs")


@dataclass(frozen=True)
class RunLock:
    """A dvc.lock that names the proof's data; ``own`` is the very file that the run ended with."""

    place: str
    own: bool
    stages: dict[str, Any]


def find_lock(repo: Path, proof: Proof) -> RunLock | None:
    """The run's own dvc.lock, else one that agrees with the proof on raw data and dataset."""
    agreeing = None
    for place, content in _locks(repo, proof):
        stages: dict[str, Any] = (_parsed(content) or {}).get("stages", {})
        hashes = _outputs(stages)
        if (hashes.get("data/raw"), hashes.get("data/dataset")) != (
            proof.raw_md5,
            proof.dataset_md5,
        ):
            continue
        if hashlib.sha256(content).hexdigest() == proof.dvc_lock_sha256:
            return RunLock(place, True, stages)
        agreeing = agreeing or RunLock(place, False, stages)
    return agreeing


def commit(proof: Proof) -> str:
    """The snapshot's commit.

    Raises:
        ModelyardError: it is none; git must not read an option in it.
    """
    if not re.fullmatch("[0-9a-f]{40}([0-9a-f]{24})?", proof.snapshot_commit):
        raise ModelyardError(f"{proof.snapshot_commit[:60]!r} is not a commit")
    return proof.snapshot_commit


def git(repo: Path, *arguments: str, stdin: bytes = b"", codes: tuple[int, ...] = (0,)) -> bytes:
    """Output of a git command that ends with one of ``codes``.

    Raises:
        ModelyardError: it ended otherwise; the message is git's.
    """
    command = ["git", "-C", str(repo), *arguments]
    result = subprocess.run(command, input=stdin, capture_output=True, check=False)
    if result.returncode not in codes:
        raise ModelyardError(result.stderr.decode(errors="replace").strip())
    return result.stdout


def same(what: str, found: str, expected: str) -> None:
    """Compare two hashes.

    Raises:
        ModelyardError: they differ; ``what`` begins the message.
    """
    if found != expected:
        raise ModelyardError(f"{what} is {found[:12]}, not {expected[:12] or 'given'}")


def _locks(repo: Path, proof: Proof) -> Iterator[tuple[str, bytes]]:
    path = repo / DVC_LOCK
    if path.exists():
        yield "of the workspace", path.read_bytes()
    if re.fullmatch(r"[\w-]+(\.[\w-]+)*", proof.run_id):
        for refs in RESULTS_REFS:
            yield from _shown(repo, "of the run's results", f"{refs}/{proof.run_id}")
    yield from _shown(repo, "of the snapshot", commit(proof))


def _shown(repo: Path, place: str, revision: str) -> Iterator[tuple[str, bytes]]:
    try:
        yield place, git(repo, "show", f"{revision}:{DVC_LOCK}")
    except ModelyardError:
        return


def _parsed(content: bytes) -> Any:
    try:
        return load_yaml(content)
    except yaml.YAMLError:
        return None


def _outputs(stages: dict[str, Any]) -> dict[str, str]:
    """DVC's md5 of each output that a dvc.lock names, by path."""
    outs = [out for stage in stages.values() for out in stage.get("outs", [])]
    return {out["path"]: out["md5"] for out in outs if "md5" in out}
