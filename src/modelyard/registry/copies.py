"""Versions that MLflow's "Promote model" copied from another model, and their right to serve.

A copy has the files of its source, and no verdict of its own. The source's counts for it: a verdict
is about files, which the digest names and the follower checks, and MLflow alone writes what a
version is a copy of. What is live under the copy's own name decides whether that comparison still
says enough. A verdict of the copy's own comes before it, passed or not.
"""

import re
from collections.abc import Callable
from pathlib import Path

from modelyard.errors import GateRefused
from modelyard.mlflow_api import RegisteredVersion
from modelyard.registry import tags as names
from modelyard.registry.verdict import (
    Verdict,
    check_current,
    check_verdict,
    describe_verdict,
    read_verdict,
)

Find = Callable[[str, int], RegisteredVersion | None]
"""``MlflowApi.get_version``."""

_SOURCE = re.compile(r"models:/([^/]+)/([0-9]+)")
_MAX_COPIES = 10


def copied_from(version: RegisteredVersion) -> tuple[str, int] | None:
    """Name and number of the version that this one is a copy of, or None."""
    found = _SOURCE.fullmatch(version.source)
    return (found[1], int(found[2])) if found else None


def find_judged(find: Find, version: RegisteredVersion, trusted: Path) -> RegisteredVersion:
    """The version whose verdict counts for ``version``: the nearest of its sources that has one.

    Only sources with the same digest count. Without any it is ``version`` itself.
    """
    here = version
    for _ in range(_MAX_COPIES):
        source = copied_from(here)
        if source is None or _has_verdict(here, trusted):
            break
        found = find(*source)
        if found is None or found.tags.get(names.DIGEST) != version.tags.get(names.DIGEST):
            return version
        here = found
    return here if _has_verdict(here, trusted) else version


def check_release(
    find: Find, version: RegisteredVersion, digest: str, live: str | None, trusted: Path
) -> Verdict:
    """The passed verdict that lets a version replace what is live (see ``check_current``).

    Args:
        find: Gives a version of the registry.
        version: What is wished for.
        digest: Of its package, as computed from its files.
        live: Digest of what is live under the version's own name; None where nothing has been.
        trusted: Folder of PEM public keys whose signatures count.

    Raises:
        GateRefused: it has none, nor has what it is a copy of, or that is about another champion.
    """
    judged = find_judged(find, version, trusted)
    if judged is not version:
        return _check_copy(version, judged, digest, live, trusted)
    try:
        return check_current(version.tags, version.name, version.version, digest, live, trusted)
    except GateRefused as error:
        source = copied_from(version)
        if source is None or _has_verdict(version, trusted):
            raise
        raise GateRefused(
            f"{error.message}; nor does version {source[1]} of {source[0]}, of which it is a copy,"
            f" have one of these files; {_remedy(version)}"
        ) from None


def _check_copy(
    version: RegisteredVersion,
    judged: RegisteredVersion,
    digest: str,
    live: str | None,
    trusted: Path,
) -> Verdict:
    """As ``check_release``, by the verdict of the source ``judged``.

    Raises:
        GateRefused: the source did not pass, or was compared with something else than is live.
    """
    where = f"version {version.version} of {version.name}"
    source = f"version {judged.version} of {judged.name}"
    try:
        verdict = check_verdict(judged.tags, judged.name, judged.version, digest, trusted)
    except GateRefused as error:
        raise GateRefused(f"{where} is a copy: {error.message}; {_remedy(version)}") from None
    if live not in (None, digest, verdict.champion_digest):
        former = verdict.champion_digest
        compared = former[:12] if former else "nothing"
        raise GateRefused(
            f"{where} is a copy of {source}, which was compared with {compared}, but {live[:12]} is"
            f" live here; {_remedy(version)}"
        )
    return verdict


def describe_release(find: Find, version: RegisteredVersion, trusted: Path) -> str:
    """What the verdict that counts for a version says; "none" where none counts."""
    judged = find_judged(find, version, trusted)
    said = describe_verdict(judged, trusted)
    if judged is version:
        return said
    return f"{said} (as {judged.name} {judged.version})"


def _has_verdict(version: RegisteredVersion, trusted: Path) -> bool:
    """Whether it carries a signed verdict of its own about its files, passed or not."""
    try:
        verdict = read_verdict(version.tags, version.name, version.version, trusted)
    except GateRefused:
        return False
    return verdict.digest == version.tags.get(names.DIGEST)


def _remedy(version: RegisteredVersion) -> str:
    return f"judge it: `modelyard gate {version.name} {version.version}`"
