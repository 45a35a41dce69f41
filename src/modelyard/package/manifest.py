"""What a package consists of: every file with its sha256, and one digest that names the package.

The digest covers the model's files alone. The proof and the signature, which are added when the
package is registered, name keys and commits: they stand beside it, so that equal code, data and
params give an equal digest anywhere.
"""

import hashlib
import os
import stat
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from modelyard.artifacts import canonical, read_json, sha256_file, write_json
from modelyard.errors import PackageError

MANIFEST = "manifest.json"
PROOF = "proof.json"
SIGNATURE = "model.sig"
MLMODEL = "MLmodel"
OUTSIDE = frozenset({MANIFEST, PROOF, SIGNATURE, MLMODEL})
"""Not covered by the digest: the manifest itself, and what registering adds."""
FORMAT = 1

_REMEDY = "Take the package from the registry again, or build it again with `modelyard run`."


@dataclass(frozen=True)
class FileEntry:
    """A file of the package: hex sha256 of its content and size in bytes."""

    sha256: str
    size: int


def digest_of(files: dict[str, FileEntry]) -> str:
    """The digest of a package with these files: hex sha256 over their canonical JSON."""
    tree = {name: {"sha256": entry.sha256, "size": entry.size} for name, entry in files.items()}
    return hashlib.sha256(canonical(tree)).hexdigest()


def write_manifest(folder: Path) -> str:
    """Hash every file of ``folder`` and write its ``manifest.json``.

    Args:
        folder: A complete package folder; proof and signature, if they are there, are left out.

    Returns:
        The package's digest, 64 hex digits.

    Raises:
        PackageError: the folder is empty, or holds something that is not a plain file.
    """
    files = {
        name: FileEntry(sha256_file(folder / name), (folder / name).stat().st_size)
        for name in list_files(folder)
        if name not in OUTSIDE
    }
    if not files:
        raise PackageError(f"{folder} holds no file to make a package of", "Run `modelyard run`.")
    digest = digest_of(files)
    tree = {name: {"sha256": entry.sha256, "size": entry.size} for name, entry in files.items()}
    write_json(folder / MANIFEST, {"format": FORMAT, "digest": digest, "files": tree})
    return digest


def read_manifest(folder: Path) -> tuple[str, dict[str, FileEntry]]:
    """Read ``manifest.json`` and check that its digest is that of its own list; no file is hashed.

    Returns:
        The digest and the files by name.

    Raises:
        PackageError: the manifest is missing or malformed, names a path outside the folder, or
            its digest is wrong.
    """
    path = folder / MANIFEST
    try:
        tree = read_json(path)
    except FileNotFoundError:
        raise PackageError(f"{folder} has no {MANIFEST}", _REMEDY) from None
    except ValueError as error:
        raise PackageError(f"{path} is not JSON: {error}", _REMEDY) from None
    files = _parse(path, tree)
    if (digest := digest_of(files)) != tree["digest"]:
        raise PackageError(
            f"{path} gives digest {str(tree['digest'])[:12]} but its files have {digest[:12]}",
            _REMEDY,
        )
    return digest, files


def verify_manifest(folder: Path) -> str:
    """Hash every file again and compare with the manifest.

    Returns:
        The package's digest.

    Raises:
        PackageError: a file is changed, extra, missing or a link; the message names it.
    """
    digest, files = read_manifest(folder)
    found = set(list_files(folder)) - OUTSIDE
    if missing := sorted(files.keys() - found):
        raise PackageError(f"{missing[0]} is missing in {folder}", _REMEDY)
    if extra := sorted(found - files.keys()):
        raise PackageError(f"{extra[0]} in {folder} is not in its manifest", _REMEDY)
    for name, entry in sorted(files.items()):
        path = folder / name
        if path.stat().st_size != entry.size or sha256_file(path) != entry.sha256:
            raise PackageError(f"{name} in {folder} is not the file of its manifest", _REMEDY)
    return digest


def list_files(folder: Path) -> list[str]:
    """The names of all files under ``folder``, sorted, relative, with forward slashes.

    Raises:
        PackageError: ``folder`` is no folder, or something in it is a link, a device, a pipe or
            a socket.
    """
    if not folder.is_dir():
        raise PackageError(f"there is no package folder {folder}", "Run `modelyard run`.")
    names: list[str] = []
    for parent, folders, files in os.walk(folder, followlinks=False):
        for name in [*folders, *files]:
            path = Path(parent, name)
            mode = path.lstat().st_mode
            if not stat.S_ISREG(mode) and not stat.S_ISDIR(mode):
                kind = "a symbolic link" if stat.S_ISLNK(mode) else "not a plain file"
                raise PackageError(f"{path.relative_to(folder)} in {folder} is {kind}", _REMEDY)
            if stat.S_ISREG(mode):
                names.append(path.relative_to(folder).as_posix())
    return sorted(names)


def check_name(name: str) -> str:
    """Return ``name`` when it is a plain relative path inside a folder.

    Raises:
        PackageError: the name is empty, absolute, climbs with ``..``, or holds a backslash or
            a NUL.
    """
    path = PurePosixPath(name)
    plain = path.as_posix() == name and not path.is_absolute() and ".." not in path.parts
    if not plain or name in ("", ".") or "\\" in name or "\0" in name:
        raise PackageError(f"{name!r} is not a path inside a package", _REMEDY)
    return name


def _parse(path: Path, tree: Any) -> dict[str, FileEntry]:
    if not isinstance(tree, dict) or tree.keys() != {"format", "digest", "files"}:
        raise PackageError(f"{path} is not a manifest: it needs format, digest and files", _REMEDY)
    if tree["format"] != FORMAT:
        raise PackageError(
            f"{path} has format {tree['format']!r}; this version of Modelyard reads {FORMAT}",
            "Use the version of Modelyard that wrote it.",
        )
    if not isinstance(tree["files"], dict):
        raise PackageError(f"{path}: files is not a mapping", _REMEDY)
    files: dict[str, FileEntry] = {}
    for name, entry in tree["files"].items():
        valid = (
            isinstance(entry, dict)
            and entry.keys() == {"sha256", "size"}
            and isinstance(entry["sha256"], str)
            and type(entry["size"]) is int
        )
        if not valid or check_name(name) in OUTSIDE:
            raise PackageError(f"{path}: the entry of {name!r} is not possible", _REMEDY)
        files[name] = FileEntry(entry["sha256"], entry["size"])
    return files
