"""Isolated runs, each in a git worktree of the snapshot.

Such a run shares the DVC cache and has a process and a params.yaml of its own. The user's index,
branch, params.yaml and untracked files are not touched; the result is committed to ``runs/ID``.
"""

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

import psutil

from modelyard.artifacts import Layout, write_atomic, write_json
from modelyard.errors import ModelyardError, WorkspaceError
from modelyard.params import assign, load, parse, read_tree, with_overrides
from modelyard.runs import snapshot
from modelyard.runs.git import git
from modelyard.runs.janitor import remove_worktree, sweep
from modelyard.runs.restore import use_in
from modelyard.runs.versions import all_versions, find
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


def run_isolated(
    root: Path,
    overrides: list[str],
    recipe: Path | None,
    revision: str | None = None,
    data_version: str | None = None,
) -> tuple[str, int]:
    """Run the pipeline of the working tree as it is now, or of a revision, in a worktree.

    Return the run's id and its exit status.

    Args:
        root: The project's folder.
        overrides: ``key.path=value`` pairs, applied to the worktree's params.yaml alone.
        recipe: A params file that takes the place of params.yaml.
        revision: What git names a commit by; None is the working tree.
        data_version: The beginning of an earlier dataset version's id, to learn from.

    Raises:
        ParamsError: the params with overrides are not possible; nothing was started.
        WorkspaceError: the worktree cannot be made.
    """
    root, settings, run_id = root.resolve(), Settings(), snapshot.new_run_id()
    worktree = set_up(root, settings, run_id, overrides, recipe, revision, data_version)
    try:
        status = run_in(worktree, settings, run_id)
        if status == 0:
            keep(root, worktree, run_id)
    finally:
        remove_worktree(root, worktree)
    return run_id, status


def set_up(
    root: Path,
    settings: Settings,
    run_id: str,
    overrides: list[str],
    recipe: Path | None,
    revision: str | None = None,
    data_version: str | None = None,
) -> Path:
    """Make the worktree of a run, with its params.yaml and the clone's DVC cache; its folder.

    It belongs to this process: when that has ended, the janitor may remove it.

    Raises:
        ParamsError: the params with overrides are not possible; nothing was made.
        WorkspaceError: the worktree cannot be made, or the dataset version is not at hand.
    """
    version = None if data_version is None else find(all_versions(root), data_version)
    if revision is None:
        check(root, overrides, recipe)
        base = snapshot.take(root, run_id)
    else:
        base = snapshot.of_revision(root, run_id, revision)
    sweep(root, settings)
    worktree = _add_worktree(root, settings, base)
    try:
        source = (recipe or root / "params.yaml").absolute()
        if revision is not None and source.is_relative_to(root):
            source = worktree / source.relative_to(root)
        if not source.is_file():
            raise WorkspaceError(f"{revision} has no params file {source.relative_to(worktree)}")
        _write_params(worktree, source, overrides)
        _share_dvc(root, worktree)
        _share_source(root, worktree)
        if version is not None:
            use_in(root, worktree, version, overrides)
    except BaseException:
        remove_worktree(root, worktree)
        raise
    return worktree


@contextmanager
def inside() -> Iterator[Path]:
    """In the worktree that this process was made for: work there, keep the result, remove it.

    After an error nothing is kept but the snapshot.

    Raises:
        WorkspaceError: there is none.
    """
    settings = Settings()
    worktree = settings.state_dir / "worktrees" / (settings.run_id or "none")
    if not settings.run_id or not worktree.is_dir():
        raise WorkspaceError(
            "this process has no worktree to run in",
            "Runs of deployments are started by a worker with the command `modelyard flow-run`"
            " (prefect.yaml); by hand it is `modelyard run --isolated`.",
        )
    root = Path(git(worktree, "rev-parse", "--path-format=absolute", "--git-common-dir")).parent
    os.chdir(worktree)
    try:
        yield worktree
        keep(root, worktree, settings.run_id)
    finally:
        os.chdir(root)
        remove_worktree(root, worktree)


def keep(root: Path, worktree: Path, run_id: str) -> None:
    """Commit what a run in a worktree ended with to branch ``runs/ID``."""
    taken = git(worktree, "rev-parse", f"{snapshot.REFS}/{run_id}")
    tree = git(worktree, "rev-parse", f"{taken}^{{tree}}")
    result = snapshot.keep_result(worktree, snapshot.Snapshot(run_id, taken, tree))
    git(root, "update-ref", f"refs/heads/runs/{run_id}", result)


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

    from ruamel.yaml import YAML, RoundTripRepresenter

    class Representer(RoundTripRepresenter):
        """Writes 1e-05 as 1.0e-05, which is a number in YAML 1.1 as well."""

        def represent_float(self, data: float) -> Any:
            text = repr(data) if "." in repr(data) else repr(data).replace("e", ".0e")
            return self.represent_scalar("tag:yaml.org,2002:float", text)

    Representer.add_representer(float, Representer.represent_float)
    text = source.read_text(encoding="utf-8")
    if overrides:
        editor, stream = YAML(), StringIO()
        editor.Representer = Representer
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


def _share_source(root: Path, worktree: Path) -> None:
    """Give the worktree a local source that git ignores, by links to the same files.

    Where nothing is found, `fetch` says so, or DVC has its result.
    """
    from modelyard.data.source import LocalSource, SqlSource, parse_source, sqlite_file
    from modelyard.data.source_files import find_local

    try:
        source = parse_source(load(worktree).data.source)
        if isinstance(source, SqlSource) and (database := sqlite_file(source)):
            # By name: SQLite looks for its journal beside the file that a link leads to.
            _link(root / database, worktree / database, os.symlink)
        found = find_local(Layout(root), source) if isinstance(source, LocalSource) else {}
    except ModelyardError:
        return
    for path in found.values():
        _link(path, worktree / path.relative_to(root), os.link)
    if isinstance(source, LocalSource) and (named := root / source.pattern).is_symlink():
        (path,) = found.values()
        _link(path, worktree / named.relative_to(root), os.link)


def _link(path: Path, target: Path, link: Callable[[Path, Path], None]) -> None:
    if target.exists() or not path.exists():
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        link(path, target)
    except OSError:  # on another file system
        shutil.copy2(path, target)


def environment_in(worktree: Path, settings: Settings, run_id: str) -> dict[str, str]:
    """The environment of a process that runs the worktree's own code."""
    code = [str(worktree / "src"), str(worktree)]
    return {
        **os.environ,
        "PYTHONPATH": os.pathsep.join([*code, *filter(None, [os.environ.get("PYTHONPATH")])]),
        "MODELYARD_STATE_DIR": str(settings.state_dir.resolve()),
        "MODELYARD_RUN_ID": run_id,
    }


def run_in(worktree: Path, settings: Settings, run_id: str) -> int:
    """Run the pipeline in a worktree by its own code; the exit status."""
    environment = environment_in(worktree, settings, run_id)
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
