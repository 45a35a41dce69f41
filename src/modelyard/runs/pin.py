"""Whether the source is still what ``data/raw`` was made of: DVC does not look out of the project.

A pinned source is compared with its pin. One without a pin (``data.sha256: null``) may change at
any time: what it looked like when it was fetched is kept in ``sources.json`` of the state folder,
and the flow fetches again where that is another now, or where nobody can tell (SQL). Equal content
leaves all later stages as they are.
"""

import hashlib
import json
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from modelyard.artifacts import Layout, canonical, write_json
from modelyard.data.archive import unpack_lone_zip
from modelyard.data.raw import files_sha256, is_of_query, raw_sha256
from modelyard.data.source import LocalSource, S3Source, SqlSource, parse_source, sqlite_file
from modelyard.data.source_files import NoSuchFile, copy_local, find_local
from modelyard.data.source_s3 import list_objects, listing_digest
from modelyard.errors import SourceError
from modelyard.params import DataParams
from modelyard.settings import Settings
from modelyard.stages import is_frozen
from modelyard.yaml_text import load_yaml

FILE = "sources.json"
_EMPTY = hashlib.sha256(b"").hexdigest()


def check_pin(root: Path, params: DataParams) -> None:
    """Compare a local source, where it is there, with its pin.

    Raises:
        SourceError: it is another file now; the message has both checksums.
    """
    found = moved_on(root, params)
    if found == _EMPTY:
        raise SourceError(
            f"data.source {params.source!r} is empty", "Put the data there, or correct it."
        )
    if found:
        raise SourceError(
            f"data.source {params.source!r} has sha256 {found}, "
            f"but data.sha256 names {params.sha256}",
            f"It changed since it was pinned. If you want it as it is, set data.sha256: {found}",
        )


def moved_on(root: Path, params: DataParams) -> str | None:
    """The sha256 of a local source that is not the pinned one any more; None where it is."""
    if params.sha256 is None or not isinstance(parse_source(params.source), LocalSource):
        return None
    digest = source_state(root, params)
    return None if digest in (params.sha256, None) or is_frozen("fetch", root) else digest


def source_state(root: Path, params: DataParams) -> str | None:
    """What the source looks like now, without reading it where that can be avoided.

    Of local files the sha256, which is computed again only where a size or a time has changed; of
    objects in S3 a hash over their listing; of a package or an http file its pin. None where that
    cannot be told, or where nothing is there.

    Raises:
        SourceError: the local source is not possible.
        ServiceUnavailable: the S3 server is away.
    """
    source = parse_source(params.source)
    if isinstance(source, LocalSource):
        files = _local_files(root, source)
        return None if files is None else _local_state(root, params, files)
    if params.sha256 is not None:
        return params.sha256
    if isinstance(source, S3Source):
        return listing_digest(list_objects(source))
    return None


@dataclass(frozen=True)
class Seen:
    """What the source looks like, and whether ``data/raw`` may not be that."""

    state: str | None
    outdated: bool


def look(root: Path, params: DataParams) -> Seen:
    """Compare the source with what was fetched; of a pinned source only its query.

    Raises:
        SourceError: the local source is not possible.
        ServiceUnavailable: the S3 server is away.
    """
    raw = Layout(root).raw
    if is_frozen("fetch", root):
        return Seen(None, outdated=False)
    if params.sha256 is not None:
        return Seen(None, outdated=raw.is_dir() and not is_of_query(raw, params))
    state, known = source_state(root, params), _read(root).get(_key(params), {})
    if raw.is_dir() and _is_absent(root, params):
        # A worktree lacks files that git ignores; what dvc.lock names stands for them.
        return Seen(None, outdated=False)
    outdated = state is None or [state, _recorded_md5(root)] != known.get("fetched")
    return Seen(state, outdated)


def remember(root: Path, params: DataParams, seen: Seen) -> None:
    """Keep that ``data/raw``, as dvc.lock names it, is the source as it was ``seen``."""
    if seen.state is not None and (raw_md5 := _recorded_md5(root)) is not None:
        _update(root, params, fetched=[seen.state, raw_md5])


def _is_absent(root: Path, params: DataParams) -> bool:
    source = parse_source(params.source)
    if isinstance(source, SqlSource) and (file := sqlite_file(source)):
        source = LocalSource(file)
    return isinstance(source, LocalSource) and _local_files(root, source) is None


def _local_files(root: Path, source: LocalSource) -> dict[str, Path] | None:
    try:
        return find_local(Layout(root), source)
    except NoSuchFile:
        return None


def _local_state(root: Path, params: DataParams, files: dict[str, Path]) -> str:
    stats = [(name, path, path.stat()) for name, path in files.items()]
    shape = [[name, str(path), stat.st_size, stat.st_mtime_ns] for name, path, stat in stats]
    fingerprint = hashlib.sha256(canonical(shape)).hexdigest()
    known = _read(root).get(_key(params), {})
    if known.get("fingerprint") == fingerprint:
        return known["sha256"]
    digest = _digest(files, params.source)
    _update(root, params, fingerprint=fingerprint, sha256=digest)
    return digest


def _digest(files: dict[str, Path], name: str) -> str:
    """The checksum that the files will have in ``data/raw``, where a lone zip is unpacked."""
    if len(files) > 1 or not next(iter(files)).lower().endswith(".zip"):
        return files_sha256(files)
    with tempfile.TemporaryDirectory(prefix="modelyard-zip-") as folder:
        copy_local(files, Path(folder), name)
        unpack_lone_zip(Path(folder), name)
        return raw_sha256(Path(folder))


def _key(params: DataParams) -> str:
    return hashlib.sha256(canonical([params.source, params.query])).hexdigest()[:16]


def _recorded_md5(root: Path) -> str | None:
    """DVC's md5 of ``data/raw`` in dvc.lock, if the stage is recorded there."""
    import yaml

    try:
        tree = load_yaml((root / "dvc.lock").read_text(encoding="utf-8"))
        return tree["stages"]["fetch"]["outs"][0]["md5"]
    except (OSError, KeyError, TypeError, IndexError, yaml.YAMLError):
        return None


def _read(root: Path) -> dict[str, Any]:
    """What is remembered; a damaged file is as good as none."""
    try:
        tree = json.loads(_file(root).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return tree if isinstance(tree, dict) else {}


def _update(root: Path, params: DataParams, **changes: Any) -> None:
    tree, key = _read(root), _key(params)
    write_json(_file(root), tree | {key: tree.get(key, {}) | changes})


def _file(root: Path) -> Path:
    return root / Settings().state_dir / FILE
