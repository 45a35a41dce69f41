"""The challenger as a shadow, over a registry in memory."""

import json

import pytest

from modelyard.errors import ServiceUnavailable
from modelyard.follower.folder import ModelFolder
from modelyard.params.serve import Canary, ServeParams, Shadow
from tests.unit.follower.yard import FixedServe, Yard

ON = ServeParams(shadow=Shadow())


def _shadow(yard: Yard) -> int | None:
    path = yard.root / "m/shadow.json"
    return json.loads(path.read_text())["version"] if path.exists() else None


@pytest.fixture
def shadowed(yard: Yard) -> Yard:
    """Version 1 is live, 2 the challenger, without any verdict."""
    yard.promote(1)
    del yard.tags(2)["modelyard.verdict"]
    yard.aliases["challenger"] = 2
    yard.turn()
    assert _shadow(yard) is None
    yard.follower.serve = FixedServe(params=ON)
    yard.turn()
    return yard


def test_the_challenger_is_the_shadow_as_long_as_it_answers_nobody(shadowed: Yard) -> None:
    assert _shadow(shadowed) == 2
    writes = shadowed.registry.num_writes
    shadowed.turn(3)
    assert shadowed.registry.num_writes == writes
    shadowed.aliases["challenger"] = 3
    shadowed.turn()
    assert _shadow(shadowed) == 3
    assert len(list((shadowed.root / "m/versions").iterdir())) == 2
    shadowed.promote(3)
    assert _shadow(shadowed) is None
    assert shadowed.aliases["live"] == 3


def test_a_canary_is_no_shadow(shadowed: Yard) -> None:
    shadowed.follower.serve = FixedServe(params=ServeParams(canary=Canary(), shadow=Shadow()))
    shadowed.aliases["challenger"] = 3
    shadowed.promote(3)
    assert shadowed.worker.canary == 3
    assert _shadow(shadowed) is None


def test_it_ends_with_its_alias_its_version_or_its_params(shadowed: Yard) -> None:
    del shadowed.aliases["challenger"]
    shadowed.turn()
    assert _shadow(shadowed) is None
    shadowed.aliases["challenger"] = 2
    shadowed.turn()
    assert _shadow(shadowed) == 2
    shadowed.follower.serve = FixedServe()
    shadowed.turn()
    assert _shadow(shadowed) is None


@pytest.mark.parametrize("harm", ["altered", "no digest"])
def test_what_is_not_what_it_says_is_no_shadow_and_said_once(
    shadowed: Yard, harm: str, caplog: pytest.LogCaptureFixture
) -> None:
    if harm == "altered":
        (shadowed.registry.source / "m/3/model.onnx").write_text("m 1")
    else:
        del shadowed.tags(3)["modelyard.digest"]
    shadowed.aliases["challenger"] = 3
    caplog.clear()
    shadowed.turn(4)
    assert _shadow(shadowed) is None
    assert caplog.text.count("version 3 of m is no shadow") == 1
    assert "modelyard.refused" not in shadowed.tags(3)
    assert shadowed.worker.served == 1


def test_it_stays_while_mlflow_is_away_and_its_package_is_kept(shadowed: Yard) -> None:
    shadowed.registry.away = True
    with pytest.raises(ServiceUnavailable):
        shadowed.follower.tick()
    ModelFolder(shadowed.root, "m").prune()
    assert len(list((shadowed.root / "m/versions").iterdir())) == 2
    shadowed.registry.away = False
    shadowed.turn()
    assert _shadow(shadowed) == 2
