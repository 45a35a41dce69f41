"""The beginning of a delimited file: its text, its first rows, and what may be said of them."""

import codecs
import csv
import gzip
import io
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from modelyard.errors import SourceError
from modelyard.params import DataParams
from modelyard.params.fields import Dialect

DELIMITERS = {",": "comma", ";": "semicolon", "\t": "tab", "|": "bar", " ": "space"}
_DECODERS = {"utf-8": "utf-8-sig", "utf-16": "utf-16", "latin-1": "latin-1"}
_ENCODING_HINT = "Save the file as UTF-8, or set data.dialect.encoding (latin-1, utf-16)."
_MANY = 10


def first_rows(path: Path, dialect: Dialect, size: int) -> Iterator[list[str]]:
    """The rows in the first ``size`` bytes of a file, plain or gzipped; blank lines are left out.

    Raises:
        SourceError: the file cannot be read, or is no text in the dialect's encoding.
    """
    lines = io.StringIO(_first_text(path, dialect.encoding, size), newline="")
    for _ in range(dialect.skip_rows):
        lines.readline()
    # The limit is one for all of Python, and shorter than a text may be.
    csv.field_size_limit(max(csv.field_size_limit(), size))
    reader = csv.reader(lines, delimiter=dialect.delimiter, quotechar=dialect.quote_char)
    try:
        yield from filter(None, reader)
    except csv.Error as error:
        raise SourceError(
            f"{path.name} is not delimited text: {error}", "Check data.source and data.dialect."
        ) from None


def delimiter_hint(dialect: Dialect, what: str, fits: Callable[[Dialect], bool]) -> str:
    """Which other delimiter gives ``what`` is asked for; empty if none does."""
    for delimiter, name in DELIMITERS.items():
        other = dialect.model_copy(update={"delimiter": delimiter})
        if delimiter != dialect.delimiter and fits(other):
            return f"Split at a {name} it has {what}: set data.dialect.delimiter: {delimiter!r}"
    return ""


def listed(names: Sequence[str], params: DataParams) -> str:
    """The columns of a source for a message.

    A first row that is no header holds values. Where some are personal, it is shown only if it has
    half of the names that it should have.
    """
    fields = params.schema_.fields
    known = sum(field.column in names for field in fields)
    if any(field.pii for field in fields) and 2 * known < len(fields):
        return f"{len(names)} that are not shown (pii)"
    shown = ", ".join(map(repr, names[:_MANY]))
    return shown + (f" and {len(names) - _MANY} more" if len(names) > _MANY else "")


def _first_cells(names: Sequence[str], params: DataParams) -> str:
    hidden = any(field.pii for field in params.schema_.fields)
    return "" if hidden else f" ({', '.join(names[:3])}, ...)"


def refuse_numbers(path: Path, names: Sequence[str], params: DataParams) -> None:
    """A row of nothing but numbers is no header.

    Raises:
        SourceError: it is one.
    """
    if names and all(map(is_number, names)):
        raise SourceError(
            f"{path.name}: the first row holds numbers{_first_cells(names, params)}, not names",
            "It looks like there is no header: set data.dialect.header: false",
        )


def is_header(path: Path, names: Sequence[str], params: DataParams) -> SourceError:
    """The error of a header that is not declared as one."""
    return SourceError(
        f"{path.name}: the first row holds names{_first_cells(names, params)}, not values",
        "It looks like a header: set data.dialect.header: true",
    )


def is_number(cell: str) -> bool:
    """Whether a cell reads as a number."""
    try:
        float(cell)
    except ValueError:
        return False
    return True


def _first_text(path: Path, encoding: str, size: int) -> str:
    """The first lines of the file; the last one whole, unless it is the only one."""
    opener: Any = gzip.open if path.suffix.lower() == ".gz" else Path.open
    try:
        with opener(path, "rb") as file:
            block = file.read(size)
    except (OSError, EOFError) as error:
        raise SourceError(
            f"{path.name} is cut off, damaged, or no gzip file: {error}",
            "Fetch or copy the file again, and check its data.sha256.",
        ) from None
    if len(block) == size and b"\n" in block:
        block = block[: block.rindex(b"\n") + 1]
    if block.startswith(b"\x1f\x8b"):
        raise SourceError(f"{path.name} is gzipped", "Give the file a name that ends in .gz")
    if block.startswith(codecs.BOM_UTF16_BE):
        raise SourceError(
            f"{path.name} is UTF-16 with the high byte first, which is not read",
            "Save the file as UTF-8.",
        )
    if block.startswith(codecs.BOM_UTF16_LE) and encoding != "utf-16":
        raise SourceError(
            f"{path.name} is UTF-16 text, not {encoding.upper()}",
            "Set data.dialect.encoding: utf-16",
        )
    try:
        text = codecs.getincrementaldecoder(_DECODERS[encoding])().decode(block)
    except UnicodeDecodeError as error:
        raise SourceError(
            f"{path.name}: line {block[: error.start].count(10) + 1} is not {encoding.upper()} "
            f"text (byte 0x{block[error.start]:02x})",
            _ENCODING_HINT,
        ) from None
    if "\0" in text:
        raise SourceError(
            f"{path.name} is not {encoding.upper()} text: it holds null bytes", _ENCODING_HINT
        )
    return text
