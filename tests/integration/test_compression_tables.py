"""Evaluate, compress and the gate on tables of all column types, for each task."""

import re
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest

from modelyard.artifacts import Dataset, Layout, ModelVersion, read_json, write_json
from modelyard.compression.compress import compress
from modelyard.data.columns import read_split
from modelyard.errors import PackageError
from modelyard.evaluation import latency
from modelyard.evaluation.evaluate import evaluate
from modelyard.evaluation.tasks import Scoring
from modelyard.package.manifest import write_manifest
from modelyard.package.reader import PackageReader
from modelyard.package.scalars import to_tensor
from modelyard.params import (
    Budgets,
    Categories,
    CompressParams,
    EvaluateParams,
    Prepare,
    PromoteParams,
)
from modelyard.registry.flatten import flat_metrics
from modelyard.registry.gate import Contender, judge
from tests.integration.evaluated_project import TABLE_ROWS, WORDS, make_table_project

EVALUATE = EvaluateParams(bootstrap=100, folds=0)
COMPRESS = CompressParams(golden_rows=4)
EMBEDDED = Prepare(categories=Categories(encode="embedding"))
TASKS = ("classification", "multi-label", "regression")


@pytest.fixture(scope="module")
def projects(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Layout]:
    """By task a project whose stages evaluate and compress ran."""
    found = {}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(latency, "ROUNDS", 2)
        for task in TASKS:
            root = tmp_path_factory.mktemp("tables") / task
            if task == "regression":
                layout = make_table_project(root, task, EMBEDDED, ("linear", "boosting"))
                folds = [{"fold": number, "rows": 260, "score": 0.8} for number in (1, 2)]
                tree = {"folds": folds, "metric": "skill", "mean": 0.8, "low": 0.7, "high": 0.9}
                write_json(layout.metrics("cross_validate"), tree)
            else:
                layout = make_table_project(root, task)
            evaluate(layout, EVALUATE)
            compress(layout, COMPRESS, EVALUATE, root / "measurements")
            found[task] = layout
    return found


@pytest.fixture(params=TASKS)
def layout(request: pytest.FixtureRequest, projects: dict[str, Layout]) -> Layout:
    return projects[request.param]


def _answer(package: Path, feed: dict[str, np.ndarray]) -> np.ndarray:
    session: Any = onnxruntime.InferenceSession(package / "model.onnx")
    return session.run(None, feed)[0]


def test_the_shipped_file_scores_what_it_says(layout: Layout) -> None:
    dataset, split = Dataset.read(layout.dataset), read_split(Dataset.read(layout.dataset), "test")
    scores = Scoring.read(dataset).scores(_answer(layout.package, split.features), split.targets)
    compressed, trained = (read_json(layout.metrics(name)) for name in ("compress", "evaluate"))
    metric = dataset.main_metric
    assert compressed["test"][metric]["value"] == pytest.approx(scores.mean(), abs=1e-5)
    assert trained[metric]["value"] == pytest.approx(scores.mean(), abs=0.02)
    assert scores.mean() > 0.7
    assert [item["name"] for item in compressed["candidates"]] == ["fp32", "fp16", "int8"]
    for item in compressed["candidates"]:
        assert item["low"] < item["difference"] < item["high"]
    assert trained["main_metric"] == metric
    assert flat_metrics(trained, "evaluate")[f"evaluate/{metric}"] == trained[metric]["value"]


def test_golden_rows_as_requests_give_the_golden_answers(layout: Layout) -> None:
    package = PackageReader.open(layout.package)
    for request in package.golden.requests:
        feed = {
            spec.name: np.array(
                [to_tensor(spec.type, row.get(spec.name)) for row in request.rows],
                dtype=object if spec.dtype == "string" else spec.dtype,
            )
            for spec in package.schema.inputs
        }
        assert np.allclose(
            _answer(layout.package, feed), request.answers, atol=package.golden.atol / 100
        )
    assert {spec.dtype for spec in package.schema.inputs} == {"float64", "string"}
    assert all(spec.shape == (-1,) for spec in package.schema.inputs)


def test_the_schema_says_what_a_caller_needs(projects: dict[str, Layout]) -> None:
    schemas = {task: read_json(item.package / "schema.json") for task, item in projects.items()}
    inputs = {item["name"]: item for item in schemas["regression"]["inputs"]}
    assert inputs["rooms"] == {
        "name": "rooms",
        "dtype": "float64",
        "shape": [-1],
        "type": "integer",
        "minimum": 1,
    }
    assert inputs["words"]["required"] is True
    assert "age" not in inputs
    outputs = {task: schema["outputs"][0] for task, schema in schemas.items()}
    assert outputs["regression"]["name"] == "prediction"
    assert outputs["regression"]["shape"] == [-1, 1]
    assert outputs["multi-label"]["name"] == outputs["classification"]["name"] == "probabilities"
    assert schemas["multi-label"]["target"] == list(WORDS[:3])
    assert read_json(projects["regression"].package / "labels.json") == []


def test_the_cards_example_runs(layout: Layout) -> None:
    card = (layout.package / "MODEL_CARD.md").read_text()
    (code,) = re.findall(r"```python\n(.*?)```", card, flags=re.DOTALL)
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=layout.package,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    package = PackageReader.open(layout.package)
    (answer,) = package.golden.requests[0].answers
    if package.schema.task == "regression":
        assert float(done.stdout) == pytest.approx(answer[0], abs=package.golden.atol)
    elif package.schema.task == "classification":
        assert done.stdout.strip() == package.labels[int(np.argmax(answer))]
    else:
        assert done.stdout.strip() == str(
            [label for label, value in zip(package.labels, answer, strict=True) if value > 0.5]
        )
    assert "None" not in card.replace(code, "")


