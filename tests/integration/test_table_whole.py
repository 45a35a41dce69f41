"""A CSV file through every stage to a package that the gate passes, by YAML alone."""

import csv
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import yaml

from modelyard.artifacts import Dataset, Layout, ModelVersion, read_json, sha256_file
from modelyard.compression.compress import compress
from modelyard.data.columns import read_split
from modelyard.data.ingest import ingest
from modelyard.evaluation import latency
from modelyard.evaluation.baselines import baselines
from modelyard.evaluation.evaluate import evaluate
from modelyard.params import parse
from modelyard.registry.gate import Contender, judge
from modelyard.training import TrainContext, train
from modelyard.training.cross_validate import cross_validate

pytestmark = [pytest.mark.slow, pytest.mark.distributed]

ROWS = 700
PARAMS = """
data:
  kind: tabular
  source: loans.csv
  sha256: null
  dialect: {delimiter: ";"}
  schema:
    missingValues: ["", "?"]
    fields:
      - {name: customer, type: string, use: false, pii: true, sensitive: true}
      - {name: age, type: integer, sensitive: true, constraints: {minimum: 18, maximum: 100}}
      - {name: sex, type: category, use: false, sensitive: true, constraints: {enum: [f, m]}}
      - {name: income, type: number, constraints: {required: true}}
      - {name: job, type: category}
      - {name: opened, type: date, format: "%d.%m.%Y"}
      - {name: status, type: category, constraints: {required: true, enum: [bad, good]}}
    rest: refuse
  target: status
  split: {type: stratify, column: status, probabilities: [0.6, 0.2, 0.2]}
model: {factory: mlp, args: {hidden: [16]}}
train:
  {workers: 1, epochs: 8, batch_size: 64, optimizer: {lr: 0.01}, loss: {class_weights: balanced}}
evaluate: {folds: 0, bootstrap: 100, baselines: [linear, boosting]}
compress: {golden_rows: 3}
registry: {name: loans}
promote: {margin: 0.2, budgets: {min_score: 0.6}}
"""


def _write_csv(path: Path) -> None:
    """Income and job decide, with noise; some values are missing."""
    generator = np.random.default_rng(0)
    path.parent.mkdir(parents=True)
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, delimiter=";")
        writer.writerow(["customer", "age", "sex", "income", "job", "opened", "status"])
        for number in range(ROWS):
            income, job = generator.gamma(4, 800), generator.choice(["cook", "clerk", "judge", "?"])
            score = income / 3200 + {"judge": 1.0, "cook": -0.6}.get(job, 0) - 1
            writer.writerow(
                [
                    f"Person Nr {number}",
                    generator.integers(18, 80) if number % 11 else "",
                    generator.choice(["f", "m"]),
                    f"{income:.2f}",
                    job,
                    f"{number % 28 + 1:02}.03.20{number % 20 + 5:02}",
                    "good" if score + generator.normal() * 0.2 > 0 else "bad",
                ]
            )


def test_a_table_becomes_a_package_that_passes_the_gate(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(latency, "ROUNDS", 2)
    monkeypatch.chdir(tmp_path)
    layout, params = Layout(tmp_path), parse(yaml.safe_load(PARAMS))
    _write_csv(layout.raw / "loans.csv")
    ingest(layout, params.data, tmp_path / "state")
    train(layout, params.model, params.train, TrainContext(tmp_path / "checkpoints"))
    cross_validate(layout, params.model, params.train, 0, tmp_path / "folds")
    baselines(layout, params.evaluate)
    found = evaluate(layout, params.evaluate).metrics
    package = compress(layout, params.compress, params.evaluate, tmp_path / "measurements")
    assert found["accuracy"]["value"] > 0.7
    assert {"pr_auc", "brier"} < found.keys()
    assert [item["name"] for item in found["baselines"]] == ["linear", "boosting"]
    assert [table["name"] for table in found["groups"]] == ["age", "sex"]
    assert {group["name"] for group in found["groups"][1]["groups"]} == {"f", "m"}
    assert found["groups"][1]["positive"] == "good"
    page = (layout.evaluation / "report.html").read_text()
    shipped = [path for path in package.path.iterdir() if path.suffix in (".json", ".md")]
    for text in (page, *(path.read_text() for path in shipped)):
        assert "Person" not in text
    inputs = {item["name"]: item for item in read_json(package.path / "schema.json")["inputs"]}
    assert list(inputs) == ["age", "income", "job", "opened"]
    assert (inputs["age"]["minimum"], inputs["age"]["maximum"]) == (18, 100)
    assert inputs["income"]["required"] is True
    dataset = Dataset.read(layout.dataset)
    version = ModelVersion("loans", 1, package.digest, "run")
    verdict = judge(
        Contender(version, package.path), None, dataset, params.promote, tmp_path / "measurements"
    )
    assert verdict.passed
    test = read_split(dataset, "test")
    session = onnxruntime.InferenceSession(package.path / "model.onnx")
    answers = np.asarray(session.run(None, test.features)[0])
    assert verdict.score == pytest.approx((answers.argmax(axis=1) == test.targets).mean())
    assert dataset.labels == ("bad", "good")
    assert sha256_file(package.path / "preprocessing.json") == sha256_file(
        layout.dataset / "preprocessing.json"
    )
