"""The run snapshot: the working tree as it is, as a commit.

The user's index, branch and files are not touched. Uncommitted and untracked files are in it
(ignored ones are not), so that each proof names exact code.
"""

import secrets
import shutil
import tempfile
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from modelyard.errors import WorkspaceError
from modelyard.runs.git import check_repository, git

REFS = "refs/modelyard/runs"
RESULTS = "refs/modelyard/results"


@dataclass(frozen=True)
class Snapshot:
    """A commit under ``refs/modelyard/runs/ID`` and its tree."""

    run_id: str
    commit: str
    tree: str


def new_run_id() -> str:
    """A run's name: UTC time to the second and four random hex digits; sorts by time."""
    return f"{datetime.now(UTC):%Y%m%d-%H%M%S}-{secrets.token_hex(2)}"


def take(root: Path, run_id: str) -> Snapshot:
    """Write the working tree of ``root`` as a commit on top of HEAD.

    It is kept under ``refs/modelyard/runs/ID``.

    Raises:
        WorkspaceError: ``root`` is not in a git repository with a commit.
    """
    check_repository(root)
    tree = write_tree(root)
    commit = git(root, "commit-tree", tree, "-p", "HEAD", "-m", f"run {run_id}")
    git(root, "update-ref", f"{REFS}/{run_id}", commit)
    return Snapshot(run_id, commit, tree)


def of_revision(root: Path, run_id: str, revision: str) -> Snapshot:
    """The commit that git knows by ``revision``, kept under ``refs/modelyard/runs/ID``.

    Raises:
        WorkspaceError: there is none.
    """
    check_repository(root)
    try:
        commit = git(root, "rev-parse", "--verify", "--end-of-options", f"{revision}^{{commit}}")
    except WorkspaceError:
        raise WorkspaceError(
            f"git knows no commit by {revision!r}",
            "Name a branch, a tag, a commit or refs/modelyard/runs/ID; `git fetch` gets new ones.",
        ) from None
    git(root, "update-ref", f"{REFS}/{run_id}", commit)
    return Snapshot(run_id, commit, git(root, "rev-parse", f"{commit}^{{tree}}"))


def exists(root: Path, run_id: str) -> bool:
    """Whether the snapshot of a run is kept."""
    try:
        git(root, "rev-parse", "--verify", "--quiet", f"{REFS}/{run_id}")
    except WorkspaceError:
        return False
    return True


def write_tree(root: Path) -> str:
    """The id of a tree object with every file of the working tree that git does not ignore."""
    with tempfile.TemporaryDirectory(prefix="modelyard-index-") as folder:
        index = Path(folder) / "index"
        current = Path(git(root, "rev-parse", "--path-format=absolute", "--git-path", "index"))
        if current.exists():
            shutil.copyfile(current, index)
        git(root, "add", "--all", index=index)
        return git(root, "write-tree", index=index)


def keep_result(root: Path, snapshot: Snapshot) -> str:
    """Commit the tree with a run's results (dvc.lock, metrics) on top of its snapshot.

    It is kept under ``refs/modelyard/results/ID``, so that what a version was made of can be
    looked up when the working tree has moved on. Return the commit.
    """
    message = f"result of run {snapshot.run_id}"
    tree = write_tree(root)
    commit = git(root, "commit-tree", tree, "-p", snapshot.commit, "-m", message)
    git(root, "update-ref", f"{RESULTS}/{snapshot.run_id}", commit)
    return commit
