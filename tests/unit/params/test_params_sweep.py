"""A sweep's file: what is refused before anything starts, and what a grid is."""

from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from modelyard.errors import ParamsError
from modelyard.params.load import parse, with_overrides
from modelyard.params.sweep import Range, SweepParams, as_overrides, read_sweep
from modelyard.params.tree import read_tree

ROOT = Path(__file__).parents[3]
BASE = read_tree(ROOT / "params.yaml")


def read(tmp_path: Path, **tree: Any) -> SweepParams:
    path = tmp_path / "tried.yaml"
    path.write_text(yaml.safe_dump({"name": "tried", **tree}))
    return read_sweep(path, BASE)


LR = {"train.optimizer.lr": [0.01, 0.02]}


@pytest.mark.parametrize(
    ("tree", "said"),
    [
        ({"params": {"train.optimizer.lrr": [1.0]}, "trials": 2}, "did you mean 'lr'?"),
        ({"params": {"train.optimizer.lr": [-1.0]}, "trials": 2}, "-1.0 is out of range"),
        ({"params": {"train.epochs": {"low": 0, "high": 3}}, "trials": 2}, "0 is out of range"),
        ({"params": {"evaluate.folds": [0, 2]}, "trials": 2}, "reads nothing of this"),
        ({"params": {"train.loss.gamma": [1.0]}, "trials": 2, "objective": "loss"}, "objective"),
        ({"params": {}, "trials": 2}, "params"),
        ({"params": {"train.epochs": []}, "trials": 2}, "at least one value"),
        ({"params": {"train.epochs": {"low": 3, "high": 3}}, "trials": 2}, "not below high"),
        ({"params": {"train.seed": {"low": 0, "high": 3, "log": True}}, "trials": 2}, "above 0"),
        ({"params": LR}, "needs a number of trials"),
        ({"params": LR, "trials": 2, "method": "grid"}, "leave trials out"),
        ({"params": {"train.epochs": {"low": 1, "high": 3}}, "method": "grid"}, "or a step"),
        ({"params": {"train.seed": list(range(300)), "train.epochs": list(range(1, 60))},
          "method": "grid"}, "17,700 combinations"),
        ({"params": LR, "trials": 2, "methd": "grid"}, "did you mean 'method'?"),
    ],
)  # fmt: skip
def test_what_is_not_possible_is_refused_with_its_key(
    tmp_path: Path, tree: dict[str, Any], said: str
) -> None:
    with pytest.raises(ParamsError) as refused:
        read(tmp_path, **tree)
    assert said in refused.value.message
    assert "tried.yaml" in refused.value.message
    assert "params.yaml" not in refused.value.message


def test_a_value_may_be_possible_only_with_one_of_another_key(tmp_path: Path) -> None:
    # 65 rows are no multiple of the two workers that params.yaml has.
    tree = {"train.batch_size": [65], "train.workers": [5]}
    assert read(tmp_path, params=tree, method="grid").num_trials == 1
    with pytest.raises(ParamsError, match="batch_size 65 is not a multiple of workers 2"):
        read(tmp_path, params={"train.batch_size": [65]}, method="grid")


def test_a_grid_is_every_combination_with_the_last_key_fastest() -> None:
    sweep = SweepParams.model_validate(
        {"name": "g", "method": "grid", "params": {"a.b": [1, 2], "c": {"low": 0, "high": 1}}}
        | {"params": {"model.args": [{"x": 1}, {}], "train.seed": {"low": 0, "high": 4, "step": 2}}}
    )
    tried = [tuple(map(str, item.values())) for item in sweep.grid()]
    assert tried == [(a, b) for a in ("{'x': 1}", "{}") for b in "024"]
    assert sweep.num_trials == 6


def test_steps_are_the_decimals_that_are_meant() -> None:
    assert Range(low=0.1, high=0.5, step=0.1).steps == (0.1, 0.2, 0.3, 0.4, 0.5)
    assert Range(low=1, high=6, step=2).steps == (1, 3, 5)


def test_the_project_s_own_sweeps_are_possible() -> None:
    for path in (ROOT / "sweeps").glob("*.yaml"):
        assert read_sweep(path, BASE).num_trials > 1


PLAIN = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53), 2**53)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(codec="utf-8", exclude_categories=["Cc"]), max_size=20),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.from_regex("[a-z]{1,5}", fullmatch=True), inner, max_size=3)
    ),
    max_leaves=6,
)


@settings(max_examples=60, deadline=None)
@given(PLAIN)
def test_overrides_give_the_values_back(value: Any) -> None:
    tree = with_overrides(BASE, as_overrides({"model.args.given": value}))
    assert tree["model"]["args"]["given"] == value
    assert parse(tree).model.args["given"] == value
