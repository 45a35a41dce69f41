"""The form of a run: what it may hold, and which params it makes."""

from pathlib import Path
from typing import Any

import pytest

from modelyard.errors import ParamsError
from modelyard.params import parse, read_tree, with_overrides
from modelyard.runs.request import Request

ROOT = Path(__file__).parents[3]


def made(**form: Any) -> Any:
    """The params of a run of this form."""
    changes = Request.read(form).changes
    return parse(with_overrides(read_tree(ROOT / "params.yaml"), changes))


def test_an_empty_form_changes_nothing() -> None:
    assert Request.read({}).changes == []
    empty = dict.fromkeys(("seed", "epochs", "learning_rate", "workers", "promote"))
    assert Request.read(empty).changes == []


def test_every_field_becomes_its_key() -> None:
    params = made(seed=0, epochs=2, learning_rate=1e-5, workers=4, promote="manual")
    train = params.train
    assert (train.seed, train.epochs, train.workers) == (0, 2, 4)
    assert train.optimizer.lr == 1e-5
    assert params.promote.mode == "manual"
    assert train.batch_size == 64, "what is not named stays"


@pytest.mark.parametrize("rate", [1, 0.1, 1e-5, 2.5e-7, 1e30])
def test_a_rate_is_read_back_as_it_was(rate: float) -> None:
    assert made(learning_rate=rate).train.optimizer.lr == rate


def test_explicit_overrides_win() -> None:
    params = made(epochs=2, learning_rate=0.5, overrides=["train.epochs=3"])
    assert (params.train.epochs, params.train.optimizer.lr) == (3, 0.5)


@pytest.mark.parametrize(
    ("form", "message"),
    [
        ({"epochs": 0}, "epochs: .*greater than or equal to 1, not 0"),
        ({"seed": -1}, "seed: .*greater than or equal to 0"),
        ({"seed": 2**32}, "seed: .*less than 4294967296"),
        ({"learning_rate": 0}, "learning_rate: .*greater than 0"),
        ({"learning_rate": float("inf")}, "learning_rate: .*finite"),
        ({"workers": 65}, "workers: .*less than or equal to 64"),
        ({"promote": "never"}, "promote: .*'auto', 'manual' or 'approve'"),
    ],
)
def test_a_bad_value_is_refused_with_its_bound(form: dict[str, Any], message: str) -> None:
    with pytest.raises(ParamsError, match=message):
        Request.read(form)
