"""Dataset versions of a small project: listed, compared, brought back, and learned from again."""

import json
import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
import yaml
from typer.testing import CliRunner

from modelyard.cli.data import app as commands
from modelyard.errors import WorkspaceError
from modelyard.runs.describe import describe, difference
from modelyard.runs.restore import checkout
from modelyard.runs.versions import DatasetVersion, all_versions, find
from tests import project
from tests.conftest import copy_project

pytestmark = [pytest.mark.slow, pytest.mark.server]


def edit(root: Path, **changes: object) -> None:
    params = yaml.safe_load((root / "params.yaml").read_text())
    params["data"] |= changes
    (root / "params.yaml").write_text(yaml.safe_dump(params, sort_keys=False))


@pytest.fixture(scope="module")
def history(tmp_path_factory: pytest.TempPathFactory, repeated: Path) -> Path:
    """A clone with two versions in its history: the bands, then brighter ones with a bad row."""
    root = copy_project(tmp_path_factory.mktemp("history") / "clone")
    project.shrink(root, registry__name="versions")
    shutil.copytree(repeated / ".dvc/cache", root / ".dvc/cache", dirs_exist_ok=True)
    project.dvc(root, "repro", "ingest")
    project.commit(root, "the first version")
    table = project.drawn_table(600, seed=1)
    table[:, :-1] = np.minimum(table[:, :-1] + 90, 255)
    table[0, -1] = 99
    edit(root, sha256=project.write_source(root, table), license="CC-BY-4.0")
    project.dvc(root, "repro", "ingest")
    project.commit(root, "the second version")
    return root


