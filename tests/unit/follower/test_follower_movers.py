"""Who moved the alias, as far as MLflow tells."""

import pytest

from modelyard.errors import ModelyardError
from modelyard.follower import audit
from modelyard.follower.audit import UNKNOWN, Wish, find_wish, who_moved
from modelyard.mlflow_api import AliasMove, RegisteredVersion
from tests.unit.follower.yard import Yard

AT = "2026-11-23T10:00:00.000+00:00"
COPIED = AliasMove("eve", "copy", "", 2, AT)


def told(by: str, version: int | None, action: str = "set", alias: str = "champion") -> AliasMove:
    return AliasMove(by, action, alias, version, AT)


@pytest.mark.parametrize(
    ("moves", "by"),
    [
        ([], UNKNOWN),
        ([told("ada", 2)], "ada"),
        ([COPIED, told("ada", 2)], "ada"),
        ([told("bob", 3), told("ada", 2)], UNKNOWN),
        ([told("bob", None, "delete"), told("ada", 2)], UNKNOWN),
        ([told("bob", 2, alias="live"), told("ada", 2)], "ada"),
    ],
)
def test_the_last_move_counts_where_it_is_this_one(moves: list[AliasMove], by: str) -> None:
    version = RegisteredVersion("m", 2, "READY", {}, (), "", "", "", "")
    assert who_moved(lambda *_: moves, version) == Wish("alias", by)
    copy = RegisteredVersion("m", 2, "READY", {}, (), "", "", "models:/other/7", "")
    assert who_moved(lambda *_: moves, copy) == Wish("copy", by)


def test_a_server_that_will_not_tell_stops_nothing() -> None:
    def refuse(_: str, __: str) -> list[AliasMove]:
        raise ModelyardError("no")

    version = RegisteredVersion("m", 2, "READY", {}, (), "", "", "", "")
    assert who_moved(refuse, version) == Wish("alias", UNKNOWN)


def test_the_trail_names_who_moved_it_and_who_asked_for_what_was_refused(yard: Yard) -> None:
    yard.registry.moves = [told("ada", 1)]
    yard.promote(1)
    yard.registry.moves.insert(0, told("bob", 2))
    yard.registry.tags["m", 2].pop("modelyard.verdict")
    yard.promote(2)
    yard.registry.moves.clear()
    yard.promote(3)
    entries = [tuple(e[key] for key in ("to", "outcome", "path", "by")) for e in yard.audit()]
    assert entries == [
        (1, "live", "alias", "ada"),
        (2, "refused", "alias", "bob"),
        (3, "live", "alias", UNKNOWN),
    ]


def test_a_wish_of_ours_is_told_in_our_own_words(yard: Yard) -> None:
    """The pipeline's account moved the alias; the person who approved it is named."""
    yard.state.mkdir(exist_ok=True)
    asked = audit.Record("i", "m", None, 1, "approval", "Eve", "none", "wished", "", "")
    audit.append(yard.state, asked)
    yard.registry.moves = [told("pipeline-account", 1)]
    yard.promote(1)
    assert yard.audit()[-1]["path"] == "approval"
    assert yard.audit()[-1]["by"] == "Eve"
    assert find_wish(yard.state, "m", 1) == Wish()
