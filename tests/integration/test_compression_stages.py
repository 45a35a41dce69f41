"""The stages evaluate and compress on a small project: twice the same, whole or absent."""

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pyarrow.parquet as pq
import pytest
import torch

from modelyard.artifacts import Layout, ModelPackage, read_json, write_json
from modelyard.compression import compress as compress_stage
from modelyard.compression.compress import compress
from modelyard.compression.export import export_program, to_onnx
from modelyard.errors import ModelyardError, WorkspaceError
from modelyard.evaluation import latency
from modelyard.evaluation.evaluate import evaluate
from modelyard.models import archive, build
from modelyard.package.manifest import verify_manifest
from modelyard.package.reader import PackageReader
from modelyard.params import CompressParams, EvaluateParams, ModelParams
from tests.integration.evaluated_project import (
    IMAGE_LABELS,
    IMAGE_ROWS,
    SIZE,
    drawn_images,
    make_image_project,
)

ARGS = {"channels": [8, 8], "hidden": 32}
EVALUATE = EvaluateParams(bootstrap=200, folds=0)
COMPRESS = CompressParams(calibration_rows=32, golden_rows=3)

AGAIN = """
import sys
from pathlib import Path
from modelyard.artifacts import Layout
from modelyard.compression.compress import compress
from modelyard.evaluation.evaluate import evaluate
from modelyard.params import CompressParams, EvaluateParams
layout, parameters = Layout(Path(sys.argv[1])), EvaluateParams(bootstrap=200, folds=0)
evaluate(layout, parameters)
compress(layout, CompressParams(calibration_rows=32, golden_rows=3), parameters, Path(sys.argv[2]))
"""


