"""The files of any source, to look at: those of the project where they lie, others for a while."""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from modelyard.artifacts import Layout
from modelyard.data.archive import unpack_lone_zip
from modelyard.data.placeholders import Placeholders
from modelyard.data.raw import files_sha256, raw_files
from modelyard.data.source import (
    DebianSource,
    HttpSource,
    LocalSource,
    PackageSource,
    S3Source,
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


@dataclass(frozen=True)
class Gathered:
    """A source and its files, by the path that they would get in ``data/raw``.

    ``placeholders`` are the names that the source has in braces.
    """

    source: str
    paths: dict[str, Path]
    placeholders: tuple[str, ...]

    @property
    def sha256(self) -> str:
        """What ``data.sha256`` should name."""
        return files_sha256(self.paths)

    def narrowed(self, source: str) -> "Gathered":
        """Those files that a pattern below the same folder names, as fetch would take them."""
        pattern = Placeholders.parse(source)
        anything = Placeholders(pattern.folder, pattern.tail_glob)
        paths = {
            name: path for name, path in self.paths.items() if anything.match(name) is not None
        }
        return replace(self, source=source, paths=paths, placeholders=pattern.names)


@contextmanager
def gathered(layout: Layout, source: str, query: str | None) -> Iterator[Gathered]:
    """Bring a source where it can be read, and take away what was brought.

    Raises:
        SourceError: it cannot be had, or is empty.
        ServiceUnavailable: a server is away.
    """
    parsed = parse_source(source)
    if isinstance(parsed, SqlSource) != bool((query or "").strip()):
        raise SourceError(
            "a database is read by a query, and nothing else is",
            "Give --query with an SQL address, for instance --query 'SELECT * FROM customers'.",
        )
    with tempfile.TemporaryDirectory(prefix="modelyard-source-") as name:
        folder = Path(name) / "files"
        folder.mkdir()
        match parsed:
            case LocalSource():
                found = find_local(layout, parsed)
                if not _is_zip(found):
                    yield _checked(source, found)
                    return
                copy_local(found, folder, source)
            case PackageSource():
                bring_package(parsed, folder)
            case DebianSource():
                bring_debian(parsed, folder)
            case HttpSource():
                bring_http(parsed, folder)
            case S3Source():
                bring_s3(parsed, folder, Path(name) / "kept")
            case SqlSource():
                bring_sql(layout, parsed, query or "", folder)
        unpack_lone_zip(folder, source)
        yield _checked(source, {path.as_posix(): folder / path for path in raw_files(folder)})


def _is_zip(found: dict[str, Path]) -> bool:
    return len(found) == 1 and next(iter(found)).lower().endswith(".zip")


def _checked(source: str, paths: dict[str, Path]) -> Gathered:
    if not any(path.stat().st_size for path in paths.values()):
        raise SourceError(f"{source} is empty", "Put the data there, or name another source.")
    return Gathered(source, paths, Placeholders.parse(source).names)
