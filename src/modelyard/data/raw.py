"""What lies in ``data/raw``: one file or a tree, its names, and the one checksum of the whole.

A name that begins with ``.`` or ``_``, of a file or of a folder above it, is no data (a hidden
file, a marker such as ``_SUCCESS``): it is neither fetched nor read.
"""

import hashlib
import os
from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from pathlib import Path, PurePosixPath

from modelyard.artifacts import canonical, sha256_file
from modelyard.data.placeholders import Placeholders
from modelyard.errors import SourceError
from modelyard.params import DataParams

QUERY = "_query.sql"
"""Beside the rows of a database: the query that gave them."""
_MAGIC = frozenset("*?{}")


def raw_files(folder: Path) -> list[Path]:
    """The data files at or below ``folder``, relative to it, sorted by path."""
    found = []
    for place, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if name[0] not in "._"]
        found += [(Path(place) / name).relative_to(folder) for name in names if name[0] not in "._"]
    return sorted(found, key=Path.as_posix)


def raw_sha256(folder: Path) -> str:
    """The checksum that ``data.sha256`` names, hex.

    Of the file, where one file stands in ``folder`` itself; else of the canonical JSON list of
    (path, sha256) of all files, sorted by path.
    """
    return files_sha256({path.as_posix(): folder / path for path in raw_files(folder)})


def files_sha256(files: dict[str, Path]) -> str:
    """The same of files that are to lie in ``data/raw`` by these paths."""
    if len(files) == 1 and "/" not in next(iter(files)):
        return sha256_file(next(iter(files.values())))
    listed = [[name, sha256_file(files[name])] for name in sorted(files)]
    return hashlib.sha256(canonical(listed)).hexdigest()


def is_of_query(folder: Path, params: DataParams) -> bool:
    """Whether what lies in ``folder`` is the answer to ``data.query``, if there is one."""
    path = folder / QUERY
    return (path.read_text(encoding="utf-8") if path.is_file() else None) == params.query


def check_query(folder: Path, params: DataParams) -> None:
    """Refuse the rows of another query.

    DVC cannot name ``data.query`` among the params of ``fetch``, as most projects have none: where
    it is changed, the flow fetches again, and ``dvc repro`` ends here.

    Raises:
        SourceError: ``folder`` holds them.
    """
    if not is_of_query(folder, params):
        raise SourceError(
            "data/raw holds the rows of another data.query than params.yaml has",
            "`dvc repro --force --single-item fetch` asks the database; `modelyard run` does so "
            "by itself.",
        )


def is_data(name: str) -> bool:
    """Whether no part of a relative path begins with ``.`` or ``_``."""
    return all(part and part[0] not in "._" for part in name.split("/"))


def refuse_clash(names: Mapping[str, str], place: str) -> None:
    """Of paths in ``data/raw`` (to the names at the source) none is a folder above another.

    Raises:
        SourceError: one is.
    """
    for relative in names:
        above = [relative[:at] for at, letter in enumerate(relative) if letter == "/"]
        if clash := next((part for part in above if part in names), None):
            raise SourceError(
                f"{place} holds both {names[clash]!r} and {names[relative]!r}: "
                "a file cannot be a folder too",
                "Rename one of the two.",
            )


def is_pattern(path: str) -> bool:
    """Whether a path has ``*``, ``?`` or a placeholder in it."""
    return not _MAGIC.isdisjoint(path)


def check_relative(name: str, where: str) -> str:
    """Return a name from an archive or a bucket if a file of this name stays in its folder.

    Raises:
        SourceError: it would leave it, or is no name of a file.
    """
    parts = name.split("/")
    if not name or "\\" in name or "\0" in name or {"", ".", ".."} & set(parts):
        raise SourceError(
            f"{where} holds {name!r}, which is no relative path of a file",
            "Nothing was written. Rename it at the source.",
        )
    return name


def select(names: Iterable[str], path: str, where: str) -> dict[str, str]:
    """Those of ``names`` that ``path`` means, by the path that they get in ``data/raw``.

    ``path`` is one file, which keeps its own name, or a folder or a pattern, whose files keep their
    paths below the folder or below the pattern's fixed part.

    Raises:
        SourceError: there is none; the message names ``where`` and the nearest.
    """
    known = sorted(names)
    if path in known:
        return {PurePosixPath(path).name: path}
    if is_pattern(path):
        pattern = Placeholders.parse(path)
        prefix = f"{pattern.folder}/" if pattern.folder else ""
        anything = Placeholders(pattern.folder, pattern.tail_glob)
        found = {
            name.removeprefix(prefix): name
            for name in known
            if name.startswith(prefix) and anything.match(name.removeprefix(prefix)) is not None
        }
    else:
        prefix = f"{path.rstrip('/')}/" if path else ""
        found = {name.removeprefix(prefix): name for name in known if name.startswith(prefix)}
    found = {relative: name for relative, name in found.items() if is_data(relative)}
    if not found:
        near = get_close_matches(path, known, n=3, cutoff=0.3)
        raise SourceError(
            f"{where} holds no file {path!r}",
            f"Nearest: {', '.join(near)}" if near else f"It holds {len(known)} files.",
        )
    return found
