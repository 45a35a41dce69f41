"""Files of the project as a source: one, a folder, or those that a pattern matches."""

import logging
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

from modelyard.artifacts import Layout
from modelyard.data.outputs import check_space
from modelyard.data.placeholders import Placeholders
from modelyard.data.raw import is_pattern
from modelyard.data.source import SUPPORTED, LocalSource
from modelyard.errors import SourceError

log = logging.getLogger(__name__)


class NoSuchFile(SourceError):  # noqa: N818 - the name says what happened
    """Nothing is where the source says; a worktree lacks what git ignores."""


def find_local(layout: Layout, source: LocalSource) -> dict[str, Path]:
    """The files that ``source`` names, by the path that they get in ``data/raw``, sorted.

    One file, also the only one that a glob matches, keeps its name alone; several keep their paths
    below the folder or the pattern's fixed part, as does a file whose path gives fields.

    Raises:
        NoSuchFile: there is none.
        SourceError: one is a link out of the project, a link to nothing or in a
            circle, no regular file, or inside the folder that fetch itself writes.
    """
    path = layout.root / source.pattern
    if path.exists() or path.is_symlink():
        if path.is_dir():
            found = dict(_walk(layout, path, source.pattern, None, lambda _: True))
        else:
            found = {path.name: _checked(layout, path, source.pattern)}
    elif is_pattern(source.pattern):
        found = _matching(layout, source)
    else:
        raise NoSuchFile(
            f"data.source {source.pattern!r}: there is no such file in the project's folder",
            "Put the file there, or correct data.source in params.yaml.",
        )
    if not found or any(name[0] in "._" for name in found):
        raise NoSuchFile(
            f"data.source {source.pattern!r} holds no data: there is no such file, or its name "
            "begins with . or _",
            "Put the data there, or correct data.source in params.yaml.",
        )
    return dict(sorted(found.items()))


def copy_local(files: dict[str, Path], folder: Path, name: str) -> None:
    """Copy the files into an empty folder.

    Raises:
        SourceError: one cannot be read, or changed while it was read.
        WorkspaceError: there is not enough space.
    """
    check_space(folder, sum(path.stat().st_size for path in files.values()), name)
    for num, (relative, path) in enumerate(files.items(), start=1):
        target = folder / relative
        target.parent.mkdir(parents=True, exist_ok=True)
        before = path.stat()
        try:
            shutil.copyfile(path, target)
        except PermissionError as error:
            raise SourceError(
                f"data.source {name!r}: {path.name} cannot be read: {error.strerror}",
                "Give this user permission to read it.",
            ) from error
        after = path.stat()
        if (before.st_size, before.st_mtime_ns) != (after.st_size, after.st_mtime_ns):
            raise SourceError(
                f"data.source {name!r}: {path.name} changed while it was read",
                "Nothing was kept. Run again when nobody writes there.",
            )
        if num % 10_000 == 0:
            log.info("fetch: %d of %d files", num, len(files))


def _matching(layout: Layout, source: LocalSource) -> dict[str, Path]:
    pattern = Placeholders.parse(source.pattern)
    # What only looks like the pattern comes along, so that ingest can say why it is refused.
    anything = Placeholders(pattern.folder, pattern.tail_glob)
    folder = layout.root / pattern.folder
    if not folder.is_dir():
        return {}
    depth = None if "**" in pattern.tail else pattern.tail.count("/")
    found = dict(
        _walk(layout, folder, source.pattern, depth, lambda name: anything.match(name) is not None)
    )
    if len(found) == 1 and not pattern.names:
        return {path.name: path for path in found.values()}
    return found


def _walk(
    layout: Layout,
    folder: Path,
    pattern: str,
    depth: int | None,
    wanted: Callable[[str], bool],
) -> Iterator[tuple[str, Path]]:
    """The wanted data files below ``folder`` by their paths from there, links resolved.

    ``depth`` folders deep, or all the way where it is None.
    """
    top = _checked(layout, folder, pattern, is_folder=True)
    pending: list[tuple[Path, tuple[Path, ...]]] = [(folder, (top,))]
    while pending:
        place, above = pending.pop()
        for entry in sorted(os.scandir(place), key=lambda entry: entry.name):
            path, link = Path(entry.path), entry.is_symlink()
            if entry.name[0] in "._" or path == layout.raw:
                continue
            # A link in a circle is an error for scandir's own question, and none for pathlib's.
            if not (path.is_dir() if link else entry.is_dir()):
                name = path.relative_to(folder).as_posix()
                if wanted(name):
                    # Resolving every path would cost as much as copying small files.
                    plain = not link and entry.is_file()
                    found = above[-1] / entry.name if plain else _checked(layout, path, pattern)
                    yield name, found
            elif depth is None or len(above) <= depth:
                resolved = _checked(layout, path, pattern, is_folder=True)
                if resolved in above:
                    raise SourceError(
                        f"data.source {pattern!r}: {path.relative_to(layout.root)} is a link to "
                        "a folder above it",
                        "Remove the link: its files would have no end.",
                    )
                pending.append((path, (*above, resolved)))


def _checked(layout: Layout, path: Path, pattern: str, is_folder: bool = False) -> Path:
    name = str(path.relative_to(layout.root))
    what = f"data.source {pattern!r}" + ("" if name == pattern else f": {name}")
    try:
        resolved = path.resolve(strict=True)
    except (FileNotFoundError, RuntimeError, OSError):
        raise SourceError(
            f"{what} is a link to nothing", "Mend the link or copy the file there."
        ) from None
    if not resolved.is_relative_to(layout.root.resolve()):
        raise SourceError(
            f"{what} is a link out of the project, to {resolved}",
            "Copy the file into the project, so that every clone has it.",
        )
    if resolved.is_relative_to(layout.raw.resolve()):
        raise SourceError(
            f"{what} lies in {layout.raw.relative_to(layout.root)}, "
            "which is emptied before each fetch",
            "Move the file to another folder, for instance source/, and name it there.",
        )
    if not is_folder and not resolved.is_file():
        raise SourceError(f"{what} is not a regular file", SUPPORTED)
    return resolved
