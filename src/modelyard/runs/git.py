"""The few git commands that runs need, with errors that a person can act on."""

import os
import subprocess
from pathlib import Path

from modelyard.errors import WorkspaceError

_IDENTITY = {
    "GIT_AUTHOR_NAME": "modelyard",
    "GIT_AUTHOR_EMAIL": "modelyard@localhost",
    "GIT_COMMITTER_NAME": "modelyard",
    "GIT_COMMITTER_EMAIL": "modelyard@localhost",
}


def git(root: Path, *arguments: str, index: Path | None = None) -> str:
    """Run git in ``root`` and return its output.

    ``index`` replaces the user's index for this one command.

    Raises:
        WorkspaceError: git is not installed, or refuses; the message carries its own.
    """
    environment = {**os.environ, **_IDENTITY}
    if index:
        environment["GIT_INDEX_FILE"] = str(index)
    try:
        done = subprocess.run(
            ["git", "-C", str(root), *arguments],
            check=False,
            capture_output=True,
            text=True,
            env=environment,
        )
    except FileNotFoundError:
        raise WorkspaceError(
            "git is not installed", "Install git; every run is recorded as a commit."
        ) from None
    if done.returncode:
        raise WorkspaceError(f"git {arguments[0]}: {done.stderr.strip()}")
    return done.stdout.strip()


def check_repository(root: Path) -> None:
    """Check that ``root`` is the top folder of a git checkout that has a commit.

    Raises:
        WorkspaceError: it is not.
    """
    try:
        top = Path(git(root, "rev-parse", "--show-toplevel"))
        git(root, "rev-parse", "--verify", "--quiet", "HEAD")
    except WorkspaceError as error:
        raise WorkspaceError(
            f"{root.resolve()} is not a git repository with a commit ({error.message})",
            "Modelyard records each run as a commit: "
            "`git init && git add -A && git commit -m start`.",
        ) from None
    if top.resolve() != root.resolve():
        raise WorkspaceError(
            f"{root.resolve()} is a folder inside the git repository {top}",
            "A project is a repository of its own: snapshots and worktrees are of the whole.",
        )