@pytest.fixture
def clone(history: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of it, to change at will."""
    root = tmp_path / "clone"
    shutil.copytree(history, root, symlinks=True)
    monkeypatch.chdir(root)
    return root


def versions(root: Path) -> list[DatasetVersion]:
    found = all_versions(root)
    assert len(found) == 2
    return found


def current(root: Path) -> str:
    lock = yaml.safe_load((root / "dvc.lock").read_text())
    return next(
        out["md5"] for out in lock["stages"]["ingest"]["outs"] if out["path"] == "data/dataset"
    )


def test_versions_are_found_and_described(history: Path) -> None:
    first, second = versions(history)
    assert second.md5 == current(history)
    assert first.commit is not None
    assert (first.contract["license"], second.contract["license"]) == ("CC0-1.0", "CC-BY-4.0")
    assert find([first, second], first.short) is first
    with pytest.raises(WorkspaceError, match="there is no dataset version") as caught:
        find([first, second], "0" + first.md5[:6])
    assert first.short in caught.value.remedy
    with pytest.raises(WorkspaceError, match="there is no dataset version"):
        find([first, second], "")
    about = describe(history, second)
    assert sum(about.rows.values()) == 599
    assert about.num_rejected == 1
    assert [(reason.split(":")[0], num) for reason, num in about.rejected] == [("label", 1)]
    assert [name for name, _ in about.classes] == ["0", "1", "2"]
    assert np.sum([counts for _, counts in about.classes]) == 599
    assert [(item.name, item.type, item.missing) for item in about.columns] == [
        ("image", "image", 0.0)
    ]


def test_two_versions_are_compared(history: Path) -> None:
    first, second = versions(history)
    result = difference(history, first, second)
    assert result.rows["rejected"] == (0, 1)
    assert sum(now - before for before, now in result.rows.values()) == 599 - 450 + 1
    assert result.schema == ()
    assert [line.partition(":")[0] for line in result.contract] == ["license", "sha256"]
    assert {item.column: item.verdict for item in result.drift} == {
        "image (brightness)": "large",
        "target": "stable",
    }
    same = difference(history, first, first)
    assert {item.verdict for item in same.drift} == {"stable"}
    assert (same.contract, same.schema) == ((), ())


def test_a_version_comes_back_whole(clone: Path) -> None:
    first, second = versions(clone)
    metrics = (clone / "metrics/ingest.json").read_bytes()
    assert checkout(clone, first) == []
    assert current(clone) == first.md5
    assert json.loads((clone / "data/dataset/dataset.json").read_text())["num_rejected"] == 0
    assert len((clone / "data/raw/bands.csv").read_text().splitlines()) == 450
    assert yaml.safe_load((clone / "params.yaml").read_text())["data"] == first.contract
    assert (clone / "metrics/ingest.json").read_bytes() != metrics
    assert "up to date" in project.dvc(clone, "status", "fetch", "ingest").stdout
    project.commit(clone, "back to the first")
    assert checkout(clone, second) == []
    assert (clone / "metrics/ingest.json").read_bytes() == metrics
    assert "up to date" in project.dvc(clone, "status", "fetch", "ingest").stdout


def test_a_version_that_nobody_committed_is_not_forgotten(clone: Path) -> None:
    first, second = versions(clone)
    git = ["git", "-c", "user.name=test", "-c", "user.email=test@localhost"]
    for words in (["reset", "-q", "HEAD~1"], ["commit", "-qm", "contract", "params.yaml"]):
        subprocess.run([*git, *words], cwd=clone, check=True)
    assert [item.commit is None for item in versions(clone)] == [False, True]
    checkout(clone, first)
    assert versions(clone)[1].md5 == second.md5
    subprocess.run([*git, "commit", "-qam", "the first again"], cwd=clone, check=True)
    checkout(clone, versions(clone)[1])
    assert current(clone) == second.md5


def test_code_that_changed_since_is_named(clone: Path) -> None:
    with (clone / "src/modelyard/data/splits.py").open("a") as file:
        file.write("\n# changed\n")
    assert checkout(clone, versions(clone)[0]) == ["src/modelyard/data/splits.py"]


def test_local_changes_are_not_lost(clone: Path) -> None:
    first, _ = versions(clone)
    before = subprocess.run(
        ["git", "status", "--porcelain"], cwd=clone, capture_output=True, check=True
    ).stdout
    added = clone / "data/raw/mine.csv"
    added.write_text("1,2,3\n")
    with pytest.raises(WorkspaceError, match=r"data/raw differs from what dvc\.lock names"):
        checkout(clone, first)
    assert added.exists()
    added.unlink()
    edit(clone, max_rejected=0.5)
    with pytest.raises(WorkspaceError, match="changes that are not committed") as caught:
        checkout(clone, first)
    assert f"modelyard run --data {first.short}" in caught.value.remedy
    assert yaml.safe_load((clone / "params.yaml").read_text())["data"]["max_rejected"] == 0.5
    subprocess.run(["git", "checkout", "-q", "params.yaml"], cwd=clone, check=True)
    md5 = first.md5.removesuffix(".dir")
    (clone / ".dvc/cache/files/md5" / md5[:2] / f"{md5[2:]}.dir").unlink()
    with pytest.raises(WorkspaceError, match="is not in DVC's cache"):
        checkout(clone, first)
    after = subprocess.run(
        ["git", "status", "--porcelain"], cwd=clone, capture_output=True, check=True
    ).stdout
    assert after == before


def test_the_command_line_lists_shows_and_brings_back(
    clone: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    first, second = versions(clone)

    def says(*words: str) -> str:
        done = CliRunner().invoke(commands, words, catch_exceptions=False)
        assert done.exit_code == 0, done.output
        return done.output

    listed = says("list")
    assert first.short in listed
    assert "samples/bands.csv" in listed
    assert "models unknown: no MLflow server is known" in listed
    assert "label: " in says("show", second.short[:6])
    compared = says("diff", first.short, second.short)
    assert "license: CC0-1.0 → CC-BY-4.0" in compared
    assert "1 large; 1 stable" in compared
    printed = says("checkout", first.short)
    assert f"dataset version {first.short} is in data/raw and data/dataset" in printed


@pytest.mark.distributed
def test_a_run_learns_from_an_older_version(clone: Path, servers: dict[str, str]) -> None:
    first, second = versions(clone)
    edit(clone, sha256=None)
    with (clone / "src/modelyard/data/splits.py").open("a") as file:
        file.write("\n# changed since\n")
    words = ["run", "--no-up", "--data", first.short]
    refused = project.modelyard(clone, *words, "--set", "data.max_rejected=0.5", check=False)
    assert "a dataset version has its own data section" in refused.stderr
    printed = project.modelyard(clone, *words, **servers).stdout
    (named,) = (line for line in printed.splitlines() if "dataset version" in line)
    assert first.md5.removesuffix(".dir") in named
    for stage in ("fetch", "ingest"):
        assert re.search(rf"^= {stage} .*unchanged$", printed, re.MULTILINE)
    assert current(clone) == second.md5
    used, _ = versions(clone)
    (run_id,) = used.runs
    shown = subprocess.run(
        ["git", "show", f"runs/{run_id}:params.yaml"], cwd=clone, capture_output=True, check=True
    ).stdout
    assert yaml.safe_load(shown)["data"] == first.contract
    listed = project.modelyard(clone, "data", "list", **servers, COLUMNS="200").stdout
    assert "versions/" in listed
    number = listed.partition("versions/")[2].split()[0].rstrip(",")
    verified = project.modelyard(clone, "verify", f"versions/{number}", **servers).stdout
    assert "params that ran are the snapshot's" in verified
