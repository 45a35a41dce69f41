"""Both ways to run the stages leave the same; what changed runs again, and nothing else does."""

import json
import shutil
import time
import urllib.request
from pathlib import Path

import pytest
import yaml

from modelyard.mlflow_api import MlflowApi
from modelyard.runs.why import forecast
from tests import project

pytestmark = [pytest.mark.slow, pytest.mark.server, pytest.mark.distributed]

STAGES = ["fetch", "ingest", "train", "cross_validate", "baselines", "evaluate", "compress"]


def outcomes(output: str) -> dict[str, str]:
    """Step -> mark of each line that a run printed."""
    marks = {"✓": "executed", "↺": "restored", "=": "unchanged", "!": "skipped", "✗": "failed"}
    lines = [line.split() for line in output.splitlines() if line[:1] in marks]
    return {words[1]: marks[words[0]] for words in lines}


def digest(root: Path) -> str:
    return json.loads((root / "models/package/manifest.json").read_text())["digest"]


def stale(root: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The stages that would run again."""
    monkeypatch.chdir(root)
    return [item.stage for item in forecast(root) if item.reasons]


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory, servers: dict[str, str]) -> tuple[Path, str]:
    """A clone whose pipeline a flow has run to its end, and what that printed."""
    from tests.conftest import copy_project

    root = copy_project(tmp_path_factory.mktemp("finished") / "clone")
    # A name of its own: other tests of the session register the same package.
    project.shrink(root, registry__name="bands-flow")
    done = project.modelyard(root, "run", "--no-up", **servers)
    return root, done.stdout


@pytest.fixture
def copy(finished: tuple[Path, str], tmp_path: Path) -> Path:
    """A copy of the finished clone, to change at will."""
    target = tmp_path / "copy"
    shutil.copytree(finished[0], target, symlinks=True)
    return target


def test_a_flow_runs_every_stage_and_registers(finished: tuple[Path, str]) -> None:
    root, printed = finished
    assert outcomes(printed) == dict.fromkeys([*STAGES, "push", "register"], "executed") | {
        "promote": "skipped"
    }
    assert "bands-flow version 1" in printed
    assert (root / "reports/data.html").exists()


def post(url: str, body: dict) -> list[dict]:
    request = urllib.request.Request(
        url, json.dumps(body).encode(), {"content-type": "application/json"}
    )
    with urllib.request.urlopen(request) as answer:
        return json.load(answer)


def test_the_prefect_run_and_the_mlflow_run_link_to_each_other(
    finished: tuple[Path, str], servers: dict[str, str]
) -> None:
    prefect, mlflow = servers["PREFECT_API_URL"], servers["MLFLOW_TRACKING_URI"]
    summaries = post(f"{prefect}/artifacts/filter", {"artifacts": {"key": {"any_": ["summary"]}}})
    link = f"{mlflow}/#/models/bands-flow/versions/1"
    artifact = next(item for item in summaries if link in item["data"])
    assert "test accuracy, shipped" in artifact["data"]
    with MlflowApi(mlflow) as api:
        version = api.get_version("bands-flow", 1)
        assert version is not None
        run = api.get_run(version.run_id)
    assert run is not None
    assert f"{mlflow}/#/experiments/{run.experiment_id}/runs/{run.run_id}" in artifact["data"]
    assert any(artifact["flow_run_id"] in value for value in run.tags.values())
    dataset = yaml.safe_load((finished[0] / "dvc.lock").read_text())["stages"]["ingest"]["outs"]
    md5 = next(out["md5"] for out in dataset if out["path"] == "data/dataset")
    assert any(md5.removesuffix(".dir").startswith(item["digest"][:8]) for item in run.datasets)


def test_after_a_run_dvc_has_nothing_to_do(finished: tuple[Path, str]) -> None:
    root, _ = finished
    assert project.dvc(root, "status").stdout.strip() == "Data and pipelines are up to date."
    before = (root / "dvc.lock").read_bytes()
    assert project.dvc(root, "repro").stdout.count("didn't change, skipping") == len(STAGES)
    assert (root / "dvc.lock").read_bytes() == before


def test_a_second_run_executes_no_stage(
    finished: tuple[Path, str], servers: dict[str, str]
) -> None:
    root, _ = finished
    printed = project.modelyard(root, "run", "--no-up", **servers).stdout
    assert outcomes(printed) == dict.fromkeys([*STAGES, "push", "register"], "unchanged") | {
        "promote": "skipped"
    }


def test_dvc_repro_in_another_clone_gives_the_same_and_is_registered_later(
    finished: tuple[Path, str], tmp_path: Path, servers: dict[str, str]
) -> None:
    from tests.conftest import copy_project

    other = copy_project(tmp_path / "other")
    project.shrink(other)
    project.dvc(other, "repro")
    assert (other / "dvc.lock").read_text() == (finished[0] / "dvc.lock").read_text()
    assert digest(other) == digest(finished[0])
    away = project.modelyard(other, "register", check=False)
    assert away.returncode == 1
    assert "no MLflow server is known" in away.stderr
    params = yaml.safe_load((other / "params.yaml").read_text())
    # Under a name of its own, so that it is a new version and not the one that the flow registered.
    (other / "params.yaml").write_text(
        yaml.safe_dump(params | {"registry": {"name": "bands-later"}}, sort_keys=False)
    )
    printed = project.modelyard(other, "register", **servers).stdout
    assert f"bands-later version 1 registered, digest {digest(finished[0])[:12]}" in printed


def test_one_param_reruns_what_depends_on_it(copy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert stale(copy, monkeypatch) == []
    edit_params(copy, "evaluate", {"bootstrap": 101, "folds": 0})
    assert stale(copy, monkeypatch) == ["baselines", "evaluate", "compress"]
    edit_params(copy, "registry", {"name": "other"})
    assert stale(copy, monkeypatch) == ["baselines", "evaluate", "compress"]
    edit_params(copy, "train", {"seed": 1})
    assert stale(copy, monkeypatch) == STAGES[2:]


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("src/modelyard/data/fetch.py", STAGES),
        ("src/modelyard/data/suite.py", STAGES[1:]),
        ("src/modelyard/training/loop.py", ["train", "cross_validate", "evaluate", "compress"]),
        ("src/modelyard/compression/select.py", ["compress"]),
        ("src/modelyard/serving/app.py", []),
        ("src/modelyard/registry/gate.py", []),
        ("flows/pipeline.py", []),
        ("custom/example.py", STAGES[1:]),
        ("requirements.lock", STAGES),
        ("data/raw/bands.csv", STAGES),
    ],
)
def test_one_file_reruns_what_depends_on_it(
    copy: Path, monkeypatch: pytest.MonkeyPatch, path: str, expected: list[str]
) -> None:
    with (copy / path).open("a") as file:
        file.write("\n# changed\n")
    assert stale(copy, monkeypatch) == expected


def test_a_changed_comment_in_code_reruns_its_stage_and_no_later_one(
    copy: Path, servers: dict[str, str]
) -> None:
    with (copy / "src/modelyard/evaluation/pictures.py").open("a") as file:
        file.write("\n# A comment changes the code's hash, but not what it does.\n")
    done = outcomes(project.modelyard(copy, "run", "--no-up", **servers).stdout)
    expected = dict.fromkeys(STAGES, "unchanged") | {"evaluate": "executed"}
    assert {name: done[name] for name in STAGES} == expected


def test_why_names_the_cause(copy: Path) -> None:
    edit_params(copy, "compress", {"max_drop": 0.5})
    printed = project.modelyard(copy, "why").stdout
    assert "train      would be skipped: nothing changed" in printed
    assert "compress   would run again:" in printed
    assert "param       compress" in printed
    with (copy / "src/modelyard/training/loop.py").open("a") as file:
        file.write("\n# changed\n")
    printed = project.modelyard(copy, "why", "train").stdout
    assert "src/modelyard/training/loop.py: modified" in printed
    assert "compress" not in printed


def test_code_that_changes_while_its_stage_runs_is_not_recorded(
    copy: Path, servers: dict[str, str]
) -> None:
    edit_params(copy, "train", {"seed": 2})
    with project.started(copy, "run", "--no-up", **servers) as process:
        checkpoints = copy / ".modelyard" / "checkpoints"
        before = set(checkpoints.glob("*"))
        deadline = time.monotonic() + 60
        while set(checkpoints.glob("*")) == before and time.monotonic() < deadline:
            time.sleep(0.02)
        with (copy / "src/modelyard/training/loop.py").open("a") as file:
            file.write("\n# changed while training\n")
        output, _ = process.communicate(timeout=120)
    assert process.returncode == 1
    assert "src/modelyard/training/loop.py changed while it ran" in output
    assert "seed: 2" not in (copy / "dvc.lock").read_text()
    assert any(item.stage == "train" and item.reasons for item in forecast(copy))


def edit_params(root: Path, section: str, values: dict) -> None:
    path = root / "params.yaml"
    tree = yaml.safe_load(path.read_text())
    tree[section] |= values
    path.write_text(yaml.safe_dump(tree, sort_keys=False))
