"""Whether the code and params that DVC recorded for a run are those of its snapshot.

dvc.lock holds the md5 of every file that a stage imports, hashed before it ran; the snapshot is
what a person will read. The two come from different programs, so that they agree is worth checking.
"""

import hashlib
import json
import tempfile
from pathlib import Path
from typing import Any

import yaml

from modelyard.errors import ModelyardError
from modelyard.package import Proof
from modelyard.registry.proof_git import commit, find_lock, git

PARAMS_FILE, STAGES_FILE, IGNORE_FILE = "params.yaml", "dvc.yaml", ".dvcignore"
# What stages make: other links are about it.
RESULTS = ("data/", "models/", "metrics/", "reports/")


def check_code(repo: Path, proof: Proof) -> str:
    """Compare the code and params in the run's own dvc.lock with its snapshot's.

    Returns:
        What was compared, or why nothing was.

    Raises:
        ModelyardError: a file or key differs or is missing; the message names it.
    """
    lock = find_lock(repo, proof)
    if lock is None or not lock.own:
        return "not checked: the run's own dvc.lock is not here"
    recorded: dict[str, str] = {}
    frozen = _frozen(repo, proof)
    for name, stage in lock.stages.items():
        # A frozen stage's outputs were taken as an earlier run had made them, by its code.
        for dep in [] if name in frozen else stage.get("deps", []):
            path, md5 = str(dep["path"]), str(dep.get("md5"))
            if path.startswith(RESULTS):
                continue
            if recorded.setdefault(path, md5) != md5:
                raise ModelyardError(f"{path} was another one when stage {name} ran")
    for path, md5 in recorded.items():
        found = _folder_md5(repo, proof, path) if md5.endswith(".dir") else _md5(repo, proof, path)
        if found != md5:
            hint = ", or git ignores a file of it" if md5.endswith(".dir") else ""
            raise ModelyardError(f"{path} of the snapshot is not what ran{hint}")
    num_keys = _check_params(repo, proof, lock.stages)
    return f"{len(recorded)} files and {num_keys} params that ran are the snapshot's"


def _frozen(repo: Path, proof: Proof) -> set[str]:
    try:
        tree = yaml.safe_load(git(repo, "show", f"{commit(proof)}:{STAGES_FILE}"))
    except ModelyardError:
        return set()
    return {name for name, stage in tree["stages"].items() if stage.get("frozen")}


def _md5(repo: Path, proof: Proof, path: str) -> str:
    return _hash(git(repo, "show", f"{commit(proof)}:{path}"))


def _folder_md5(repo: Path, proof: Proof, path: str) -> str:
    """DVC's md5 of a folder of the snapshot: over the list of its files, less the ignored ones."""
    listed = git(repo, "ls-tree", "-r", "-z", "--name-only", commit(proof), "--", f"{path}/")
    files = [name for name in listed.decode().split("\0") if name]
    ignored = _ignored(repo, proof, files)
    entries = [
        {"md5": _md5(repo, proof, name), "relpath": name.removeprefix(f"{path}/")}
        for name in files
        if name not in ignored
    ]
    entries.sort(key=lambda entry: entry["relpath"])
    return _hash(json.dumps(entries, sort_keys=True).encode()) + ".dir"


def _ignored(repo: Path, proof: Proof, files: list[str]) -> set[str]:
    """Those of ``files`` that the snapshot's .dvcignore names; its patterns are git's."""
    try:
        patterns = git(repo, "show", f"{commit(proof)}:{IGNORE_FILE}")
    except ModelyardError:
        return set()
    with tempfile.NamedTemporaryFile(prefix="modelyard-ignore-") as file:
        file.write(patterns)
        file.flush()
        names = "\0".join(files).encode()
        excludes = f"core.excludesFile={file.name}"
        words = ("-c", excludes, "check-ignore", "--no-index", "-z", "--stdin")
        # 1: it ignores none of them.
        answer = git(repo, *words, stdin=names, codes=(0, 1))
    return set(answer.decode().split("\0"))


def _check_params(repo: Path, proof: Proof, stages: dict[str, Any]) -> int:
    tree = yaml.safe_load(git(repo, "show", f"{commit(proof)}:{PARAMS_FILE}"))
    recorded: dict[str, Any] = {}
    for stage in stages.values():
        recorded |= stage.get("params", {}).get(PARAMS_FILE, {})
    for key, value in recorded.items():
        node = tree
        for part in key.split("."):
            node = node.get(part) if isinstance(node, dict) else None
        if _plain(node) != _plain(value):
            raise ModelyardError(f"{key} in {PARAMS_FILE} of the snapshot is not what ran")
    return len(recorded)


def _plain(value: Any) -> Any:
    """Numbers as such: DVC reads YAML 1.2, where ``1e-3`` is one, and we read YAML 1.1."""
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_plain(item) for item in value]
    if isinstance(value, str):
        try:
            return float(value)
        except ValueError:
            return value
    return value


def _hash(content: bytes) -> str:
    """Md5 as DVC names files by; it is no proof of identity, the snapshot's commit is."""
    return hashlib.md5(content, usedforsecurity=False).hexdigest()
