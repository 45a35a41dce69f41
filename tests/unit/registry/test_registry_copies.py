"""A copied version serves by its source's verdict, as long as that says enough where it serves."""

from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from modelyard.errors import GateRefused
from modelyard.mlflow_api import RegisteredVersion
from modelyard.package import ensure_key
from modelyard.registry import tags as names
from modelyard.registry.copies import check_release, copied_from, describe_release
from modelyard.registry.verdict import Verdict
from tests.unit.registry.test_registry_verdict import PASSED

SOURCE, PRODUCTION = "digits", "digits-production"
LIVE, DIGEST = "b" * 64, PASSED.digest


@dataclass
class Registry:
    """Versions with tags signed by a trusted key, as MLflow would give them."""

    folder: Path
    versions: dict[tuple[str, int], RegisteredVersion] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.trusted = self.folder / "trusted"
        self.key = ensure_key(self.folder, self.trusted)

    def find(self, name: str, version: int) -> RegisteredVersion | None:
        return self.versions.get((name, version))

    def add(
        self, name: str, version: int, verdict: Verdict | None = None, source: str = ""
    ) -> RegisteredVersion:
        """With a verdict of its own, or as a copy that has the tags of its source."""
        origin = copied_from(RegisteredVersion(name, version, "", {}, (), "", "", source, ""))
        tags = dict(self.versions[origin].tags) if origin else {names.DIGEST: DIGEST}
        if verdict is not None:
            tags |= replace(verdict, name=name, version=version).signed_tags(self.key)
        made = RegisteredVersion(name, version, "READY", tags, (), "", "", source, "")
        self.versions[name, version] = made
        return made

    def check(self, version: RegisteredVersion, live: str | None = LIVE) -> Verdict:
        return check_release(self.find, version, DIGEST, live, self.trusted)


@pytest.fixture
def registry(tmp_path: Path) -> Registry:
    return Registry(tmp_path)


def test_a_copy_serves_by_the_verdict_of_what_it_copies(registry: Registry) -> None:
    registry.add(SOURCE, 3, PASSED)
    copy = registry.add(PRODUCTION, 1, source=f"models:/{SOURCE}/3")
    for live in (LIVE, DIGEST, None):
        assert registry.check(copy, live).version == 3
    of_copy = registry.add("digits-abroad", 7, source=f"models:/{PRODUCTION}/1")
    assert registry.check(of_copy).name == SOURCE
    said = describe_release(registry.find, of_copy, registry.trusted)
    assert said == f"passed: {PASSED.reason} (as digits 3)"
    with pytest.raises(
        GateRefused, match=f"compared with {LIVE[:12]}, but {'e' * 12} is live here"
    ):
        registry.check(copy, "e" * 64)


def test_its_own_verdict_comes_first(registry: Registry) -> None:
    registry.add(SOURCE, 3, PASSED)
    source = f"models:/{SOURCE}/3"
    failed = registry.add(PRODUCTION, 1, replace(PASSED, passed=False, reason="too slow"), source)
    with pytest.raises(GateRefused, match="did not pass the gate: too slow"):
        registry.check(failed)
    other = replace(PASSED, champion_digest="f" * 64)
    with pytest.raises(GateRefused, match="was judged against another champion"):
        registry.check(registry.add(PRODUCTION, 2, other, source))
    assert registry.check(registry.add(PRODUCTION, 3, other, source), "f" * 64).version == 3


@pytest.mark.parametrize("wrong", ["unjudged", "failed", "gone", "other files", "not signed"])
def test_without_a_verdict_that_counts_it_is_refused(registry: Registry, wrong: str) -> None:
    verdict = {"unjudged": None, "failed": replace(PASSED, passed=False)}.get(wrong, PASSED)
    source = registry.add(SOURCE, 3, verdict)
    copy = registry.add(PRODUCTION, 1, source=f"models:/{SOURCE}/3")
    tags = {
        "other files": {names.DIGEST: "0" * 64},
        "not signed": {names.VERDICT_SIGNATURE: "forged"},
    }.get(wrong, {})
    registry.versions[SOURCE, 3] = replace(source, tags=source.tags | tags)
    if wrong == "gone":
        del registry.versions[SOURCE, 3]
    with pytest.raises(GateRefused, match=f"`modelyard gate {PRODUCTION} 1`"):
        registry.check(copy)


@pytest.mark.parametrize("source", ["", f"models:/{SOURCE}", "models:/m-1", "s3://models:/a/3"])
def test_what_is_no_copy_has_no_source(registry: Registry, source: str) -> None:
    registry.add(SOURCE, 3, PASSED)
    made = RegisteredVersion(
        PRODUCTION, 1, "READY", registry.versions[SOURCE, 3].tags, (), "", "", source, ""
    )
    assert copied_from(made) is None
    with pytest.raises(GateRefused, match="carries the verdict of version 3 of digits"):
        registry.check(made)


def test_copies_in_a_ring_end(registry: Registry) -> None:
    registry.versions[SOURCE, 1] = RegisteredVersion(
        SOURCE, 1, "READY", {names.DIGEST: DIGEST}, (), "", "", f"models:/{PRODUCTION}/1", ""
    )
    ring = registry.add(PRODUCTION, 1, source=f"models:/{SOURCE}/1")
    with pytest.raises(GateRefused, match="no signed verdict"):
        registry.check(ring)
