"""Dataset versions: every dataset that a dvc.lock in git's history names, and who used it.

A version is the content of ``data/dataset``, by DVC's md5 of it. What it was made of stands in the
lock entries of ``fetch`` and ``ingest`` (code, contract, raw data); its files lie in DVC's cache
and are read there, without a checkout. Nothing more is stored for it.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from modelyard.artifacts import read_json
from modelyard.errors import ServiceUnavailable, WorkspaceError
from modelyard.registry import tags
from modelyard.registry.proof_data import cached_object
from modelyard.registry.proof_git import git
from modelyard.runs.publish import connect
from modelyard.runs.snapshot import REFS, RESULTS
from modelyard.settings import Settings
from modelyard.yaml_text import load_yaml

LOCK = "dvc.lock"
MADE = ("fetch", "ingest")
"""The stages whose results a version is."""
NUM_SHOWN = 8


@dataclass(frozen=True)
class DatasetVersion:
    """A version as the oldest dvc.lock that names it shows it.

    ``commit`` holds that dvc.lock (None: only the working tree does), ``stages`` are its entries of
    ``MADE``; ``runs`` are the ids of the runs that ended with this dataset, oldest first.
    """

    md5: str
    made: datetime
    commit: str | None
    stages: dict[str, Any]
    runs: tuple[str, ...]

    @property
    def short(self) -> str:
        """The first characters of the id, as git shortens its own."""
        return self.md5[:NUM_SHOWN]

    @property
    def contract(self) -> dict[str, Any]:
        """The ``data`` section that it was made by."""
        return self.stages["ingest"]["params"]["params.yaml"]["data"]


@dataclass(frozen=True)
class _Place:
    """A dvc.lock somewhere in git, and the run whose result it is."""

    seconds: int
    commit: str
    run_id: str | None


def all_versions(root: Path) -> list[DatasetVersion]:
    """Every version that runs, branches or the working tree name, oldest first.

    Raises:
        WorkspaceError: git does not answer.
    """
    found: dict[str, DatasetVersion] = {}
    users: dict[str, list[str]] = {}
    places = _places(root)
    for place, stages in zip(places, _locks(root, places), strict=True):
        md5 = _dataset_md5(stages)
        if md5 is None:
            continue
        made = datetime.fromtimestamp(place.seconds, UTC)
        found.setdefault(md5, DatasetVersion(md5, made, place.commit, stages, ()))
        if place.run_id:
            users.setdefault(md5, []).append(place.run_id)
    path = root / LOCK
    if path.exists() and (md5 := _dataset_md5(stages := _parsed(path.read_bytes()))):
        made = datetime.fromtimestamp(path.stat().st_mtime, UTC)
        found.setdefault(md5, DatasetVersion(md5, made, None, stages, ()))
    return [
        DatasetVersion(item.md5, item.made, item.commit, item.stages, tuple(users.get(md5, ())))
        for md5, item in sorted(found.items(), key=lambda entry: (entry[1].made, entry[0]))
    ]


def find(versions: list[DatasetVersion], name: str) -> DatasetVersion:
    """The version whose id begins with ``name``.

    Raises:
        WorkspaceError: none does, or several do; the message has the nearest.
    """
    chosen = [version for version in versions if name and version.md5.startswith(name.lower())]
    if len(chosen) == 1:
        return chosen[0]
    if chosen:
        names = ", ".join(version.md5.removesuffix(".dir") for version in chosen)
        raise WorkspaceError(f"{name!r} may be {names}", "Give more characters of the id.")
    shorts = [version.short for version in versions]
    near = get_close_matches(name[:NUM_SHOWN], shorts, n=3, cutoff=0.4)
    raise WorkspaceError(
        f"there is no dataset version {name!r}",
        f"Nearest: {', '.join(near)}" if near else "`modelyard data list` shows them all.",
    )


def output_files(root: Path, stages: dict[str, Any], output: str) -> dict[str, Path]:
    """The files of an output in DVC's cache by their names in it (``""`` where it is one file).

    Raises:
        WorkspaceError: the cache lacks one.
    """
    md5 = _output_md5(stages, output)
    top = cached_object(root, md5)
    files: dict[str, Path | None] = {"": top}
    if top is not None and md5.endswith(".dir"):
        entries = json.loads(top.read_bytes())
        files = {entry["relpath"]: cached_object(root, entry["md5"]) for entry in entries}
    whole = {name: path for name, path in files.items() if path is not None}
    if len(whole) < len(files):
        raise WorkspaceError(
            f"{output} of dataset version {_dataset_md5(stages) or ''} is not in DVC's cache",
            "`dvc fetch --all-commits` brings what the remote has; `modelyard run` pushes there.",
        )
    return whole


def dataset_tree(root: Path, version: DatasetVersion) -> dict[str, Any] | None:
    """The ``dataset.json`` of a version; None where the cache lacks it."""
    try:
        return read_json(output_files(root, version.stages, "data/dataset")["dataset.json"])
    except (WorkspaceError, KeyError):
        return None


def model_versions(settings: Settings) -> dict[str, list[str]]:
    """The registered versions (``NAME/VERSION``) that learned from each dataset, by its md5.

    Raises:
        ServiceUnavailable: MLflow is away.
    """
    found: dict[str, list[str]] = {}
    with connect(settings) as api:
        for model in api.search_registered_models():
            for version in reversed(api.search_versions(model.name)):
                if md5 := version.tags.get(tags.DATASET):
                    found.setdefault(md5, []).append(f"{model.name}/{version.version}")
    return found


def users_or_reason(settings: Settings) -> tuple[dict[str, list[str]], str]:
    """The same, or nothing and why."""
    try:
        return model_versions(settings), ""
    except ServiceUnavailable as error:
        return {}, error.message


def _places(root: Path) -> list[_Place]:
    """Where dvc.lock was recorded, oldest first: results of runs, snapshots, the branches."""
    listed = git(root, "for-each-ref", "--format=%(committerdate:unix) %(objectname) %(refname)")
    places = []
    for line in listed.decode().splitlines():
        seconds, commit, name = line.split(" ", 2)
        if name.startswith(f"{RESULTS}/"):
            places.append(_Place(int(seconds), commit, name.removeprefix(f"{RESULTS}/")))
        elif name.startswith(f"{REFS}/"):
            places.append(_Place(int(seconds), commit, None))
    history = ("log", "--branches", "--remotes", "--tags", "--format=%ct %H", "--", LOCK)
    for line in git(root, *history).decode().splitlines():
        seconds, commit = line.split()
        places.append(_Place(int(seconds), commit, None))
    return sorted(places, key=lambda place: (place.seconds, place.commit, place.run_id or "~"))


def _locks(root: Path, places: list[_Place]) -> Iterator[dict[str, Any]]:
    """The entries of ``MADE`` in the dvc.lock of each place; equal files are parsed once."""
    names = "\n".join(f"{place.commit}:{LOCK}" for place in places)
    answer = git(root, "cat-file", "--batch", stdin=names.encode())
    parsed: dict[bytes, dict[str, Any]] = {}
    start = 0
    for _ in places:
        end = answer.index(b"\n", start)
        head = answer[start:end].split()
        if len(head) != 3:
            start = end + 1
            yield {}
            continue
        start = end + 1 + int(head[2]) + 1
        if head[0] not in parsed:
            parsed[head[0]] = _parsed(answer[end + 1 : start - 1])
        yield parsed[head[0]]


def _parsed(content: bytes) -> dict[str, Any]:
    """Stages of a dvc.lock; none of one that is damaged or of a run that did not get so far."""
    import yaml

    try:
        tree = load_yaml(content)
        return {name: tree["stages"][name] for name in MADE}
    except (yaml.YAMLError, KeyError, TypeError):
        return {}


def _dataset_md5(stages: dict[str, Any]) -> str | None:
    return _output_md5(stages, "data/dataset") if stages else None


def _output_md5(stages: dict[str, Any], output: str) -> str:
    outs = [out for stage in stages.values() for out in stage["outs"]]
    return next(out["md5"] for out in outs if out["path"] == output)