def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(latency, "ROUNDS", 3)


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project whose stages evaluate and compress ran, with its measurements beside it."""
    root = tmp_path_factory.mktemp("first") / "project"
    make_image_project(root, ARGS)
    with pytest.MonkeyPatch.context() as patch:
        _quick(patch)
        evaluate(Layout(root), EVALUATE)
        package = compress(Layout(root), COMPRESS, EVALUATE, root.parent / "measurements")
    assert package == ModelPackage(Layout(root).package, verify_manifest(Layout(root).package))
    return root


def _inputs(project: Path, root: Path) -> Path:
    """A copy of what the two stages read, in another folder."""
    for name in ("data", "models/trained"):
        shutil.copytree(project / name, root / name)
    for stage in ("baselines", "cross_validate"):
        write_json(Layout(root).metrics(stage), read_json(Layout(project).metrics(stage)))
    return root


def _outputs(root: Path) -> dict[str, bytes]:
    folders = ("models/package", "reports", "metrics")
    files = (file for folder in folders for file in (root / folder).rglob("*"))
    return {str(file.relative_to(root)): file.read_bytes() for file in files if file.is_file()}


def test_another_process_in_another_folder_makes_the_same_bytes(
    project: Path, tmp_path: Path
) -> None:
    root = _inputs(project, tmp_path / "elsewhere")
    measurements = project.parent / "measurements"
    kept = {file: file.read_bytes() for file in measurements.rglob("*.json")}
    command = [sys.executable, "-c", AGAIN, str(root), str(measurements)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert _outputs(root) == _outputs(project)
    assert {file: file.read_bytes() for file in measurements.rglob("*.json")} == kept
    assert sorted(path.name for path in tmp_path.iterdir()) == ["elsewhere"]


def test_outputs_name_no_place(project: Path) -> None:
    traces = [str(project.parent), str(Path(compress_stage.__file__).parent), sys.prefix]
    for name, content in _outputs(project).items():
        assert not [trace for trace in traces if trace.encode() in content], name


def test_evaluation_is_of_the_test_split(project: Path) -> None:
    layout = Layout(project)
    metrics = read_json(layout.metrics("evaluate"))
    table = pq.read_table(layout.evaluation / "predictions.parquet").to_pydict()
    assert table["row"] == list(range(7, 7 + IMAGE_ROWS["test"]))
    assert table["target"] == drawn_images("test")[1].tolist()
    correct = np.argmax(table["probabilities"], axis=1) == table["target"]
    assert metrics["accuracy"]["value"] == pytest.approx(correct.mean(), abs=1e-6)
    assert metrics["accuracy"]["low"] < metrics["accuracy"]["value"] <= 1
    assert metrics["rows"] == IMAGE_ROWS["test"]
    page = (layout.evaluation / "report.html").read_text()
    assert page.count("data:image/png;base64,") == 3
    assert not re.findall(r'(?:src|href)="(?!data:)', page)
    for picture in ("confusion_matrix", "reliability", "history"):
        assert (layout.evaluation / f"{picture}.png").read_bytes().startswith(b"\x89PNG")


def test_the_package_serves_what_it_says(project: Path) -> None:
    package = PackageReader.open(Layout(project).package)
    compressed = read_json(Layout(project).metrics("compress"))
    assert package.labels == IMAGE_LABELS
    (image,) = package.schema.inputs
    assert (image.name, image.dtype, image.shape) == ("image", "uint8", (-1, SIZE, SIZE))
    assert package.schema.target == "position"
    session: Any = onnxruntime.InferenceSession(package.model)
    images, targets = drawn_images("test")
    answers = session.run(["probabilities"], {"image": images})[0]
    assert answers.dtype == np.float32
    accuracy = (answers.argmax(axis=1) == targets).mean()
    assert compressed["test"]["accuracy"]["value"] == pytest.approx(accuracy, abs=1e-6)
    assert len(package.golden.requests) == COMPRESS.golden_rows
    validation = drawn_images("validation")[0].tolist()
    for request in package.golden.requests:
        given = [row["image"] for row in request.rows]
        assert given[0] in validation
        answers = session.run(None, {"image": np.array(given, np.uint8)})[0]
        assert np.allclose(answers, request.answers, atol=package.golden.atol)
    network = archive.read(package.folder / archive.ARCHIVE)
    assert network(torch.zeros(3, 1, SIZE, SIZE)).shape == (3, 3)
    evaluation = package.evaluation
    assert evaluation["trained"] == read_json(Layout(project).metrics("evaluate"))
    assert evaluation["shipped"] == compressed["test"]
    assert evaluation["chosen"] == compressed["chosen"]


def test_candidates_are_judged_without_latencies(project: Path) -> None:
    compressed = read_json(Layout(project).metrics("compress"))
    names = [candidate["name"] for candidate in compressed["candidates"]]
    assert names == ["fp32", "fp16", "int8", "int8-dense"]
    for candidate in compressed["candidates"]:
        assert candidate["low"] < candidate["difference"] < candidate["high"]
        assert candidate["within_budget"] == (candidate["difference"] >= -COMPRESS.max_drop)
    assert compressed["chosen"] in names
    assert compressed["candidates"][0]["difference"] == 0
    assert not [name for name in _outputs(project) if b"_ms" in _outputs(project)[name]]
    reference = Layout(project).package / "reference.onnx"
    assert reference.stat().st_size == compressed["candidates"][0]["size_bytes"]
    digest = read_json(Layout(project).package / "manifest.json")["files"]["reference.onnx"]
    measured = latency.read_measurement(project.parent / "measurements", digest["sha256"])
    assert measured is not None


def test_the_cards_example_runs(project: Path) -> None:
    folder = Layout(project).package
    card = (folder / "MODEL_CARD.md").read_text()
    (code,) = re.findall(r"```python\n(.*?)```", card, flags=re.DOTALL)
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=folder, capture_output=True, text=True, check=True
    )
    example = np.array(
        [row["image"] for row in json.loads((folder / "input_example.json").read_text())["rows"]]
    )
    session: Any = onnxruntime.InferenceSession(folder / "model.onnx")
    answer = session.run(None, {"image": example.astype(np.uint8)})[0]
    assert done.stdout.strip() == IMAGE_LABELS[int(answer.argmax())]
    for fact in ("CC0-1.0", "ab" * 32, "ef" * 32, "240", "(ships)", "expected calibration error"):
        assert fact in card, fact


def test_without_an_evaluation_there_is_a_clear_error(project: Path, tmp_path: Path) -> None:
    root = _inputs(project, tmp_path / "project")
    with pytest.raises(WorkspaceError, match=r"evaluate\.json"):
        compress(Layout(root), COMPRESS, EVALUATE, project.parent / "measurements")
    assert not Layout(root).package.exists()


def _other_network(_module: torch.nn.Module, shape: tuple[int, ...]) -> Any:
    torch.manual_seed(99)
    other = build(ModelParams(factory="cnn", args=ARGS), shape, 3, Path.cwd())
    return export_program(other.eval(), shape)


def _other_graph(_program: Any, name: str) -> Any:
    return to_onnx(_other_network(torch.nn.Identity(), (1, SIZE, SIZE)), name)


def _broken(*_: object) -> None:
    raise ModelyardError("cannot be exported", "change it")


@pytest.mark.parametrize(
    ("step", "replacement", "problem"),
    [
        ("export_program", _other_network, "differ from the trained one's"),
        ("to_onnx", _other_graph, "differ from the trained one's"),
        ("to_onnx", _broken, "cannot be exported"),
    ],
)
def test_a_failed_export_leaves_the_old_package(
    project: Path,
    monkeypatch: pytest.MonkeyPatch,
    step: str,
    replacement: Callable[..., Any],
    problem: str,
) -> None:
    before = _outputs(project)
    monkeypatch.setattr(compress_stage, step, replacement)
    with pytest.raises(ModelyardError, match=problem):
        compress(Layout(project), COMPRESS, EVALUATE, project.parent / "measurements")
    assert _outputs(project) == before
    assert sorted(path.name for path in (project / "models").iterdir()) == ["package", "trained"]
