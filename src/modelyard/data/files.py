"""The files that fetch left in ``data/raw``, each a row whose fields stand in its path."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from modelyard.data.pii import HIDDEN
from modelyard.data.placeholders import Placeholders
from modelyard.data.quarantine import WHOLE_ROW, Rejection, rejection
from modelyard.data.raw import raw_files
from modelyard.errors import ParamsError, SourceError
from modelyard.params import DataParams

_CONTENT = ("image", "audio", "text")


@dataclass(frozen=True)
class Listing:
    """The files below a folder, in the order of their paths.

    ``rows`` int64 [N] is a file's position among all of them, ``paths`` are below the folder, with
    ``/``; ``fields`` gives by field name the texts in the path (``pyarrow`` string [N]).
    ``shown`` are the paths as they may be shown. ``rejections`` are the files that were set aside,
    ``num_read`` counts all.
    """

    rows: np.ndarray
    paths: tuple[str, ...]
    shown: tuple[str, ...]
    fields: dict[str, Any]
    rejections: tuple[Rejection, ...]
    num_read: int


def has_files(params: DataParams) -> bool:
    """Whether the source is files whose paths give fields, not one packed table."""
    return bool(Placeholders.parse(params.source).names)


def list_files(folder: Path, params: DataParams) -> Listing:
    """List the files of a source with placeholders.

    Raises:
        ParamsError: placeholders and the schema's fields are not the same.
        SourceError: there is no file.
    """
    import pyarrow as pa

    pattern = Placeholders.parse(params.source)
    names = _names_by_placeholder(pattern, params)
    rows: list[int] = []
    paths: list[str] = []
    texts: dict[str, list[str]] = {name: [] for name in names.values()}
    rejections: list[Rejection] = []
    hidden = any(params.field(name).pii for name in names.values())
    found = [path.as_posix() for path in raw_files(folder)]
    for row, path in enumerate(found):
        values = pattern.match(path)
        reason = _unusable(folder, path) or (pattern.refusal(path) if values is None else "")
        if reason or values is None:
            # The reason may quote the path after its colon.
            shown = HIDDEN if hidden else path.encode("utf-8", "backslashreplace").decode()
            why = reason.partition(":")[0] if hidden else reason
            rejections.append(rejection(row, WHOLE_ROW, shown, why))
            continue
        rows.append(row)
        paths.append(path)
        for placeholder, name in names.items():
            texts[name].append(values[placeholder])
    if not found:
        raise SourceError(
            f"data.source {params.source!r}: there is no file", "Check data.source and the folder."
        )
    fields = {name: pa.array(column, pa.string()) for name, column in texts.items()}
    shown = (HIDDEN,) * len(paths) if hidden else tuple(paths)
    return Listing(
        np.array(rows, np.int64), tuple(paths), shown, fields, tuple(rejections), len(found)
    )


def _names_by_placeholder(pattern: Placeholders, params: DataParams) -> dict[str, str]:
    """Which field a placeholder gives; each field but the file's content needs one."""
    fields = [item for item in params.schema_.fields if item.type not in _CONTENT]
    known = {item.column: item.name for item in fields}
    for item in fields:
        if item.column not in pattern.names:
            raise ParamsError(
                f"data.source {params.source!r} has no placeholder {{{item.column}}}, so nothing "
                f"gives the field {item.name!r}",
                "Put it where the value stands in the path, or remove the field.",
            )
    for name in pattern.names:
        if name not in known and params.schema_.rest == "refuse":
            raise ParamsError(
                f"data.source {params.source!r}: the placeholder {{{name}}} is no field of the "
                f"schema; its fields: {', '.join(known)}",
                "Declare the field, put * there, or set data.schema.rest: drop.",
            )
    return {name: known[name] for name in pattern.names if name in known}


def _unusable(folder: Path, path: str) -> str:
    """Why a file is not even looked into, if so."""
    try:
        path.encode()
    except UnicodeEncodeError:
        return "has a name that is not UTF-8 text"
    return "" if (folder / path).is_file() else "is no regular file"
