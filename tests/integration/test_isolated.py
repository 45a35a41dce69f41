"""Isolated runs: beside each other and beside a run in place, the user's git state untouched."""

import json
import shutil
import signal
import subprocess
import time
from pathlib import Path

import psutil
import pytest
import yaml

from tests import project

pytestmark = [pytest.mark.slow, pytest.mark.server, pytest.mark.distributed]


def git(root: Path, *words: str) -> str:
    done = subprocess.run(["git", *words], cwd=root, check=True, capture_output=True, text=True)
    return done.stdout.strip()


def user_state(root: Path) -> tuple[str, ...]:
    return (
        # What the run in place leaves is its result, not a disturbance.
        git(root, "status", "--porcelain", "--", ".", ":!dvc.lock", ":!metrics"),
        git(root, "rev-parse", "HEAD"),
        git(root, "symbolic-ref", "HEAD"),
        git(root, "diff", "--cached"),
        (root / "params.yaml").read_text(),
        (root / "untracked.txt").read_text(),
        (root / "README.md").read_text(),
    )


def branches(root: Path) -> list[str]:
    return git(root, "for-each-ref", "--format=%(refname:short)", "refs/heads/runs").split()


def test_two_isolated_runs_beside_one_in_place(small: Path, servers: dict[str, str]) -> None:
    (small / "untracked.txt").write_text("mine")
    (small / "README.md").write_text("edited, not staged")
    (small / "staged.txt").write_text("staged")
    git(small, "add", "staged.txt")
    before = user_state(small)
    sets = (["--set", "train.seed=1"], ["--set", "train.seed=2", "--set", "registry.name=other"])
    with (
        project.started(small, "run", "--no-up", **servers) as in_place,
        project.started(small, "run", "--no-up", *sets[0], **servers) as first,
        project.started(small, "run", "--no-up", *sets[1], **servers) as second,
    ):
        outputs = [process.communicate(timeout=300)[0] for process in (in_place, first, second)]
    assert [process.returncode for process in (in_place, first, second)] == [0, 0, 0], outputs
    assert user_state(small) == before
    assert len(branches(small)) == 2
    seeds = {}
    for branch in branches(small):
        params = yaml.safe_load(git(small, "show", f"{branch}:params.yaml"))
        seeds[params["train"]["seed"]] = params["registry"]["name"]
        assert "compress" in yaml.safe_load(git(small, "show", f"{branch}:dvc.lock"))["stages"]
        assert "accuracy" in json.loads(git(small, "show", f"{branch}:metrics/evaluate.json"))
        assert git(small, "show", f"{branch}:untracked.txt") == "mine", "the snapshot has it all"
    assert seeds == {1: "bands", 2: "other"}
    assert not list((small / ".modelyard/worktrees").iterdir())
    assert git(small, "worktree", "list").count("\n") == 0
    assert project.dvc(small, "status").stdout.strip() == "Data and pipelines are up to date."
    # Ingest ran in one of the three; a further run finds what it needs in the shared cache.
    printed = project.modelyard(small, "run", "--no-up", "--set", "train.seed=1", **servers).stdout
    assert all(
        f"= {stage}" in printed or f"↺ {stage}" in printed
        for stage in ("ingest", "train", "compress")
    )


def test_a_recipe_takes_the_place_of_params(small: Path, servers: dict[str, str]) -> None:
    recipe = small / "recipes" / "tiny.yaml"
    recipe.parent.mkdir(exist_ok=True)
    tree = yaml.safe_load((small / "params.yaml").read_text())
    tree["model"] = {"factory": "mlp", "args": {}}
    recipe.write_text("# a comment that stays\n" + yaml.safe_dump(tree, sort_keys=False))
    project.modelyard(small, "run", "--no-up", "--recipe", "recipes/tiny.yaml", **servers)
    (branch,) = branches(small)
    assert "# a comment that stays" in git(small, "show", f"{branch}:params.yaml")
    assert "factory: mlp" in git(small, "show", f"{branch}:params.yaml")
    assert "factory: cnn" in (small / "params.yaml").read_text()


def test_an_impossible_override_starts_nothing(small: Path) -> None:
    done = project.modelyard(small, "run", "--no-up", "--set", "train.epochs=0", check=False)
    assert done.returncode == 1
    assert "train.epochs: 0 is out of range" in done.stderr
    assert not (small / ".modelyard/worktrees").exists()
    assert git(small, "for-each-ref", "refs/modelyard") == ""


def test_the_janitor_removes_what_a_kill_left(small: Path, servers: dict[str, str]) -> None:
    with project.started(small, "run", "--no-up", "--isolated", **servers) as process:
        deadline = time.monotonic() + 60
        while not list((small / ".modelyard/worktrees").glob("*/data/dataset")):
            assert time.monotonic() < deadline
            time.sleep(0.05)
        family = psutil.Process(process.pid).children(recursive=True)
        for child in family:
            child.kill()
        process.send_signal(signal.SIGKILL)
        process.wait()
    (worktree,) = (path for path in (small / ".modelyard/worktrees").iterdir() if path.is_dir())
    shutil.rmtree(worktree / "src")  # even a damaged one
    project.modelyard(small, "run", "--no-up", **servers)
    assert not list((small / ".modelyard/worktrees").iterdir())
    assert git(small, "worktree", "list").count("\n") == 0
