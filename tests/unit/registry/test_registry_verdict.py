"""A verdict counts only signed, passed, and for the very version and files it is about."""

import json
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelyard.errors import GateRefused
from modelyard.package import ensure_key
from modelyard.registry import tags as names
from modelyard.registry.verdict import Verdict, check_current, check_verdict

SHARES = st.floats(0, 1)
MAYBE = st.none() | st.floats(-1, 1)
VERDICTS = st.builds(
    Verdict,
    name=st.text(),
    version=st.integers(1),
    digest=st.text("0123456789abcdef", min_size=64, max_size=64),
    champion_version=st.none() | st.integers(1),
    champion_digest=st.none() | st.text(),
    dataset_digest=st.text(),
    rows=st.integers(0),
    metric=st.text(),
    score=SHARES,
    score_low=SHARES,
    difference=MAYBE,
    difference_low=MAYBE,
    difference_high=MAYBE,
    latency_ms=st.floats(0, 1e6),
    size_mb=st.floats(0, 1e6),
    margin=SHARES,
    passed=st.booleans(),
    reason=st.text(),
)
PASSED = Verdict(
    name="digits",
    version=3,
    digest="a" * 64,
    champion_version=2,
    champion_digest="b" * 64,
    dataset_digest="c" * 64,
    rows=500,
    metric="accuracy",
    score=0.97,
    score_low=0.95,
    difference=0.01,
    difference_low=-0.01,
    difference_high=0.03,
    latency_ms=0.1,
    size_mb=0.2,
    margin=0.02,
    passed=True,
    reason="not worse by more than margin",
)


@dataclass(frozen=True)
class Keys:
    key: Path
    trusted: Path


@pytest.fixture(scope="module")
def signer(tmp_path_factory: pytest.TempPathFactory) -> Keys:
    folder = tmp_path_factory.mktemp("keys")
    return Keys(ensure_key(folder, folder / "trusted"), folder / "trusted")


@given(verdict=VERDICTS)
def test_a_verdict_is_read_as_it_was_written(verdict: Verdict) -> None:
    assert Verdict.from_json(verdict.to_json()) == verdict


@given(verdict=VERDICTS)
def test_only_a_passed_verdict_of_this_version_and_digest_counts(
    signer: Keys, verdict: Verdict
) -> None:
    tags = verdict.signed_tags(signer.key)
    subject = (verdict.name, verdict.version, verdict.digest)
    if verdict.passed:
        assert check_verdict(tags, *subject, signer.trusted) == verdict
    else:
        with pytest.raises(GateRefused, match="did not pass"):
            check_verdict(tags, *subject, signer.trusted)
    for other in (
        (verdict.name + "x", verdict.version, verdict.digest),
        (verdict.name, verdict.version + 1, verdict.digest),
        (verdict.name, verdict.version, "f" * 63),
    ):
        with pytest.raises(GateRefused):
            check_verdict(tags, *other, signer.trusted)


@given(data=st.data())
def test_any_changed_character_undoes_the_signature(signer: Keys, data: st.DataObject) -> None:
    tags = PASSED.signed_tags(signer.key)
    text = tags[names.VERDICT]
    place = data.draw(st.integers(0, len(text) - 1))
    changed = data.draw(st.characters(max_codepoint=126).filter(lambda char: char != text[place]))
    tags[names.VERDICT] = text[:place] + changed + text[place + 1 :]
    with pytest.raises(GateRefused):
        check_verdict(tags, "digits", 3, PASSED.digest, signer.trusted)


def test_a_strangers_verdict_does_not_count(signer: Keys, tmp_path: Path) -> None:
    stranger = ensure_key(tmp_path / "other", tmp_path / "other/trusted")
    with pytest.raises(GateRefused, match="does not count"):
        check_verdict(PASSED.signed_tags(stranger), "digits", 3, PASSED.digest, signer.trusted)


@pytest.mark.parametrize("missing", [names.VERDICT, names.VERDICT_SIGNATURE])
def test_without_verdict_or_signature_nothing_passes(signer: Keys, missing: str) -> None:
    tags = PASSED.signed_tags(signer.key)
    del tags[missing]
    with pytest.raises(GateRefused, match="no signed verdict"):
        check_verdict(tags, "digits", 3, PASSED.digest, signer.trusted)


def test_the_reason_of_a_failed_gate_is_in_the_message(signer: Keys) -> None:
    failed = replace(PASSED, passed=False, reason="a row takes 7 ms, over 5")
    with pytest.raises(GateRefused, match="a row takes 7 ms, over 5"):
        check_verdict(failed.signed_tags(signer.key), "digits", 3, PASSED.digest, signer.trusted)


@pytest.mark.parametrize("live", [None, PASSED.champion_digest, PASSED.digest])
def test_a_verdict_about_what_is_live_is_current(signer: Keys, live: str | None) -> None:
    tags = PASSED.signed_tags(signer.key)
    assert check_current(tags, "digits", 3, PASSED.digest, live, signer.trusted) == PASSED


@pytest.mark.parametrize(
    ("verdict", "compared"),
    [
        (PASSED, "version 2"),
        (replace(PASSED, champion_version=None, champion_digest=None), "nothing"),
    ],
)
def test_a_verdict_against_another_champion_is_outdated(
    signer: Keys, verdict: Verdict, compared: str
) -> None:
    tags = verdict.signed_tags(signer.key)
    with pytest.raises(GateRefused) as caught:
        check_current(tags, "digits", 3, PASSED.digest, "e" * 64, signer.trusted)
    wanted = "judged against another champion; judge it again: `modelyard promote 3`"
    assert wanted in caught.value.message
    assert f"compared with {compared}, but eeeeeeeeeeee is live" in caught.value.message


def test_the_remedy_of_a_missing_verdict_judges_again(signer: Keys) -> None:
    with pytest.raises(GateRefused) as caught:
        check_verdict({}, "digits", 3, PASSED.digest, signer.trusted)
    assert "`modelyard promote N`" in caught.value.remedy
    assert "judges it again" in caught.value.remedy


def test_the_signature_is_written_before_the_verdict(signer: Keys) -> None:
    assert list(PASSED.signed_tags(signer.key)) == [names.VERDICT_SIGNATURE, names.VERDICT]


@pytest.mark.parametrize("field", [field.name for field in fields(Verdict)])
@pytest.mark.parametrize("value", [[], {"a": 1}])
def test_an_impossible_value_is_refused(field: str, value: Any) -> None:
    tree = json.loads(PASSED.to_json()) | {field: value}
    with pytest.raises(GateRefused, match=field):
        Verdict.from_json(json.dumps(tree))


@pytest.mark.parametrize(
    "text", ["", "[]", "{}", '{"passed": true}', PASSED.to_json()[:-1] + ',"x":1}']
)
def test_what_is_no_verdict_is_refused(text: str) -> None:
    with pytest.raises(GateRefused, match="is not one of this version"):
        Verdict.from_json(text)
