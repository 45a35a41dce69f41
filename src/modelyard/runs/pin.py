"""Whether a local source is still the file that ``data.sha256`` names.

The file outside is no output of any stage, so DVC does not look at it: a changed one would be
passed over in silence.
"""

from hashlib import sha256
from pathlib import Path

from modelyard.artifacts import Layout, sha256_file
from modelyard.data.source import LocalSource, find_local, parse_source
from modelyard.errors import SourceError
from modelyard.params import DataParams


def check_pin(root: Path, params: DataParams) -> None:
    """Compare a local source, where it is there, with its pin.

    Raises:
        SourceError: it is another file now; the message has both checksums.
    """
    found = moved_on(root, params)
    if found == sha256(b"").hexdigest():
        raise SourceError(
            f"data.source {params.source!r} is empty", "Put the data there, or correct it."
        )
    if found:
        raise SourceError(
            f"data.source {params.source!r} has sha256 {found}, "
            f"but data.sha256 names {params.sha256}",
            f"It changed since it was pinned. If you want it as it is, set data.sha256: {found}",
        )


def moved_on(root: Path, params: DataParams) -> str | None:
    """The sha256 of a local source that is not the pinned file any more; None where it is."""
    source = parse_source(params.source)
    if not isinstance(source, LocalSource) or not (root / source.pattern).is_file():
        return None
    digest = sha256_file(find_local(Layout(root), source))
    return None if digest == params.sha256 else digest
