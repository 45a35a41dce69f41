"""Isolated runs, each in a git worktree of the snapshot.

Such a run shares the DVC cache and has a process and a params.yaml of its own. The user's index,
branch, params.yaml and untracked files are not touched; the result is committed to ``runs/ID``.
"""

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any, cast

import psutil

from modelyard.artifacts import write_atomic, write_json
from modelyard.errors import WorkspaceError
from modelyard.params import assign, parse, read_tree, with_overrides
from modelyard.runs import snapshot
from modelyard.runs.git import git
from modelyard.runs.janitor import remove_worktree, sweep
from modelyard.settings import Settings

_GRACE = 60
"""Seconds that an interrupted run has to end its workers."""


def check(root: Path, overrides: list[str], recipe: Path | None) -> Path:
    """The params file of an isolated run, after checking it with the overrides.

    Raises:
        ParamsError: it is not possible.
        WorkspaceError: it is not there.
    """
    source = recipe or root / "params.yaml"
    if not source.is_file():
        raise WorkspaceError(f"there is no params file {source}", "Name a file of recipes/.")
    parse(with_overrides(read_tree(source), overrides))
    return source


def run_isolated(root: Path, overrides: list[str], recipe: Path | None) -> tuple[str, int]:
    """Run the pipeline of the working tree as it is now, in a worktree.

    Return the run's id and its exit status.

    Args:
        root: The project's folder.
        overrides: ``key.path=value`` pairs, applied to the worktree's params.yaml alone.
        recipe: A params file that takes the place of params.yaml.

    Raises:
        ParamsError: the params with overrides are not possible; nothing was started.
        WorkspaceError: the worktree cannot be made.
    """
    root, settings = root.resolve(), Settings()
    source = check(root, overrides, recipe)
    sweep(root, settings)
    run_id = snapshot.new_run_id()
    base = snapshot.take(root, run_id)
    worktree = _add_worktree(root, settings, base)
    try:
        _write_params(worktree, source, overrides)
        _share_dvc(root, worktree)
        status = _run(worktree, settings, run_id)
        if status == 0:
            taken = git(worktree, "rev-parse", f"{snapshot.REFS}/{run_id}")
            tree = git(worktree, "rev-parse", f"{taken}^{{tree}}")
            result = snapshot.keep_result(worktree, snapshot.Snapshot(run_id, taken, tree))
            git(root, "update-ref", f"refs/heads/runs/{run_id}", result)
    finally:
        remove_worktree(root, worktree)
    return run_id, status


def _add_worktree(root: Path, settings: Settings, base: snapshot.Snapshot) -> Path:
    worktree = settings.state_dir.resolve() / "worktrees" / base.run_id
    process = psutil.Process()
    owner = {"pid": process.pid, "create_time": process.create_time()}
    write_json(worktree.with_suffix(".json"), owner)
    git(root, "worktree", "add", "--detach", "--quiet", str(worktree), base.commit)
    return worktree


def _write_params(worktree: Path, source: Path, overrides: list[str]) -> None:
    """Write the worktree's params.yaml, comments kept."""
    from io import StringIO

    from ruamel.yaml import YAML

    text = source.read_text(encoding="utf-8")
    if overrides:
        editor, stream = YAML(), StringIO()
        document = editor.load(text)
        assign(document, overrides)
        editor.dump(document, stream)
        text = stream.getvalue()
    write_atomic(worktree / "params.yaml", text.encode())


def _share_dvc(root: Path, worktree: Path) -> None:
    """Give the worktree the clone's DVC cache and remotes, as DVC resolves them.

    Secrets of config.local come along, mode 0600.
    """
    from dvc.config import Config

    main = Config(str(root / ".dvc"))
    write_atomic(worktree / ".dvc" / "config.local", b"", mode=0o600)
    with Config(str(worktree / ".dvc")).edit("local") as edited:
        local = cast("dict[str, Any]", edited)
        local["cache"] = {"dir": main["cache"].get("dir") or str(root / ".dvc" / "cache")}
        local["remote"] = {name: dict(remote) for name, remote in main["remote"].items()}
        if default := main["core"].get("remote"):
            local["core"] = {"remote": default}


def _run(worktree: Path, settings: Settings, run_id: str) -> int:
    code = [str(worktree / "src"), str(worktree)]
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join([*code, *filter(None, [os.environ.get("PYTHONPATH")])]),
        "MODELYARD_STATE_DIR": str(settings.state_dir.resolve()),
        "MODELYARD_RUN_ID": run_id,
    }
    command = [sys.executable, "-m", "modelyard.cli", "run", "--no-up"]
    # In a session of its own, so that Ctrl-C reaches it once: from here.
    with subprocess.Popen(command, cwd=worktree, env=environment, start_new_session=True) as child:
        before = signal.signal(signal.SIGTERM, signal.default_int_handler)
        try:
            return child.wait()
        except KeyboardInterrupt:
            child.send_signal(signal.SIGINT)
            try:
                child.wait(_GRACE)
            except subprocess.TimeoutExpired:
                child.kill()
            raise
        finally:
            signal.signal(signal.SIGTERM, before)
