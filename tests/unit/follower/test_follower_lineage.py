"""What a version must have been judged against, by real signed verdicts."""

from pathlib import Path

import pytest

from modelyard.follower.lineage import find_reference
from modelyard.follower.records import Event, Release, State
from modelyard.mlflow_api.types import RegisteredVersion
from modelyard.package import ensure_key
from modelyard.registry import tags
from modelyard.registry.verdict import Verdict


class Versions:
    """Versions of one model; each was judged against another, by ``key``."""

    def __init__(self, folder: Path) -> None:
        self.trusted = folder / "trusted"
        self.key = ensure_key(folder / "keys", self.trusted)
        self.stranger = ensure_key(folder / "others", folder / "nobody")
        self.known: dict[int, RegisteredVersion] = {}

    def add(
        self, number: int, against: int | None, passed: bool = True, key: Path | None = None
    ) -> None:
        verdict = Verdict(
            name="m",
            version=number,
            digest=digest(number),
            champion_version=against,
            champion_digest=None if against is None else digest(against),
            dataset_digest="d",
            rows=1,
            metric="accuracy",
            score=1.0,
            score_low=1.0,
            difference=None,
            difference_low=None,
            difference_high=None,
            latency_ms=1.0,
            size_mb=1.0,
            margin=0.0,
            passed=passed,
            reason="",
        )
        found = {tags.DIGEST: digest(number), **verdict.signed_tags(key or self.key)}
        self.known[number] = RegisteredVersion("m", number, "READY", found, (), "", "", "", "")

    def reference(self, number: int, *history: int) -> str | None:
        releases = [Release(version, digest(version)) for version in history]
        events = tuple(
            Event(str(index), release, None, "champion", "", 0.0)
            for index, release in enumerate(releases)
        )
        state = State(None, events, None, None)
        return find_reference(
            lambda _, wanted: self.known.get(wanted), self.known[number], state, self.trusted
        )


def digest(number: int) -> str:
    return f"{number:064x}"


@pytest.fixture
def versions(tmp_path: Path) -> Versions:
    """1 was the first; each was judged against the one before."""
    versions = Versions(tmp_path)
    for number in (1, 2, 3, 4):
        versions.add(number, number - 1 or None)
    return versions


def test_what_serves_here_is_the_rule(versions: Versions) -> None:
    assert versions.reference(2, 1) == digest(1)
    assert versions.reference(1, 3) == digest(3)
    assert versions.reference(1) is None


def test_promotions_that_were_missed_lead_here(versions: Versions) -> None:
    assert versions.reference(3, 1) == digest(2)
    assert versions.reference(4, 1) == digest(3)


@pytest.mark.parametrize("change", ["not passed", "stranger", "gone", "replaced"])
def test_a_broken_link_leads_nowhere(versions: Versions, change: str) -> None:
    if change == "not passed":
        versions.add(2, 1, passed=False)
    elif change == "stranger":
        versions.add(2, 1, key=versions.stranger)
    elif change == "gone":
        del versions.known[2]
    else:
        versions.known[2].tags[tags.DIGEST] = digest(9)
    assert versions.reference(4, 1) == digest(1)


def test_what_was_left_here_is_no_step(versions: Versions) -> None:
    assert versions.reference(3, 1, 2, 1) == digest(1)


def test_a_circle_ends(versions: Versions) -> None:
    versions.add(2, 3)
    assert versions.reference(3, 1) == digest(1)


def test_where_the_version_that_serves_was_deleted_nobody_can_judge_against_it(
    versions: Versions,
) -> None:
    del versions.known[1]
    assert versions.reference(3, 1) is None
    versions.known[1] = versions.known[4]
    assert versions.reference(3, 1) is None
