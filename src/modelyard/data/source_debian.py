"""Files of a Debian package as a source: it is downloaded and read, never installed or run."""

import shutil
import subprocess
import tarfile
import tempfile
from pathlib import Path

from modelyard.data.outputs import check_space
from modelyard.data.raw import check_relative, select
from modelyard.data.source import DebianSource
from modelyard.errors import SourceError


def bring_debian(source: DebianSource, folder: Path) -> None:
    """Write the files that ``source`` names into ``folder``.

    Raises:
        SourceError: this machine has no Debian tools, the archive no such version, or the package
            no such file.
        WorkspaceError: the disk is full.
    """
    where = f"the Debian package {source.requirement}"
    with tempfile.TemporaryDirectory(prefix="modelyard-deb-") as place:
        package = _download(source, Path(place))
        content = Path(place) / "content.tar"
        with content.open("wb") as file:
            _run(["dpkg-deb", "--fsys-tarfile", str(package)], where, stdout=file)
        with tarfile.open(content) as archive:
            members = {
                check_relative(member.name.removeprefix("./"), where): member
                for member in archive
                if member.isfile()
            }
            chosen = select(members, source.path, where)
            check_space(folder, sum(members[name].size for name in chosen.values()), where)
            for relative, name in chosen.items():
                _write(archive, members[name], folder / relative)


def _write(archive: tarfile.TarFile, member: tarfile.TarInfo, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    stream = archive.extractfile(member)
    assert stream is not None
    with stream, target.open("xb") as file:
        shutil.copyfileobj(stream, file, 1 << 20)


def _download(source: DebianSource, folder: Path) -> Path:
    """Ask for the version; the archive's own path needs no rights of an administrator."""
    _run(["apt-get", "download", "--quiet", source.requirement], source.requirement, cwd=folder)
    (package,) = folder.glob("*.deb")
    return package


def _run(command: list[str], where: str, **options: object) -> None:
    try:
        done = subprocess.run(
            command,
            stderr=subprocess.PIPE,
            check=False,
            **({"stdout": subprocess.DEVNULL} | options),  # pyright: ignore
        )
    except FileNotFoundError:
        raise SourceError(
            f"{command[0]} is not on this machine, which {where} needs",
            "Unpack the package on a machine with Debian's tools, and name the folder in "
            "data.source.",
        ) from None
    if done.returncode != 0:
        lines = [line for line in done.stderr.decode(errors="replace").splitlines() if line.strip()]
        raise SourceError(
            f"{where} could not be had: {lines[-1] if lines else 'no message'}",
            "Check the name and version in data.source; `apt-get update` renews the list of "
            "versions.",
        )
