"""Whether a registered version is what it says: every link of its proof, computed again."""

import hashlib
import re
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from modelyard.errors import ModelyardError
from modelyard.mlflow_api import MlflowApi, RegisteredVersion
from modelyard.package import Proof, verify_folder, verify_manifest
from modelyard.params import parse
from modelyard.registry import tags as names
from modelyard.registry.mlmodel import PACKAGE
from modelyard.registry.verdict import check_verdict

PARAMS_FILE, LOCK_FILE, DVC_LOCK = "params.yaml", "requirements.lock", "dvc.lock"
RUNS_REFS = "refs/heads/runs"


@dataclass(frozen=True)
class Check:
    """One link: its name, whether it holds, and what was found."""

    name: str
    ok: bool
    detail: str


def verify(api: MlflowApi, name: str, which: str, repo: Path, trusted: Path) -> list[Check]:
    """Download a version and check its files, signature, verdict and proof.

    Args:
        api: The MLflow server.
        name: Of the registered model.
        which: An alias, or a version's number.
        repo: The git repository that the run's snapshot lies in, with its dvc.lock.
        trusted: Folder of PEM public keys whose signatures count.

    Returns:
        One check a link, in the order in which they build on each other.

    Raises:
        ModelyardError: there is no such version.
        ServiceUnavailable: MLflow is away.
    """
    version = _resolve(api, name, which)
    with tempfile.TemporaryDirectory(prefix="modelyard-verify-") as temporary:
        package = Path(temporary) / PACKAGE
        api.download_version(name, version.version, package, PACKAGE)
        checks = [
            _check("files", lambda: _files(package, version)),
            _check("signature", lambda: _signature(package, trusted)),
            _check("verdict", lambda: _verdict(package, version, trusted)),
        ]
        try:
            proof = Proof.read(package)
        except ModelyardError as error:
            return [*checks, Check("proof", False, error.message)]
        checks.append(_check("proof", lambda: _proof(package, proof)))
    return [
        *checks,
        _check("snapshot", lambda: _snapshot(repo, proof)),
        _check("params", lambda: _params(repo, proof)),
        _check("packages", lambda: _lock(repo, proof)),
        _check("data", lambda: _data(repo, proof)),
        _check("parent", lambda: _parent(api, name, proof)),
    ]


def _resolve(api: MlflowApi, name: str, which: str) -> RegisteredVersion:
    if which.isdigit():
        version = api.get_version(name, int(which))
    else:
        version = api.get_version_by_alias(name, which)
    if version is None:
        raise ModelyardError(
            f"MLflow has no {name}@{which}", "See its versions and aliases in the MLflow UI."
        )
    return version


def _check(name: str, link: Callable[[], str]) -> Check:
    """Run one link: its text is the detail, a Modelyard error the reason why it does not hold."""
    try:
        return Check(name, True, link())
    except ModelyardError as error:
        return Check(name, False, error.message)


def _files(package: Path, version: RegisteredVersion) -> str:
    digest = verify_manifest(package)
    _same("the digest of the files", digest, version.tags.get(names.DIGEST, ""))
    return f"digest {digest[:12]}"


def _signature(package: Path, trusted: Path) -> str:
    verify_folder(package, trusted)
    return "made by a trusted key"


def _verdict(package: Path, version: RegisteredVersion, trusted: Path) -> str:
    digest = verify_manifest(package)
    if names.WAS_LIVE in version.tags and names.VERDICT not in version.tags:
        return "has been live before"
    return check_verdict(version.tags, version.name, version.version, digest, trusted).reason


def _proof(package: Path, proof: Proof) -> str:
    _same("the proof's package", proof.package_digest, verify_manifest(package))
    return f"run {proof.run_id}"


def _snapshot(repo: Path, proof: Proof) -> str:
    tree = _git(repo, "rev-parse", "--verify", f"{_commit(proof)}^{{tree}}")
    _same("the snapshot's tree", tree.decode().strip(), proof.snapshot_tree)
    return f"commit {proof.snapshot_commit[:12]}"


def _params(repo: Path, proof: Proof) -> str:
    text = _git(repo, "show", f"{_commit(proof)}:{PARAMS_FILE}")
    if parse(yaml.safe_load(text)).model_dump(mode="json", by_alias=True) != proof.params:
        raise ModelyardError(f"{PARAMS_FILE} of the snapshot has other values than the proof")
    return f"{PARAMS_FILE} of the snapshot"


def _lock(repo: Path, proof: Proof) -> str:
    content = _git(repo, "show", f"{_commit(proof)}:{LOCK_FILE}")
    _same(f"{LOCK_FILE} of the snapshot", hashlib.sha256(content).hexdigest(), proof.lock_sha256)
    return f"{LOCK_FILE} of the snapshot"


def _data(repo: Path, proof: Proof) -> str:
    """Raw data and dataset are those of a dvc.lock of the run: its own, or one that agrees."""
    agreeing = ""
    for place, content in _dvc_locks(repo, proof):
        hashes = _hashes(yaml.safe_load(content))
        if (hashes.get("data/raw"), hashes.get("data/dataset")) != (
            proof.raw_md5,
            proof.dataset_md5,
        ):
            continue
        if hashlib.sha256(content).hexdigest() == proof.dvc_lock_sha256:
            return f"{DVC_LOCK} {place}"
        agreeing = agreeing or f"{DVC_LOCK} {place} (of a later run)"
    if not agreeing:
        raise ModelyardError(
            f"no {DVC_LOCK} here names raw data {proof.raw_md5} and dataset {proof.dataset_md5}"
        )
    return agreeing


def _parent(api: MlflowApi, name: str, proof: Proof) -> str:
    if proof.parent is None:
        return "the first champion"
    found = api.search_versions(name, {names.DIGEST: proof.parent})
    if not found:
        raise ModelyardError(f"no version has the digest of its parent, {proof.parent[:12]}")
    return f"version {found[-1].version}"


def _dvc_locks(repo: Path, proof: Proof) -> Iterator[tuple[str, bytes]]:
    path = repo / DVC_LOCK
    if path.exists():
        yield "of the workspace", path.read_bytes()
    for place, revision in (
        ("of the run's branch", f"{RUNS_REFS}/{proof.run_id}"),
        ("of the snapshot", _commit(proof)),
    ):
        try:
            yield place, _git(repo, "show", f"{revision}:{DVC_LOCK}")
        except ModelyardError:
            continue


def _hashes(lock: Any) -> dict[str, str]:
    """DVC's md5 of each output that a dvc.lock names, by path."""
    stages = (lock or {}).get("stages", {}).values()
    outs = [out for stage in stages for out in stage.get("outs", [])]
    return {out["path"]: out["md5"] for out in outs if "md5" in out}


def _same(what: str, found: str, expected: str) -> None:
    if found != expected:
        raise ModelyardError(f"{what} is {found[:12]}, not {expected[:12] or 'given'}")


def _commit(proof: Proof) -> str:
    """The snapshot's commit; a proof may be anybody's, and git must not read an option in it."""
    if not re.fullmatch("[0-9a-f]{40}([0-9a-f]{24})?", proof.snapshot_commit):
        raise ModelyardError(f"{proof.snapshot_commit[:60]!r} is not a commit")
    return proof.snapshot_commit


def _git(repo: Path, *arguments: str) -> bytes:
    """Output of a git command.

    Raises:
        ModelyardError: it failed; the message is git's.
    """
    command = ["git", "-C", str(repo), *arguments]
    result = subprocess.run(command, capture_output=True, check=False)
    if result.returncode:
        raise ModelyardError(result.stderr.decode(errors="replace").strip())
    return result.stdout
