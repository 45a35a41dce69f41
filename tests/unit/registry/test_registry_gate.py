"""The gate's judgement, with real ONNX files of known accuracy."""

from pathlib import Path
from typing import Any

import pytest

from modelyard.artifacts import Dataset, Layout, ModelVersion
from modelyard.package.manifest import read_manifest
from modelyard.params import Budgets, PromoteParams
from modelyard.registry.gate import Contender, judge
from modelyard.registry.verdict import Verdict
from tests.integration.registry_project import ROWS, make_project, write_package


def contender(folder: Path, version: int, dataset: str = "") -> Contender:
    digest = read_manifest(folder)[0]
    return Contender(ModelVersion("tiny-digits", version, digest, "run"), folder, dataset)


def gate(layout: Layout, champion: Path | None = None, **promote: Any) -> Verdict:
    return judge(
        contender(layout.package, 2),
        contender(champion, 1) if champion else None,
        Dataset.read(layout.dataset),
        PromoteParams(**promote),
        layout.root / "measurements",
    )


def turned(layout: Layout) -> Path:
    """The same package, whose labels are turned by one: wrong where the other is right."""
    folder = layout.root / "turned"
    write_package(folder, layout, accuracy=0.0)
    (folder / "labels.json").write_text('["1", "2", "0"]')
    return folder


def test_the_first_champion_needs_only_the_budgets(tmp_path: Path) -> None:
    layout = make_project(tmp_path, wrong=12)
    verdict = gate(layout, budgets=Budgets(min_score=0.9, max_latency_ms=1e3, max_size_mb=1))
    assert verdict.passed
    assert verdict.score == 1 - 12 / ROWS
    assert 0.9 < verdict.score_low < verdict.score
    assert (verdict.champion_version, verdict.difference, verdict.rows) == (None, None, ROWS)


@pytest.mark.parametrize(
    ("budgets", "reason"),
    [
        (Budgets(min_score=0.94), "accuracy could be as low as 0.91"),
        (Budgets(max_latency_ms=1e-6), "ms, over 1e-06"),
        (Budgets(max_size_mb=1e-6), "MB, over 1e-06"),
    ],
)
def test_each_budget_is_kept(tmp_path: Path, budgets: Budgets, reason: str) -> None:
    verdict = gate(make_project(tmp_path, wrong=12), budgets=budgets)
    assert not verdict.passed
    assert reason in verdict.reason


def test_an_equal_model_is_not_worse(tmp_path: Path) -> None:
    layout = make_project(tmp_path, wrong=12)
    other = tmp_path / "other"
    write_package(other, layout, accuracy=0.95, gain=20.0)
    verdict = gate(layout, other, margin=0.02)
    assert verdict.passed
    assert verdict.difference == 0
    assert verdict.champion_digest == read_manifest(other)[0] != verdict.digest
    assert verdict.difference_low is not None
    assert -0.02 <= verdict.difference_low < 0


def test_a_worse_model_is_refused_with_the_interval(tmp_path: Path) -> None:
    layout = make_project(tmp_path)
    better = tmp_path / "better"
    write_package(better, layout, accuracy=1.0)
    (layout.package / "labels.json").write_text('["1", "2", "0"]')
    verdict = gate(layout, better)
    assert not verdict.passed
    assert verdict.difference == -1
    assert "against version 1: worse (difference -1.0000" in verdict.reason


def test_labels_in_another_order_are_understood(tmp_path: Path) -> None:
    layout = make_project(tmp_path)
    verdict = gate(layout, turned(layout))
    assert verdict.passed
    assert verdict.difference == 1
    assert verdict.reason == "better"


@pytest.mark.parametrize(("dataset", "told"), [("d1.dir", False), ("d0.dir", True), ("", False)])
def test_a_champion_of_another_dataset_version_is_told(
    tmp_path: Path, dataset: str, told: bool
) -> None:
    layout = make_project(tmp_path, wrong=12)
    verdict = judge(
        contender(layout.package, 2, "d1.dir"),
        contender(turned(layout), 1, dataset),
        Dataset.read(layout.dataset),
        PromoteParams(),
        tmp_path / "measurements",
    )
    assert verdict.passed
    assert verdict.reason.startswith("better")
    assert ("may have seen test rows, which favours it" in verdict.reason) is told


def test_too_few_rows_to_tell_do_not_pass(tmp_path: Path) -> None:
    layout = make_project(tmp_path, wrong=12)
    other = tmp_path / "other"
    write_package(other, layout, accuracy=0.95)
    verdict = gate(layout, other, margin=0.001)
    assert not verdict.passed
    assert "not enough data to tell" in verdict.reason


def test_a_champion_with_other_inputs_cannot_be_compared(tmp_path: Path) -> None:
    layout = make_project(tmp_path)
    other = tmp_path / "other"
    write_package(other, layout, accuracy=1.0)
    schema = (other / "schema.json").read_text().replace("image", "picture")
    (other / "schema.json").write_text(schema)
    verdict = gate(layout, other)
    assert not verdict.passed
    assert "takes other inputs" in verdict.reason


def test_the_same_files_get_the_same_verdict(tmp_path: Path) -> None:
    layout = make_project(tmp_path, wrong=3)
    assert gate(layout).to_json() == gate(layout).to_json()
