"""Whether a registered version is what it says: every link of its proof, computed again."""

import hashlib
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from modelyard.artifacts import read_json
from modelyard.errors import ModelyardError
from modelyard.mlflow_api import MlflowApi, RegisteredVersion
from modelyard.package import Proof, verify_folder, verify_manifest
from modelyard.params import Params, parse
from modelyard.registry import tags as names
from modelyard.registry.copies import copied_from, find_judged
from modelyard.registry.flatten import flat_params
from modelyard.registry.mlmodel import PACKAGE
from modelyard.registry.proof_code import PARAMS_FILE, check_code
from modelyard.registry.proof_data import check_dataset, check_source, check_validation
from modelyard.registry.proof_git import DVC_LOCK, commit, find_lock, git, same
from modelyard.registry.verdict import check_verdict

LOCK_FILE = "requirements.lock"


@dataclass(frozen=True)
class Check:
    """One link: its name, whether it holds, and what was found.

    Where what it takes is not at hand, ``ok`` is true and ``detail`` begins with "not checked".
    """

    name: str
    ok: bool
    detail: str


def verify(api: MlflowApi, name: str, which: str, repo: Path, trusted: Path) -> list[Check]:
    """Download a version and check its files, signature, verdict and all that its proof names.

    Args:
        api: The MLflow server.
        name: Of the registered model.
        which: An alias, or a version's number.
        repo: The git repository that the run's snapshot and results lie in; its dataset and DVC's
            cache are looked into as well.
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
            _check("verdict", lambda: _verdict(api, package, version, trusted)),
        ]
        try:
            proof = Proof.read(package)
        except ModelyardError as error:
            return [*checks, Check("proof", False, error.message)]
        checks.append(_check("proof", lambda: _proof(package, proof)))
        checks.append(_check("metrics", lambda: _metrics(package, proof)))
        checks.append(_check("candidate", lambda: _candidate(package, proof)))
    return [
        *checks,
        _check("snapshot", lambda: _snapshot(repo, proof)),
        _check("params", lambda: _params(repo, proof)),
        _check("packages", lambda: _lock(repo, proof)),
        _check("code", lambda: check_code(repo, proof)),
        _check("source", lambda: check_source(repo, proof)),
        _check("data", lambda: _data(repo, proof)),
        _check("dataset", lambda: check_dataset(repo, proof)),
        _check("validation", lambda: check_validation(repo, proof)),
        _check("parent", lambda: _parent(api, version, proof)),
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
    same("the digest of the files", digest, version.tags.get(names.DIGEST, ""))
    return f"digest {digest[:12]}"


def _signature(package: Path, trusted: Path) -> str:
    verify_folder(package, trusted)
    return "made by a trusted key"


def _verdict(api: MlflowApi, package: Path, version: RegisteredVersion, trusted: Path) -> str:
    digest = verify_manifest(package)
    judged = find_judged(api.get_version, version, trusted)
    said = check_verdict(judged.tags, judged.name, judged.version, digest, trusted).reason
    return said if judged is version else f"{said} (as version {judged.version} of {judged.name})"


def _proof(package: Path, proof: Proof) -> str:
    same("the proof's package", proof.package_digest, verify_manifest(package))
    return f"run {proof.run_id}"


def _metrics(package: Path, proof: Proof) -> str:
    """What the proof says of the shipped file is what the signed package says."""
    shipped = _evaluation(package)["shipped"]
    for key in sorted(shipped.keys() | proof.metrics.keys()):
        if shipped.get(key) != proof.metrics.get(key):
            raise ModelyardError(f"the proof's {key} is not that of evaluation.json")
    return "as in evaluation.json of the package"


def _candidate(package: Path, proof: Proof) -> str:
    """What ships is the candidate that was chosen, and was judged."""
    evaluation = _evaluation(package)
    chosen, judged = evaluation["chosen"], [item["name"] for item in evaluation["candidates"]]
    if chosen != proof.chosen:
        raise ModelyardError(f"the proof says that {proof.chosen!r} ships, but {chosen!r} does")
    if chosen not in judged:
        raise ModelyardError(f"{chosen!r} ships, but was not among the candidates that were judged")
    return f"{chosen} ships, of {', '.join(judged)}"


def _evaluation(package: Path) -> dict[str, Any]:
    try:
        evaluation = read_json(package / "evaluation.json")
        return {key: evaluation[key] for key in ("shipped", "chosen", "candidates")}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ModelyardError(f"evaluation.json of the package cannot be read: {error!r}") from None


def _snapshot(repo: Path, proof: Proof) -> str:
    tree = git(repo, "rev-parse", "--verify", f"{commit(proof)}^{{tree}}")
    same("the snapshot's tree", tree.decode().strip(), proof.snapshot_tree)
    return f"commit {proof.snapshot_commit[:12]}"


def _params(repo: Path, proof: Proof) -> str:
    text = git(repo, "show", f"{commit(proof)}:{PARAMS_FILE}")
    try:
        # Keys that are younger than the proof are their defaults in both.
        proven = parse(proof.params)
    except ModelyardError as error:
        raise ModelyardError(f"the proof's params are not possible: {error.message}") from None
    found, expected = (_leaves(params) for params in (parse(yaml.safe_load(text)), proven))
    if other := sorted(key for key in found | expected if found.get(key) != expected.get(key)):
        raise ModelyardError(f"{other[0]} in {PARAMS_FILE} of the snapshot is not the proof's")
    return f"{PARAMS_FILE} of the snapshot"


def _leaves(params: Params) -> dict[str, str]:
    return flat_params(params.model_dump(mode="json", by_alias=True))


def _lock(repo: Path, proof: Proof) -> str:
    content = git(repo, "show", f"{commit(proof)}:{LOCK_FILE}")
    same(f"{LOCK_FILE} of the snapshot", hashlib.sha256(content).hexdigest(), proof.lock_sha256)
    return f"{LOCK_FILE} of the snapshot"


def _data(repo: Path, proof: Proof) -> str:
    """Raw data and dataset are those of a dvc.lock of the run: its own, or one that agrees."""
    if (lock := find_lock(repo, proof)) is None:
        raise ModelyardError(
            f"no {DVC_LOCK} here names raw data {proof.raw_md5} and dataset {proof.dataset_md5}"
        )
    return f"{DVC_LOCK} {lock.place}{'' if lock.own else ' (of a later run)'}"


def _parent(api: MlflowApi, version: RegisteredVersion, proof: Proof) -> str:
    if proof.parent is None:
        return "the first champion"
    here: RegisteredVersion | None = version
    while here is not None:
        if found := api.search_versions(here.name, {names.DIGEST: proof.parent}):
            other = "" if here is version else f" of {here.name}"
            return f"version {found[-1].version}{other}"
        # The parent of a copy is a version of the model that it was copied from.
        source = copied_from(here)
        here = api.get_version(*source) if source else None
    raise ModelyardError(f"no version has the digest of its parent, {proof.parent[:12]}")
