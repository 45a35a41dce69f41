"""The version that answers: the live one, from the follower's folder, or a named one."""

import shutil
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from modelyard.errors import ModelyardError, PackageError
from modelyard.follower.folder import ModelFolder
from modelyard.follower.records import DIGEST, Release
from modelyard.package import Proof, verify_package
from modelyard.params import Params, parse
from modelyard.registry import tags
from modelyard.settings import Settings

if TYPE_CHECKING:
    from modelyard.mlflow_api import RegisteredVersion

PACKAGES = Path("scores/packages")
"""Below the state folder: packages of versions that are not live here."""


@dataclass(frozen=True)
class Version:
    """A verified package on disk, and what its proof says that it was made with."""

    name: str
    version: int
    digest: str
    folder: Path
    proof: Proof
    params: Params


def find_live(settings: Settings, name: str) -> Version:
    """What serves as ``name``: the last version that every worker acknowledged; MLflow may be away.

    Raises:
        PackageError: nothing is live, or the package was altered or signed by nobody trusted.
    """
    folder = ModelFolder(settings.serving, name)
    confirmed = folder.read().confirmed
    if confirmed is None:
        raise PackageError(
            f"nothing is live as {name}",
            "Promote a version (`modelyard promote 1`), or name one by --version.",
        )
    return _open(settings, name, confirmed.release, folder.path / confirmed.release.path)


def find_version(settings: Settings, name: str, version: int) -> Version:
    """A version by its number: from the follower's folder if it is there, else from MLflow.

    Raises:
        ModelyardError: there is no such version.
        PackageError: its package was altered or signed by nobody trusted.
        ServiceUnavailable: it is not here, and MLflow is away.
    """
    here = [
        *(settings.serving / name / "versions").glob(f"{version}-*"),
        *(settings.state_dir / PACKAGES / name).glob(f"{version}-*"),
    ]
    for path in here:
        try:
            digest = verify_package(path, settings.trusted)
            return _open(settings, name, Release(version, digest), path)
        except PackageError:
            continue  # MLflow has a whole one
    from modelyard.runs.publish import connect

    with connect(settings) as api:
        found = api.get_version(name, version)
        if found is None:
            raise ModelyardError(
                f"{name} has no version {version}", "`modelyard status` shows what there is."
            )
        release = Release(version, _digest(found))
        target = settings.state_dir / PACKAGES / name / f"{version}-{release.digest[:12]}"
        incoming = target.with_name(f".incoming-{uuid.uuid4().hex}")
        incoming.mkdir(parents=True)
        try:
            api.download_version(name, version, incoming, "package")
            opened = _open(settings, name, release, incoming)
            shutil.rmtree(target, ignore_errors=True)
            incoming.rename(target)
        except BaseException:
            shutil.rmtree(incoming, ignore_errors=True)
            raise
    return Version(name, version, release.digest, target, opened.proof, opened.params)


def _digest(version: "RegisteredVersion") -> str:
    digest = version.tags.get(tags.DIGEST, "")
    if version.status != "READY" or not DIGEST.fullmatch(digest):
        raise PackageError(
            f"{version.name} version {version.version} is not complete", "Register it again."
        )
    return digest


def _open(settings: Settings, name: str, release: Release, folder: Path) -> Version:
    found = verify_package(folder, settings.trusted)
    if found != release.digest:
        raise PackageError(
            f"the package of {name} version {release.version} has digest {found[:12]}, "
            f"not {release.digest[:12]}",
            "Do not trust it; see who wrote it.",
        )
    proof = Proof.read(folder)
    return Version(name, release.version, found, folder, proof, parse(proof.params))
