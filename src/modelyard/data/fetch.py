"""The stage ``fetch``: the source, as it is now or as it is pinned, into ``data/raw``."""

import logging
from pathlib import Path

from modelyard.artifacts import Layout, RawData
from modelyard.data.archive import unpack_lone_zip
from modelyard.data.outputs import replaced_folder
from modelyard.data.raw import QUERY, raw_files, raw_sha256
from modelyard.data.source import (
    DebianSource,
    HttpSource,
    LocalSource,
    PackageSource,
    S3Source,
    Source,
    SqlSource,
    parse_source,
)
from modelyard.data.source_debian import bring_debian
from modelyard.data.source_files import copy_local, find_local
from modelyard.data.source_http import bring_http
from modelyard.data.source_package import bring_package
from modelyard.data.source_s3 import bring_s3
from modelyard.data.source_sql import bring_sql
from modelyard.errors import SourceError
from modelyard.params import DataParams
from modelyard.settings import STATE_DIR

log = logging.getLogger(__name__)

OBJECTS = "downloads/s3"
"""Below the state folder: objects of S3 that need not be downloaded again."""


def fetch(layout: Layout, params: DataParams, state_dir: Path = Path(STATE_DIR)) -> RawData:
    """Bring ``data.source`` to ``layout.raw``: one file, or a tree of files.

    A lone ``.zip`` is unpacked.

    Raises:
        SourceError: the source cannot be had, is empty, changed while it was read, or does not have
            the sha256 that ``data.sha256`` names; ``layout.raw`` is as it was.
        ServiceUnavailable: a server is away, or breaks off.
        WorkspaceError: the disk is full.
    """
    source = parse_source(params.source)
    _check_query(source, params)
    with replaced_folder(layout.raw) as partial:
        _bring(source, layout, params, partial, layout.root / state_dir)
        unpack_lone_zip(partial, params.source)
        _refuse_empty(partial, params)
        digest = raw_sha256(partial)
        _check_pin(source, params, digest)
    log.info("fetched %s, sha256 %s", params.source, digest)
    return RawData(path=layout.raw, sha256=digest)


def _bring(
    source: Source, layout: Layout, params: DataParams, target: Path, state_dir: Path
) -> None:
    match source:
        case LocalSource():
            copy_local(find_local(layout, source), target, params.source)
        case PackageSource():
            bring_package(source, target)
        case DebianSource():
            bring_debian(source, target)
        case HttpSource():
            bring_http(source, target)
        case S3Source():
            bring_s3(source, target, state_dir / OBJECTS)
        case SqlSource():
            assert params.query is not None
            bring_sql(layout, source, params.query, target)
            (target / QUERY).write_text(params.query, encoding="utf-8")


def _check_query(source: Source, params: DataParams) -> None:
    if isinstance(source, SqlSource) and not (params.query or "").strip():
        raise SourceError(
            "data.query is not given, and data.source is a database",
            "Say what to read, for instance data.query: SELECT * FROM customers ORDER BY id",
        )
    if not isinstance(source, SqlSource) and params.query is not None:
        raise SourceError(
            f"data.query is given, but data.source {params.source!r} is no database",
            "Remove data.query, or give an SQL address as data.source.",
        )


def _refuse_empty(folder: Path, params: DataParams) -> None:
    if not any((folder / path).stat().st_size for path in raw_files(folder)):
        raise SourceError(
            f"data.source {params.source!r} is empty", "Put the data there, or correct it."
        )


def _check_pin(source: Source, params: DataParams, digest: str) -> None:
    """Compare with ``data.sha256``, which packages and http sources cannot do without."""
    if params.sha256 == digest:
        return
    if params.sha256 is not None:
        raise SourceError(
            f"data.source {params.source!r} has sha256 {digest}, "
            f"but data.sha256 names {params.sha256}",
            "The source is not what was pinned. "
            f"If you trust this one and want it, set data.sha256: {digest}",
        )
    if isinstance(source, PackageSource | DebianSource | HttpSource):
        raise SourceError(
            f"data.sha256 is null, and data.source {params.source!r} is somebody else's: "
            "it is taken only by its checksum",
            f"It has sha256 {digest}. If you trust it, set data.sha256: {digest}",
        )
