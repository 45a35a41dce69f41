"""Budgets by class and by sensitive group, over what packages record of themselves."""

import json
from pathlib import Path
from typing import Any

import pytest

from modelyard.artifacts import Dataset, ModelVersion, read_json, write_json
from modelyard.params import Budgets, PromoteParams
from modelyard.registry.budgets import unfair
from modelyard.registry.gate import Contender, judge
from tests.integration.registry_project import make_project


def row(label: str, recall: float, support: int = 50) -> dict[str, Any]:
    return {"label": label, "precision": 1.0, "recall": recall, "f1": 0.9, "support": support}


def group(name: str, low: float | None, rows: int = 100) -> dict[str, Any]:
    score = {"value": 0.9, "low": low, "high": 0.99}
    return {"name": name, "rows": rows, "few": rows < 30, "score": score}


EVALUATION = {
    "shipped": {"classes": [row("0", 0.98), row("1", 0.71, 14), row("2", 0.0, 0)]},
    "trained": {
        "groups": [
            {"name": "SEX", "groups": [group("0", 0.91), group("1", 0.74)]},
            {"name": "AGE", "groups": [group("18 to 25", 0.1, rows=12), group("odd", None)]},
        ]
    },
}


def test_the_class_and_its_figures_are_named() -> None:
    assert unfair(Budgets(min_class_recall=0.8), "accuracy", EVALUATION) == [
        "recall of class '1' is 0.7100 (14 rows), under 0.8"
    ]
    assert unfair(Budgets(min_class_recall=0.7), "accuracy", EVALUATION) == []


def test_the_group_and_its_figures_are_named_unless_it_is_too_small() -> None:
    assert unfair(Budgets(min_group_score=0.8), "accuracy", EVALUATION) == [
        "accuracy of SEX '1' could be as low as 0.7400 (100 rows), under 0.8"
    ]
    assert unfair(Budgets(min_group_score=0.7), "accuracy", EVALUATION) == []


@pytest.mark.parametrize(
    ("budgets", "said"),
    [
        ({"min_class_recall": 0.1}, "records no recall by class"),
        ({"min_group_score": -1.0}, "records no sensitive group of 30 rows or more"),
    ],
)
def test_what_is_not_recorded_is_not_taken_for_kept(budgets: dict[str, float], said: str) -> None:
    for evaluation in ({}, {"shipped": {"accuracy": {}}, "trained": {"groups": []}}):
        (failure,) = unfair(Budgets(**budgets), "r2", evaluation)
        assert said in failure
    assert unfair(Budgets(), "r2", {}) == []


def test_the_gate_refuses_by_class_and_by_group(tmp_path: Path) -> None:
    layout = make_project(tmp_path)
    path = layout.package / "evaluation.json"
    evaluation = read_json(path)
    for part in ("shipped", "trained"):
        evaluation[part] |= EVALUATION[part]
    write_json(path, evaluation)
    contender = Contender(ModelVersion("tiny", 1, "0" * 64, "run"), layout.package)
    budgets = Budgets(min_class_recall=0.8, min_group_score=0.8)
    dataset, measurements = Dataset.read(layout.dataset), tmp_path / "measurements"
    verdict = judge(contender, None, dataset, PromoteParams(budgets=budgets), measurements)
    assert not verdict.passed
    assert verdict.reason == (
        "recall of class '1' is 0.7100 (14 rows), under 0.8; "
        "accuracy of SEX '1' could be as low as 0.7400 (100 rows), under 0.8"
    )
    assert json.loads(verdict.to_json())["reason"] == verdict.reason
    lenient = PromoteParams(budgets=Budgets(min_class_recall=0.7, min_group_score=0.7))
    assert judge(contender, None, dataset, lenient, measurements).passed
