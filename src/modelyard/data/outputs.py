"""Stage outputs that are whole or absent: built in a temporary sibling, then renamed into place."""

import errno
import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from modelyard.errors import WorkspaceError


@contextmanager
def replaced_folder(target: Path) -> Iterator[Path]:
    """Give an empty folder that takes the place of ``target`` when the block ends without an error.

    After an error ``target`` is as it was. What an earlier, killed process left half-built beside
    it is removed first.

    Raises:
        WorkspaceError: the disk is full, or the folder cannot be written.
    """
    prefix = f".{target.name}."
    with disk_errors(target):
        target.parent.mkdir(parents=True, exist_ok=True)
        name = re.compile(rf"{re.escape(prefix)}[^.]+\.partial")
        for leftover in [path for path in target.parent.iterdir() if name.fullmatch(path.name)]:
            shutil.rmtree(leftover)
        partial = Path(tempfile.mkdtemp(dir=target.parent, prefix=prefix, suffix=".partial"))
        try:
            partial.chmod(0o755)
            yield partial
            remove(target)
            partial.replace(target)
        except BaseException:
            shutil.rmtree(partial, ignore_errors=True)
            raise


@contextmanager
def disk_errors(place: Path) -> Iterator[None]:
    """Turn a full disk or a folder without write permission into an error that names ``place``."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise WorkspaceError(
                f"there is no space left to write {place}", "Free some space, then run again."
            ) from error
        if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
            raise WorkspaceError(
                f"{error.filename or place} cannot be written: {error.strerror}",
                "Give this user write permission there, then run again.",
            ) from error
        raise


def check_space(folder: Path, needed: int, name: str) -> None:
    """Compare ``needed`` bytes with the free space of the disk that ``folder`` is on.

    Raises:
        WorkspaceError: there is less.
    """
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise WorkspaceError(
            f"there is no space left for {name}: it takes {needed / 1e6:,.1f} MB, "
            f"and {free / 1e6:,.1f} MB are free",
            "Free some space, then run again.",
        )


def remove(path: Path) -> None:
    """Remove a file or a folder, if it is there."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
