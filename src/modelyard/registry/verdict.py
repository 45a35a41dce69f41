"""The gate's verdict on a version: what was compared, what came out, and who says so.

It is stored as a tag of the version, signed, and bound to the version's digest: a tag can be copied
to another version by anyone who may write tags, and must not count there.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from modelyard.artifacts import canonical
from modelyard.errors import GateRefused, PackageError
from modelyard.mlflow_api import RegisteredVersion
from modelyard.package.signing import sign_bytes, verify_bytes
from modelyard.registry import tags as names

_REMEDY = "`modelyard promote N`, with the version's number, judges it again."


@dataclass(frozen=True)
class Verdict:
    """The outcome of the gate for one version.

    ``score`` is the task's main ``metric`` on ``rows`` test rows; differences (challenger minus
    champion) are of the same rows; both have ends of their 95 % intervals. ``latency_ms`` is the
    median of one row on one thread, ``size_mb`` 10^6 bytes. The champion's fields and the
    differences are None for the first champion, and the differences also where the two models
    cannot be compared.
    """

    name: str
    version: int
    digest: str
    champion_version: int | None
    champion_digest: str | None
    dataset_digest: str
    rows: int
    metric: str
    score: float
    score_low: float
    difference: float | None
    difference_low: float | None
    difference_high: float | None
    latency_ms: float
    size_mb: float
    margin: float
    passed: bool
    reason: str

    def to_json(self) -> str:
        """The canonical JSON text, which is what is signed."""
        return canonical(asdict(self)).decode("ascii")

    @classmethod
    def from_json(cls, text: str) -> "Verdict":
        """Read ``to_json``'s text.

        Raises:
            GateRefused: it is not JSON, lacks a key, holds an unknown one or an impossible value.
        """
        try:
            tree = json.loads(text)
        except ValueError:
            tree = None
        if not isinstance(tree, dict) or tree.keys() != {field.name for field in fields(cls)}:
            raise GateRefused(f"the verdict {text[:60]!r} is not one of this version", _REMEDY)
        for field in fields(cls):
            if not _fits(tree[field.name], _kind(field.type)):
                raise GateRefused(f"the verdict's {field.name} is not possible", _REMEDY)
        return cls(**tree)

    def signed_tags(self, key: Path) -> dict[str, str]:
        """The two tags that carry this verdict and its signature by the private ``key``.

        They are to be written in this order: after a kill between them the old text does not fit
        the new signature, so nobody takes the pair for a verdict.
        """
        text = self.to_json()
        return {names.VERDICT_SIGNATURE: sign_bytes(text.encode(), key), names.VERDICT: text}


def check_verdict(
    tags: Mapping[str, str], name: str, version: int, digest: str, trusted: Path
) -> Verdict:
    """Return the passed verdict that ``tags`` carry for exactly this version and digest.

    Args:
        tags: The version's tags.
        name: Of the registered model.
        version: Its number.
        digest: Of the package, as computed from its files.
        trusted: Folder of PEM public keys whose signatures count.

    Raises:
        GateRefused: there is no verdict, nobody trusted signed it, it is another version's, or it
            did not pass; the message says which.
    """
    verdict = read_verdict(tags, name, version, trusted)
    where = f"version {version} of {name}"
    if verdict.digest != digest:
        raise GateRefused(
            f"{where} has files {digest[:12]}, but its verdict is about {verdict.digest[:12]}",
            _REMEDY,
        )
    if not verdict.passed:
        raise GateRefused(
            f"{where} did not pass the gate: {verdict.reason}",
            "Train a better one, or change promote.margin or promote.budgets in params.yaml.",
        )
    return verdict


def check_current(
    tags: Mapping[str, str],
    name: str,
    version: int,
    digest: str,
    live: str | None,
    trusted: Path,
) -> Verdict:
    """As ``check_verdict``; and the verdict must be about what is live now.

    A version that was judged against nothing, or against what has been replaced since, has not been
    compared with what it would push aside. Where nothing has been live, there is nothing to push
    aside, and the budgets are enough.

    Args:
        tags: The version's tags.
        name: Of the registered model.
        version: Its number.
        digest: Of the package, as computed from its files.
        live: Digest of what is live now; None where nothing has been live yet.
        trusted: Folder of PEM public keys whose signatures count.

    Raises:
        GateRefused: as ``check_verdict``, or it was judged against something else.
    """
    verdict = check_verdict(tags, name, version, digest, trusted)
    if live is not None and live not in (digest, verdict.champion_digest):
        former = verdict.champion_version
        compared = "nothing" if former is None else f"version {former}"
        raise GateRefused(
            f"version {version} of {name} was judged against another champion; judge it again:"
            f" `modelyard promote {version}` (it was compared with {compared},"
            f" but {live[:12]} is live)",
        )
    return verdict


def read_verdict(tags: Mapping[str, str], name: str, version: int, trusted: Path) -> Verdict:
    """The signed verdict of a version, passed or not; see ``check_verdict``.

    Raises:
        GateRefused: there is none, nobody trusted signed it, or it is another version's.
    """
    where = f"version {version} of {name}"
    text, signature = tags.get(names.VERDICT), tags.get(names.VERDICT_SIGNATURE)
    if not text or not signature:
        raise GateRefused(f"{where} has not passed the gate: it has no signed verdict", _REMEDY)
    try:
        verify_bytes(text.encode(), signature, trusted)
    except PackageError as error:
        raise GateRefused(
            f"the verdict of {where} does not count: {error.message}", _REMEDY
        ) from None
    verdict = Verdict.from_json(text)
    if (verdict.name, verdict.version) != (name, version):
        raise GateRefused(
            f"{where} carries the verdict of version {verdict.version} of {verdict.name}", _REMEDY
        )
    return verdict


def describe_verdict(version: RegisteredVersion, trusted: Path) -> str:
    """What the version's signed verdict says of its files; "none" where none counts."""
    try:
        verdict = read_verdict(version.tags, version.name, version.version, trusted)
    except GateRefused:
        return "none"
    if verdict.digest != version.tags.get(names.DIGEST):
        return "none"
    return f"{'passed' if verdict.passed else 'not passed'}: {verdict.reason}"


def _fits(value: Any, kind: str) -> bool:
    if value is None:
        return kind.endswith("| None")
    expected = kind.removesuffix(" | None")
    if expected == "float":
        return isinstance(value, int | float) and not isinstance(value, bool)
    return type(value).__name__ == expected


def _kind(annotation: Any) -> str:
    return annotation.__name__ if isinstance(annotation, type) else str(annotation)
