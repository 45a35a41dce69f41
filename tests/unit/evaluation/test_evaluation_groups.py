"""Groups by sensitive columns: who is in which, their rates, and the gaps."""

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from modelyard.evaluation import groups
from modelyard.evaluation.groups import FEW_ROWS, group_rows, measure_groups
from modelyard.evaluation.tasks import Scoring
from modelyard.params import EvaluateParams

PARAMS = EvaluateParams(bootstrap=100, folds=0)
CLASSES = Scoring("classification", "accuracy")


def _column(values: list[str]) -> np.ndarray:
    return np.array(values, dtype=object)


texts = st.lists(
    st.sampled_from(["", "a", "b", "1", "2.5", "x" * 99, "x" * 98 + "y"])
    | st.integers(0, 60).map(str),
    min_size=1,
    max_size=80,
)


@settings(max_examples=60, deadline=None)
@given(texts)
def test_every_row_is_in_exactly_one_group(values: list[str]) -> None:
    found = group_rows(_column(values))
    rows = np.concatenate([rows for _, rows in found])
    assert sorted(rows.tolist()) == list(range(len(values)))
    assert all(len(part) for _, part in found)
    assert len(found) <= groups.MAX_GROUPS + 1
    missing = [part for name, part in found if name == groups.MISSING]
    assert [int(row) for part in missing for row in part] == [
        row for row, value in enumerate(values) if not value
    ]


def test_many_numbers_become_quantiles_in_ascending_order() -> None:
    values = _column([str(number) for number in range(100)] + [""])
    found = group_rows(values)
    assert [name for name, _ in found] == [
        "0 to 24",
        "25 to 49",
        "50 to 74",
        "75 to 99",
        "(missing)",
    ]
    assert [len(rows) for _, rows in found] == [25, 25, 25, 25, 1]


def test_few_numbers_stay_values_and_many_texts_share_a_rest() -> None:
    assert [name for name, _ in group_rows(_column(["1", "2", "2"]))] == ["2", "1"]
    names = [f"city {number:02}" for number in range(40)]
    found = group_rows(_column([*names, "city 07"]))
    assert len(found) == groups.MAX_GROUPS
    assert found[0][0] == "city 07"
    assert (found[-1][0], len(found[-1][1])) == (groups.REST, 40 - groups.MAX_GROUPS + 1)


def test_rates_and_gaps_of_two_classes() -> None:
    """Women: 40 rows, 10 positive; men: 60 rows, 30 positive; two of another sex."""
    sex = ["f"] * 40 + ["m"] * 60 + ["x"] * 2
    targets = np.array([1] * 10 + [0] * 30 + [1] * 30 + [0] * 30 + [0, 0])
    answers = np.zeros((102, 2))
    given = np.array(
        [1] * 5 + [0] * 5 + [1] * 3 + [0] * 27 + [1] * 30 + [1] * 6 + [0] * 24 + [0, 0]
    )
    answers[np.arange(102), given] = 1
    (table,) = measure_groups(
        {"sex": _column(sex)}, answers, targets, ("bad", "good"), CLASSES, PARAMS
    )
    men, women, other = table.groups
    assert (men.name, women.name, other.name) == ("m", "f", "x")
    assert (men.rows, men.few, other.few) == (60, False, True)
    assert (women.selection_rate, men.selection_rate) == (8 / 40, 36 / 60)
    assert (women.true_positive_rate, men.true_positive_rate) == (0.5, 1.0)
    assert (women.false_positive_rate, men.false_positive_rate) == (0.1, 0.2)
    assert other.true_positive_rate is None
    assert table.positive == "good"
    gaps = {gap.name: (gap.difference, gap.ratio) for gap in table.gaps}
    assert gaps["selection_rate"] == pytest.approx((0.4, 1 / 3))
    assert gaps["true_positive_rate"] == pytest.approx((0.5, 0.5))
    assert gaps["false_positive_rate"] == pytest.approx((0.1, 0.5))
    assert gaps["accuracy"][0] == pytest.approx(abs(32 / 40 - 54 / 60))
    assert json.dumps(table.to_json(), allow_nan=False)


def test_small_groups_are_not_compared() -> None:
    targets = np.zeros(FEW_ROWS + 5, dtype=int)
    answers = np.tile([1.0, 0.0], (len(targets), 1))
    column = _column(["a"] * FEW_ROWS + ["b"] * 5)
    (table,) = measure_groups({"g": column}, answers, targets, ("x", "y"), CLASSES, PARAMS)
    assert [group.few for group in table.groups] == [False, True]
    assert table.gaps == ()


def test_numbers_are_compared_by_their_skill() -> None:
    targets = np.zeros(80)
    answers = np.concatenate([np.full(40, 1.0), np.full(40, 3.0)])[:, None]
    column = _column(["near"] * 40 + ["far"] * 40)
    scoring = Scoring("regression", "skill", typical_error=2.0)
    (table,) = measure_groups({"g": column}, answers, targets, (), scoring, PARAMS)
    assert {group.name: group.score.value for group in table.groups} == {"near": 0.5, "far": -0.5}
    (gap,) = table.gaps
    assert (gap.name, gap.difference, gap.ratio) == ("skill", 1.0, None)
    assert table.positive is None
