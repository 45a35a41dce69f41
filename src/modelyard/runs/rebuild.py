"""A registered version made once more: its snapshot, in a worktree, with the recorded choice.

Nothing but raw data comes from DVC's cache, and no checkpoint is gone on from. On another kind of
machine, training may end with other weights: then the first line that differs says where.
"""

import hashlib
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from modelyard.artifacts import Dataset, Layout, read_json, sha256_file, write_json
from modelyard.errors import ModelyardError, WorkspaceError
from modelyard.package import Proof, verify_package
from modelyard.registry.mlmodel import PACKAGE
from modelyard.registry.proof_data import cached_object
from modelyard.registry.proof_git import DVC_LOCK, commit, find_lock
from modelyard.registry.verify import Check
from modelyard.runs import snapshot
from modelyard.runs.git import git
from modelyard.runs.isolated import environment_in, set_up
from modelyard.runs.janitor import remove_worktree
from modelyard.runs.publish import connect
from modelyard.settings import Settings

_STAGES = Path(__file__).with_name("rebuild_stages.py")
_WEIGHTS = "model.safetensors"
_LINES = 15
"""Of a failed stage's output that are shown."""


@dataclass(frozen=True)
class Registered:
    """The version to compare with: its verified package, and what its proof says."""

    package: Path
    proof: Proof


def rebuild(root: Path, settings: Settings, name: str, version: int) -> list[Check]:
    """Make a version again and compare it with what is registered.

    Args:
        root: The project's folder, whose git repository holds the version's snapshot.
        settings: Where MLflow, the state and the trusted keys are.
        name: Of the registered model.
        version: Its number.

    Returns:
        A check each of dataset, weights, reference.onnx and model.onnx.

    Raises:
        ModelyardError: there is no such version, or a stage fails.
        PackageError: what is registered is altered or signed by nobody trusted.
        WorkspaceError: the snapshot is not in this repository.
        ServiceUnavailable: MLflow is away.
    """
    root = root.resolve()
    with tempfile.TemporaryDirectory(prefix="modelyard-rebuild-") as temporary:
        registered = _download(settings, name, version, Path(temporary) / PACKAGE)
        with _worktree(root, settings, commit(registered.proof)) as worktree:
            _restore_raw(root, worktree, registered.proof)
            _run_stages(worktree, settings, registered.proof, Path(temporary) / "checkpoints")
            return list(_compare(root, Layout(worktree), registered))


def _download(settings: Settings, name: str, version: int, folder: Path) -> Registered:
    with connect(settings) as api:
        if api.get_version(name, version) is None:
            raise ModelyardError(
                f"MLflow has no version {version} of {name}", "See its versions in the MLflow UI."
            )
        api.download_version(name, version, folder, PACKAGE)
    verify_package(folder, settings.trusted)
    return Registered(folder, Proof.read(folder))


@contextmanager
def _worktree(root: Path, settings: Settings, revision: str) -> Iterator[Path]:
    """The snapshot's files in a worktree, which is gone afterwards, with the name it was under."""
    run_id = snapshot.new_run_id()
    try:
        worktree = set_up(root, settings, run_id, [], None, revision)
        try:
            yield worktree
        finally:
            remove_worktree(root, worktree)
    finally:
        if snapshot.exists(root, run_id):
            git(root, "update-ref", "-d", f"{snapshot.REFS}/{run_id}")


def _restore_raw(root: Path, worktree: Path, proof: Proof) -> None:
    """The run's raw data, where DVC's cache has it: the source may have moved on."""
    (worktree / DVC_LOCK).unlink(missing_ok=True)
    if (lock := find_lock(root, proof)) is None or "fetch" not in lock.stages:
        return
    tree = {"schema": "2.0", "stages": {"fetch": lock.stages["fetch"]}}
    write_json(worktree / DVC_LOCK, tree)
    command = [sys.executable, "-m", "dvc", "checkout", "--quiet", "--allow-missing", "fetch"]
    subprocess.run(command, cwd=worktree, check=False, capture_output=True)


def _run_stages(worktree: Path, settings: Settings, proof: Proof, checkpoints: Path) -> None:
    environment = environment_in(worktree, settings, worktree.name)
    left_out = ["fetch"] if Layout(worktree).raw.is_dir() else []
    command = [sys.executable, "-c", _STAGES.read_text(encoding="utf-8"), str(checkpoints)]
    done = subprocess.run(
        [*command, proof.chosen, *left_out],
        cwd=worktree,
        env=environment,
        check=False,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    if done.returncode:
        told = "\n".join(done.stdout.strip().splitlines()[-_LINES:])
        raise ModelyardError(
            f"snapshot {proof.snapshot_commit[:12]} could not be run again:\n{told}",
            "Its source must be there, and the packages of its requirements.lock installed.",
        )


def _compare(root: Path, made: Layout, registered: Registered) -> Iterator[Check]:
    found, expected = Dataset.read(made.dataset).digest, registered.proof.dataset_digest
    yield Check("dataset", found == expected, _words("digest", found, expected))
    yield _compare_weights(root, made, registered.proof)
    for file in ("reference.onnx", "model.onnx"):
        ours, theirs = made.package / file, registered.package / file
        same = ours.read_bytes() == theirs.read_bytes()
        words = _words("sha256", sha256_file(ours), sha256_file(theirs))
        yield Check(file, same, f"{words}, {ours.stat().st_size:,} bytes")


def _compare_weights(root: Path, made: Layout, proof: Proof) -> Check:
    """Compare with DVC's record of the run: packages hold the network as ONNX alone."""
    lock = find_lock(root, proof)
    outs = lock.stages.get("train", {}).get("outs", []) if lock and lock.own else []
    listing = next(
        (cached_object(root, out["md5"]) for out in outs if out["path"] == "models/trained"), None
    )
    if listing is None or not listing.is_file():
        detail = "not checked: the run's dvc.lock or its weights are not here; see reference.onnx"
        return Check("weights", True, detail)
    known = {entry["relpath"]: entry["md5"] for entry in read_json(listing)}
    if _WEIGHTS not in known:
        raise WorkspaceError(f"{listing} names no {_WEIGHTS}", "Remove it and run `dvc pull`.")
    content = (made.trained / _WEIGHTS).read_bytes()
    found = hashlib.md5(content, usedforsecurity=False).hexdigest()
    words = f"{_words('md5', found, known[_WEIGHTS])}, {len(content):,} bytes"
    return Check("weights", found == known[_WEIGHTS], words)


def _words(kind: str, found: str, expected: str) -> str:
    if found == expected:
        return f"{kind} {found[:12]}"
    return f"{kind} {found[:12]}, but {expected[:12]} is registered"
