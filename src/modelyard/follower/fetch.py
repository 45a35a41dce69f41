"""From a version in the registry to a verified package on disk; unsigned words are not believed."""

import shutil
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from modelyard.errors import PackageError
from modelyard.follower.folder import ModelFolder
from modelyard.follower.lineage import find_reference
from modelyard.follower.records import DIGEST, Release
from modelyard.mlflow_api.types import AliasMove, RegisteredModel, RegisteredVersion
from modelyard.package import verify_package
from modelyard.registry import tags
from modelyard.registry.copies import check_release, copied_from

CheckVerdict = Callable[[dict[str, str], str, int, str, str | None, Path], Any]


class Registry(Protocol):
    """What the follower needs of MLflow (see mlflow_api)."""

    def get_registered_model(self, name: str) -> RegisteredModel | None: ...  # noqa: D102
    def search_registered_models(self) -> list[RegisteredModel]: ...  # noqa: D102
    def get_version(self, name: str, version: int) -> RegisteredVersion | None: ...  # noqa: D102
    def alias_moves(self, name: str, alias: str) -> list[AliasMove]: ...  # noqa: D102
    def set_alias(self, name: str, alias: str, version: int) -> None: ...  # noqa: D102
    def set_version_tag(self, name: str, version: int, key: str, value: str) -> None: ...  # noqa: D102
    def delete_version_tag(self, name: str, version: int, key: str) -> None: ...  # noqa: D102
    def download_version(  # noqa: D102
        self, name: str, version: int, folder: Path, under: str = ""
    ) -> None: ...


@dataclass(frozen=True)
class Fetcher:
    """Checks and downloads versions.

    Args:
        registry: Where they are.
        trusted: Folder of the public keys whose signatures count.
        check_verdict: Raises where the tags hold no signed verdict that lets this version replace
            what is live (see ``registry.verdict.check_current``).
    """

    registry: Registry
    trusted: Path
    check_verdict: CheckVerdict

    def fetch(self, folder: ModelFolder, version: RegisteredVersion) -> Release:
        """Bring a version's package into the model's folder.

        A release that was live here before needs no verdict: the folder's own history remembers it.
        A tag would not do, as anyone who can move an alias can set one. Any other must have been
        judged against what is live here now (see ``lineage``).

        Raises:
            ModelyardError: the version is not complete, has no passed verdict or one that is about
                another champion, or its package is altered or signed by nobody trusted.
            ServiceUnavailable: MLflow went away; nothing is decided.
        """
        release, state = _release(version), folder.read()
        if release not in {event.release for event in state.history}:
            live = find_reference(self.registry.get_version, version, state, self.trusted)
            self._check(version, release.digest, live)
        self._bring(folder, version, release)
        return release

    def fetch_unjudged(self, folder: ModelFolder, version: RegisteredVersion) -> Release:
        """As ``fetch``, but without a verdict: for a version whose answers nobody sees.

        Its files and their signature are verified all the same.
        """
        release = _release(version)
        self._bring(folder, version, release)
        return release

    def _bring(self, folder: ModelFolder, version: RegisteredVersion, release: Release) -> None:
        target, digest = folder.path / release.path, release.digest
        if target.exists():
            try:
                self._verify(target, digest)
            except PackageError:
                shutil.rmtree(target)
            else:
                return
        self._download(folder, version, target, digest)

    def _check(self, version: RegisteredVersion, digest: str, live: str | None) -> None:
        if copied_from(version):
            check_release(self.registry.get_version, version, digest, live, self.trusted)
            return
        name, number = version.name, version.version
        self.check_verdict(version.tags, name, number, digest, live, self.trusted)

    def _download(
        self, folder: ModelFolder, version: RegisteredVersion, target: Path, digest: str
    ) -> None:
        incoming = target.with_name(f".incoming-{uuid.uuid4().hex}")
        incoming.mkdir(parents=True)
        try:
            self.registry.download_version(folder.name, version.version, incoming, "package")
            self._verify(incoming, digest)
            incoming.rename(target)
        except BaseException:
            shutil.rmtree(incoming, ignore_errors=True)
            raise

    def _verify(self, package: Path, digest: str) -> None:
        try:
            found = verify_package(package, self.trusted)
        except PackageError as error:
            # The reason travels to the registry, where this machine's paths mean nothing.
            message = error.message.replace(str(package), "the package")
            raise PackageError(message, error.remedy) from None
        if found != digest:
            raise PackageError(
                f"the package has digest {found[:12]}, the tag {tags.DIGEST} names {digest[:12]}"
            )


def _release(version: RegisteredVersion) -> Release:
    digest = version.tags.get(tags.DIGEST, "")
    if version.status != "READY":
        raise PackageError(f"the version's status is {version.status}, not READY")
    if not DIGEST.fullmatch(digest):
        raise PackageError(
            f"the version has no tag {tags.DIGEST}", "Register it with `modelyard run`."
        )
    return Release(version.version, digest)