def test_the_report_shows_groups_baselines_and_folds(projects: dict[str, Layout]) -> None:
    for task, layout in projects.items():
        page = (layout.evaluation / "report.html").read_text()
        assert not re.findall(r'(?:src|href)="(?!data:)', page)
        assert "<h3>city</h3>" in page
        assert "<h3>age</h3>" in page
        assert ("Against simpler models" in page) == (task == "regression")
        assert ("Cross-validation" in page) == (task == "regression")
        assert ("Selection rate" in page) == (task == "classification")
        assert (layout.evaluation / "history.png").exists()
    regression = projects["regression"]
    found = read_json(regression.metrics("evaluate"))
    assert [item["name"] for item in found["baselines"]] == ["linear", "boosting"]
    assert found["cross_validation"]["mean"] == 0.8
    (city, age) = found["groups"]
    assert sum(group["rows"] for group in city["groups"]) == TABLE_ROWS["test"]
    assert {group["name"] for group in city["groups"]} >= {"Köln", "(missing)"}
    assert age["groups"][0]["name"].startswith("18 to ")
    flat = flat_metrics(found, "evaluate")
    assert "evaluate/baselines.linear.score" in flat
    assert "evaluate/groups.city.groups.Köln.score" in flat
    # Ridge regression finds the line that the prices were drawn from; the network cannot beat it.
    assert found["baselines"][0]["better"] != "network"


def test_the_stages_repeat_their_bytes(
    projects: dict[str, Layout], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    layout = projects["regression"]
    copy = Layout(tmp_path / "copy")
    shutil.copytree(layout.root, copy.root)
    for folder in (copy.package, copy.evaluation):
        shutil.rmtree(folder)
    evaluate(copy, EVALUATE)
    compress(copy, COMPRESS, EVALUATE, layout.root / "measurements")
    for name in ("models/package", "reports/evaluation", "metrics"):
        for path in (layout.root / name).iterdir():
            assert (copy.root / name / path.name).read_bytes() == path.read_bytes(), path.name


# ---- the gate


def _contender(package: Path, version: int) -> Contender:
    digest = read_json(package / "manifest.json")["digest"]
    return Contender(ModelVersion("table", version, digest, "run"), package)


def _judge(layout: Layout, champion: Path | None, **promote: Any) -> Any:
    return judge(
        _contender(layout.package, 2),
        _contender(champion, 1) if champion else None,
        Dataset.read(layout.dataset),
        PromoteParams(**promote),
        layout.root / "measurements",
    )


def test_the_gate_compares_by_the_main_metric(layout: Layout) -> None:
    dataset = Dataset.read(layout.dataset)
    first = _judge(layout, None, budgets=Budgets(min_score=0.5))
    assert first.passed
    assert first.metric == dataset.main_metric
    assert first.score_low < first.score <= 1
    value = read_json(layout.metrics("compress"))["test"][first.metric]["value"]
    assert first.score == pytest.approx(value, abs=1e-6)
    strict = _judge(layout, None, budgets=Budgets(min_score=1.0))
    assert f"{first.metric} could be as low as" in strict.reason
    same = _judge(layout, layout.package, margin=0.1)
    assert same.passed
    assert (same.difference, same.reason) == (0, "not worse by more than margin")


def test_labels_in_another_order_and_of_another_set_are_understood(
    projects: dict[str, Layout], tmp_path: Path
) -> None:
    layout = projects["multi-label"]
    other = tmp_path / "other"
    shutil.copytree(layout.package, other)
    write_json(other / "labels.json", ["old", "green", "blue"])
    write_manifest(other)
    verdict = _judge(layout, other)
    assert verdict.passed
    assert verdict.reason == "better"


def test_hints_of_values_may_differ_but_not_what_is_taken(
    projects: dict[str, Layout], tmp_path: Path
) -> None:
    layout = projects["regression"]
    other = tmp_path / "other"
    shutil.copytree(layout.package, other)
    schema = read_json(other / "schema.json")
    schema["inputs"][1] |= {"minimum": 5}
    write_json(other / "schema.json", schema)
    assert _judge(layout, other, margin=0.1).passed
    schema["inputs"][1] |= {"type": "number"}
    write_json(other / "schema.json", schema)
    assert "takes other inputs" in _judge(layout, other, margin=0.1).reason
    for item in schema["inputs"]:
        del item["type"]  # as earlier versions wrote it
    write_json(other / "schema.json", schema)
    assert _judge(layout, other, margin=0.1).passed


def test_a_package_of_other_data_is_refused(projects: dict[str, Layout]) -> None:
    dataset = Dataset.read(projects["classification"].dataset)
    stranger = _contender(projects["regression"].package, 4)
    with pytest.raises(PackageError, match="version 4 is for task regression"):
        judge(stranger, None, dataset, PromoteParams(), projects["regression"].root / "m")
    features = [item for item in dataset.features if item["name"] != "rooms"]
    thinner = replace(Dataset.read(projects["regression"].dataset), features=tuple(features))
    with pytest.raises(PackageError, match="takes 'rooms' of type integer, which the dataset here"):
        judge(stranger, None, thinner, PromoteParams(), projects["regression"].root / "m")
