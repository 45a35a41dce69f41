"""A dataset version brought back: into the working tree, or into the worktree of one run.

dvc.lock gets the version's own entries of ``fetch`` and ``ingest``, params.yaml its ``data``
section; DVC then takes the files from its cache.
"""

import hashlib
from contextlib import closing
from io import StringIO
from pathlib import Path
from typing import Any

from modelyard.artifacts import write_atomic
from modelyard.errors import ModelyardError, WorkspaceError
from modelyard.registry.proof_git import git
from modelyard.runs import snapshot
from modelyard.runs.reproduce import open_repo
from modelyard.runs.run import held
from modelyard.runs.versions import LOCK, MADE, DatasetVersion, output_files

PARAMS = "params.yaml"
_CACHED = ("data/raw", "data/dataset", "reports/data.html")
_METRICS = "metrics/ingest.json"


def checkout(root: Path, version: DatasetVersion) -> list[str]:
    """Restore a version in the working tree; the code files that changed since it was made.

    Where there is none, ``dvc status`` is clean for both stages. Otherwise the next run makes the
    dataset again, from the restored raw data. A snapshot keeps what dvc.lock named before.

    Raises:
        WorkspaceError: a run is under way, a file of the version is not at hand, or local changes
            would be lost: data that differ from dvc.lock, a ``data`` section that is not committed.
    """
    with closing(held(root)):
        for output in _CACHED:
            output_files(root, version.stages, output)
        metrics = _metrics(root, version)
        with closing(open_repo(root)) as repo, repo.lock:
            _refuse_changed_data(repo)
        _refuse_uncommitted_contract(root, version)
        snapshot.take(root, snapshot.new_run_id())
        _write(root, version, metrics)
        with closing(open_repo(root)) as repo:
            repo.checkout(targets=list(MADE), force=True)
            with repo.lock:
                return _changed_code(repo)


def use_in(root: Path, worktree: Path, version: DatasetVersion, overrides: list[str]) -> None:
    """Have a run in ``worktree`` learn from a version as it is, whatever its code and source.

    Both stages are frozen in its dvc.yaml: the snapshot then says that their results were taken
    over.

    Raises:
        WorkspaceError: a file of the version is not at hand.
        ModelyardError: an override is of the ``data`` section.
    """
    if wrong := [item for item in overrides if item.partition("=")[0].split(".")[0] == "data"]:
        raise ModelyardError(
            f"--set {wrong[0]}: a dataset version has its own data section",
            "Leave one of the two out.",
        )
    for output in _CACHED:
        output_files(root, version.stages, output)
    _write(worktree, version, _metrics(root, version))
    from dvc.utils.serialize import dumps_yaml, parse_yaml_for_update

    path = worktree / "dvc.yaml"
    tree = parse_yaml_for_update(path.read_text(encoding="utf-8"), str(path))
    for name in MADE:
        tree["stages"][name]["frozen"] = True
    write_atomic(path, dumps_yaml(tree).encode())


def _metrics(root: Path, version: DatasetVersion) -> bytes:
    """The metrics of ``ingest``, which git keeps beside the version's dvc.lock.

    Raises:
        WorkspaceError: git has others, or none.
    """
    wanted = next(out["md5"] for out in version.stages["ingest"]["outs"] if out["path"] == _METRICS)
    try:
        content = (
            git(root, "show", f"{version.commit}:{_METRICS}")
            if version.commit
            else (root / _METRICS).read_bytes()
        )
    except (ModelyardError, OSError):
        content = b""
    if hashlib.md5(content, usedforsecurity=False).hexdigest() != wanted:
        raise WorkspaceError(
            f"{_METRICS} of dataset version {version.short} is not in git beside its dvc.lock",
            "Commit metrics/ together with dvc.lock; another commit of the version may have both.",
        )
    return content


def _write(root: Path, version: DatasetVersion, metrics: bytes) -> None:
    from dvc.utils.serialize import dumps_yaml, parse_yaml_for_update

    path = root / LOCK
    text = path.read_text(encoding="utf-8") if path.exists() else "schema: '2.0'\nstages: {}\n"
    lock = parse_yaml_for_update(text, LOCK)
    theirs = parse_yaml_for_update(_lock_text(root, version), LOCK)["stages"]
    for name in MADE:
        lock["stages"][name] = theirs[name]
    contract = theirs["ingest"]["params"][PARAMS]["data"]
    if (edited := _with_contract(root, contract)) is not None:
        write_atomic(root / PARAMS, edited.encode())
    write_atomic(root / _METRICS, metrics)
    write_atomic(path, dumps_yaml(lock).encode())


def _lock_text(root: Path, version: DatasetVersion) -> str:
    if version.commit is None:
        return (root / LOCK).read_text(encoding="utf-8")
    return git(root, "show", f"{version.commit}:{LOCK}").decode()


def _with_contract(root: Path, contract: Any) -> str | None:
    """params.yaml with another ``data`` section, comments kept elsewhere; None if it has this."""
    from ruamel.yaml import YAML

    editor, stream = YAML(), StringIO()
    editor.width = 120
    document = editor.load((root / PARAMS).read_text(encoding="utf-8"))
    if document["data"] == contract:
        return None
    document["data"] = contract
    editor.dump(document, stream)
    return stream.getvalue()


def _refuse_changed_data(repo: Any) -> None:
    for name in MADE:
        for out in repo.stage.load_one(name=name).outs:
            states = out.workspace_status()
            there = Path(out.fs_path).exists()
            if there and states and str(out) in _CACHED:
                raise WorkspaceError(
                    f"{out} differs from what {LOCK} names, and would be lost",
                    "Move it away, or record it by `modelyard run` or `dvc repro`.",
                )


def _refuse_uncommitted_contract(root: Path, version: DatasetVersion) -> None:
    from dvc.utils.serialize import parse_yaml

    def section(text: str) -> Any:
        return parse_yaml(text, PARAMS).get("data")

    now = section((root / PARAMS).read_text(encoding="utf-8"))
    theirs = parse_yaml(_lock_text(root, version), LOCK)["stages"]["ingest"]["params"][PARAMS]
    if now in (theirs["data"], section(git(root, "show", f"HEAD:{PARAMS}").decode())):
        return
    raise WorkspaceError(
        f"the data section of {PARAMS} has changes that are not committed, and would be lost",
        f"Commit {PARAMS}, or take the changes back; "
        f"`modelyard run --data {version.short}` leaves your files alone.",
    )


def _changed_code(repo: Any) -> list[str]:
    changed: set[str] = set()
    for name in MADE:
        for dep in repo.stage.load_one(name=name).deps:
            changed |= {str(place) for place in dep.workspace_status()}
    return sorted(changed)
