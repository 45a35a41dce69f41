"""Damaged files, and servers that go away at a bad moment."""

import os
import signal
import subprocess
import time
from pathlib import Path

import psutil
import pytest
import yaml

from modelyard import services
from modelyard.settings import Settings
from tests import project

ROOT = Path(__file__).parents[2]


def says(root: Path, *words: str) -> str:
    """What a command that must fail says; no traceback, no talk of a defect."""
    done = project.modelyard(root, *words, check=False)
    assert done.returncode == 1, done.stdout
    assert "Traceback" not in done.stderr
    assert "is a defect" not in done.stderr
    return done.stderr


@pytest.mark.parametrize(
    "content", ["garbage: [", "schema: '2.0'\nstages:\n  fetch: 3\n", "[1, 2]", "stages: {}\n"]
)
def test_a_damaged_dvc_lock_is_named(small: Path, content: str) -> None:
    (small / "dvc.lock").write_text(content)
    assert "dvc.lock" in says(small, "register")
    done = project.modelyard(small, "why", check=False)
    assert done.returncode == 0 or "dvc.lock" in done.stderr
    assert "is a defect" not in done.stderr


def test_a_damaged_dvc_yaml_is_named(small: Path) -> None:
    tree = yaml.safe_load((small / "dvc.yaml").read_text())
    (small / "dvc.yaml").write_text("stages: [")
    assert "dvc.yaml" in says(small, "why")
    assert "dvc.yaml" in says(small, "stage", "fetch")
    del tree["stages"]["compress"]
    (small / "dvc.yaml").write_text(yaml.safe_dump(tree))
    assert "dvc.yaml has no stage compress" in says(small, "why")


@pytest.mark.parametrize("content", ["", '{"read": {', "null garbage"])
def test_a_lock_note_that_a_kill_cut_short_stops_nobody(small: Path, content: str) -> None:
    from modelyard.runs.reproduce import Pipeline

    (small / ".dvc/tmp").mkdir(exist_ok=True)
    (small / ".dvc/tmp/rwlock").write_text(content)
    Pipeline(small).close()
    assert "would run again" in project.modelyard(small, "why").stdout


def test_a_project_without_git_is_told_so(small: Path, tmp_path: Path) -> None:
    (small / ".git").rename(tmp_path / "git")
    assert "git repository" in says(small, "why")


def test_an_impossible_override_is_refused_before_services_start(small: Path) -> None:
    assert "train.epochs" in says(small, "run", "--set", "train.epochs=0")
    assert not (small / ".modelyard" / "services.json").exists()


def test_code_and_params_are_what_the_snapshot_names(small: Path) -> None:
    from modelyard.errors import WorkspaceError
    from modelyard.runs.reproduce import Pipeline
    from modelyard.stages import Execution

    pipeline = Pipeline(small)
    (small / "custom" / "example.py").write_text("# edited while an earlier stage runs\n")
    with pytest.raises(WorkspaceError, match="its code changed since the run began"):
        pipeline.run("train", Execution(Settings(state_dir=small / ".modelyard")))
    pipeline.close()
    pipeline = Pipeline(small)
    (small / "params.yaml").write_text((small / "params.yaml").read_text() + "\n")
    with pytest.raises(WorkspaceError, match=r"params\.yaml changed since the run began"):
        pipeline.run("fetch", Execution(Settings(state_dir=small / ".modelyard")))
    pipeline.close()


@pytest.mark.slow
@pytest.mark.server
def test_what_changed_since_dvc_repro_is_not_registered(
    small: Path, servers: dict[str, str]
) -> None:
    project.dvc(small, "repro")
    with (small / "src/modelyard/training/loop.py").open("a") as file:
        file.write("\n# changed after training\n")
    params = yaml.safe_load((small / "params.yaml").read_text())
    # A name of its own: under the usual one an earlier test may have registered this package.
    params["registry"] = {"name": "bands-stale"}
    (small / "params.yaml").write_text(yaml.safe_dump(params, sort_keys=False))
    done = project.modelyard(small, "register", check=False, **servers)
    assert done.returncode == 1
    assert "stage train is not up to date" in done.stderr
    assert "src/modelyard/training/loop.py" in done.stderr


@pytest.mark.slow
@pytest.mark.server
def test_a_source_that_moved_on_is_noticed(small: Path, servers: dict[str, str]) -> None:
    project.dvc(small, "repro", "fetch")
    with (small / "samples/bands.csv").open("a") as file:
        file.write("\n")
    assert "not the file of data.sha256" in project.modelyard(small, "why", "fetch").stdout
    done = project.modelyard(small, "run", "--no-up", check=False, **servers)
    assert done.returncode == 1
    assert "set data.sha256:" in done.stderr


@pytest.mark.slow
@pytest.mark.server
@pytest.mark.distributed
def test_prefect_killed_in_a_run(small: Path, servers: dict[str, str], tmp_path: Path) -> None:
    settings = Settings(state_dir=tmp_path / "own", prefect_port=0)
    try:
        own = services.start(settings, ROOT, names=["prefect"])
        services.wait(own.values())
        params = yaml.safe_load((small / "params.yaml").read_text())
        params["train"] |= {"epochs": 40, "early_stopping": None}
        (small / "params.yaml").write_text(yaml.safe_dump(params, sort_keys=False))
        address = servers | {"PREFECT_API_URL": f"{own['prefect'].url}/api"}
        with project.started(small, "run", "--no-up", **address) as process:
            deadline = time.monotonic() + 90
            while not list((small / ".modelyard/checkpoints").glob("*/epoch-*/manifest.json")):
                assert time.monotonic() < deadline
                time.sleep(0.05)
            services.down(settings)
            output, _ = process.communicate(timeout=120)
        assert process.returncode == 1
        assert "Prefect went away during the run" in output
        assert "Traceback" not in output
        assert "✓ compress" in output
    finally:
        services.down(settings)


@pytest.mark.slow
@pytest.mark.server
@pytest.mark.distributed
def test_ctrl_c_ends_an_isolated_run(small: Path, servers: dict[str, str]) -> None:
    words = ["--set", "train.epochs=300", "--set", "train.early_stopping=null"]
    with project.started(small, "run", "--no-up", *words, **servers) as process:
        deadline = time.monotonic() + 90
        while not list((small / ".modelyard/checkpoints").glob("*/epoch-*/manifest.json")):
            assert time.monotonic() < deadline
            time.sleep(0.05)
        family = psutil.Process(process.pid).children(recursive=True)
        os.kill(process.pid, signal.SIGINT)
        output, _ = process.communicate(timeout=90)
    assert process.returncode == 130, output
    assert "interrupted" in output
    assert "Traceback" not in output
    _, alive = psutil.wait_procs(family, timeout=15)
    assert not alive
    assert not list((small / ".modelyard/worktrees").iterdir())
    refs = ["git", "for-each-ref", "refs/heads/runs"]
    done = subprocess.run(refs, cwd=small, check=True, capture_output=True, text=True)
    assert done.stdout == ""
