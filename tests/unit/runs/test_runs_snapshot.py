"""The snapshot holds the working tree as it is, and leaves the user's git state alone."""

import subprocess
from pathlib import Path

import pytest

from modelyard.errors import WorkspaceError
from modelyard.runs import snapshot


def git(root: Path, *words: str) -> str:
    identity = ["-c", "user.name=test", "-c", "user.email=test@localhost"]
    done = subprocess.run(
        ["git", *identity, *words], cwd=root, check=True, capture_output=True, text=True
    )
    return done.stdout.strip()


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    git(tmp_path, "init", "-q", "-b", "main")
    (tmp_path / ".gitignore").write_text("ignored\n")
    (tmp_path / "committed").write_text("one")
    git(tmp_path, "add", "-A")
    git(tmp_path, "commit", "-qm", "start")
    return tmp_path


def test_uncommitted_and_untracked_files_are_in_it_and_ignored_ones_are_not(
    repository: Path,
) -> None:
    (repository / "committed").write_text("two")
    (repository / "untracked").write_text("new")
    (repository / "ignored").write_text("secret")
    taken = snapshot.take(repository, "r1")
    assert git(repository, "show", f"{taken.commit}:committed") == "two"
    assert git(repository, "show", f"{taken.commit}:untracked") == "new"
    assert "ignored" not in git(repository, "ls-tree", "--name-only", taken.commit).split()
    assert git(repository, "rev-parse", "refs/modelyard/runs/r1") == taken.commit
    assert git(repository, "rev-parse", f"{taken.commit}^{{tree}}") == taken.tree


def test_index_branch_and_files_stay_as_they_were(repository: Path) -> None:
    (repository / "staged").write_text("staged")
    git(repository, "add", "staged")
    (repository / "untracked").write_text("new")
    before = git(repository, "status", "--porcelain"), git(repository, "rev-parse", "HEAD")
    snapshot.take(repository, "r1")
    assert (
        git(repository, "status", "--porcelain"),
        git(repository, "rev-parse", "HEAD"),
    ) == before
    assert git(repository, "branch", "--format=%(refname)") == "refs/heads/main"


def test_equal_trees_have_equal_ids(repository: Path) -> None:
    first, second = snapshot.take(repository, "r1"), snapshot.take(repository, "r2")
    assert first.tree == second.tree


def test_the_result_of_a_run_is_kept_on_top_of_its_snapshot(repository: Path) -> None:
    taken = snapshot.take(repository, "r1")
    (repository / "dvc.lock").write_text("result")
    commit = snapshot.keep_result(repository, taken)
    assert git(repository, "rev-parse", "refs/modelyard/results/r1") == commit
    assert git(repository, "rev-parse", f"{commit}^") == taken.commit
    assert git(repository, "show", f"{commit}:dvc.lock") == "result"


def test_a_folder_without_git_is_refused_with_the_remedy(tmp_path: Path) -> None:
    with pytest.raises(WorkspaceError, match="git init"):
        snapshot.take(tmp_path, "r1")


def test_a_folder_inside_another_repository_is_refused(repository: Path) -> None:
    (repository / "inner").mkdir()
    with pytest.raises(WorkspaceError, match="a repository of its own"):
        snapshot.take(repository / "inner", "r1")


def test_a_repository_without_a_commit_is_refused(tmp_path: Path) -> None:
    git(tmp_path, "init", "-q")
    with pytest.raises(WorkspaceError, match="with a commit"):
        snapshot.take(tmp_path, "r1")
