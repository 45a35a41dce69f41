"""Zip files as sources: read with limits, so that no archive writes elsewhere or fills the disk."""

import lzma
import stat
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from modelyard.data.outputs import check_space, remove
from modelyard.data.raw import check_relative, is_data, refuse_clash
from modelyard.errors import SourceError

MAX_RATIO = 250
"""Bytes out for a byte in; text in tables stays below 50, and deflate ends at 1032."""
_SMALL = 16 << 20
"""Bytes of a member that no ratio makes dangerous."""
_BLOCK = 1 << 20
_DAMAGE = (zlib.error, lzma.LZMAError)


@contextmanager
def opened(path: Path, name: str) -> Iterator[zipfile.ZipFile]:
    """Open a zip file; what is damaged in it is an error that names it."""
    try:
        with zipfile.ZipFile(path) as archive:
            yield archive
    except (zipfile.BadZipFile, NotImplementedError, EOFError, *_DAMAGE) as error:
        raise SourceError(
            f"{name} is damaged or no zip file that can be read: {error}", "Fetch or pack it again."
        ) from error


def extract(archive: zipfile.ZipFile, members: dict[str, str], folder: Path, name: str) -> None:
    """Write ``members`` (path in ``folder`` -> name in the archive), within the limits.

    No more than the declared size of a member is ever read from it, so that the sizes can be
    judged before anything is written.

    Raises:
        SourceError: a member would leave the folder, is a link, is encrypted, is packed more
            tightly than ``MAX_RATIO``, or has the name of a folder.
        WorkspaceError: all of them need more than the free space.
    """
    refuse_clash(members, name)
    infos = {relative: archive.getinfo(member) for relative, member in members.items()}
    for relative, info in infos.items():
        _check_member(relative, info, name)
    check_space(folder, sum(info.file_size for info in infos.values()), name)
    for relative, info in infos.items():
        target = folder / relative
        target.parent.mkdir(parents=True, exist_ok=True)
        with archive.open(info) as member, target.open("xb") as file:
            while block := member.read(_BLOCK):
                file.write(block)


def unpack_lone_zip(folder: Path, name: str) -> None:
    """Replace the one ``.zip`` in ``folder``, if that is all that is in it, by its data files."""
    (path, *others) = folder.iterdir()
    if others or path.suffix.lower() != ".zip" or not path.is_file():
        return
    with opened(path, name) as archive:
        names = [info.filename for info in archive.infolist() if not info.is_dir()]
        members = {member: member for member in names if is_data(check_relative(member, name))}
        if not members:
            raise SourceError(f"{name} holds no file", "Pack the data into it, or correct it.")
        if len(members) == 1:
            members = {member.rpartition("/")[2]: member for member in members}
        # Its own name may be that of a member.
        packed = path.rename(path.with_name("_packed.zip"))
        extract(archive, members, folder, name)
    remove(packed)


def _check_member(relative: str, info: zipfile.ZipInfo, name: str) -> None:
    check_relative(relative, name)
    if stat.S_ISLNK(info.external_attr >> 16):
        raise SourceError(f"{name}: {info.filename} is a link", "Pack the file itself.")
    if info.flag_bits & 1:
        raise SourceError(f"{name}: {info.filename} is encrypted", "Pack it without a password.")
    ratio = info.file_size / max(info.compress_size, 1)
    if info.file_size > _SMALL and ratio > MAX_RATIO:
        raise SourceError(
            f"{name}: {info.filename} would grow {ratio:,.0f} times, to "
            f"{info.file_size / 1e6:,.0f} MB, more than {MAX_RATIO} times",
            "It looks like a zip bomb. If it is data, unpack it yourself and name the file.",
        )
