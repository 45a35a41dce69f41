"""How a delimited file is written: encoding, delimiter, header and the lines before it."""

import codecs
import csv
import gzip
import io
import re
import zlib
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, cast

from modelyard.errors import SourceError

NUMBER = re.compile(r"[+-]?([0-9]+(\.[0-9]*)?|\.[0-9]+)([eE][+-]?[0-9]+)?")
_DELIMITERS = (",", ";", "\t", "|")
_SAMPLE = 1 << 20
_BLOCK = 1 << 22
_MAX_LINES = 2000
_MAX_SKIPPED = 50


@dataclass(frozen=True)
class FoundDialect:
    """What ``data.dialect`` should say, and the columns' names; by position without a header.

    ``evidence`` says in words how each was found, where it is not the default.
    """

    delimiter: str
    header: bool
    encoding: str
    skip_rows: int
    columns: tuple[str, ...]
    evidence: str

    def tree(self) -> dict[str, object]:
        """The keys that differ from the defaults."""
        found = {
            "delimiter": (self.delimiter, ","),
            "header": (self.header, True),
            "encoding": (self.encoding, "utf-8"),
            "skipRows": (self.skip_rows, 0),
        }
        return {key: value for key, (value, default) in found.items() if value != default}


def find_dialect(path: Path) -> FoundDialect:
    """Look at a CSV or TSV file, plain or gzipped.

    The encoding is that of the whole file; the rest is judged by its first megabyte.

    Raises:
        SourceError: the file is empty, cut off, no text, has one column only, or names a column
            twice.
    """
    encoding, sample = _decode(path)
    lines = _lines(sample)
    if not lines:
        raise SourceError(f"{path.name} holds no rows", "Put the data there, or name another file.")
    delimiter, width = _delimiter(path, lines)
    alone = (len(next(csv.reader([line], delimiter=delimiter), [])) for line in lines)
    skipped = next((index for index, cells in enumerate(alone) if cells == width), 0)
    skipped = skipped if skipped <= _MAX_SKIPPED else 0
    body = [row for row in csv.reader(lines[skipped:], delimiter=delimiter) if len(row) == width]
    header = _has_header(body)
    columns = tuple(cell.strip() for cell in body[0]) if header else tuple(map(str, range(width)))
    if header:
        _check_names(path, columns)
    said = [f"{width} columns"]
    said += [f"divided by {delimiter!r}"] if delimiter != "," else []
    said += [] if header else ["the first row holds values, not names"]
    said += [f"{encoding} by its bytes"] if encoding != "utf-8" else []
    said += [f"{skipped} lines before the first row of {width} cells"] if skipped else []
    return FoundDialect(delimiter, header, encoding, skipped, columns, ", ".join(said))


def header_of(path: Path, dialect: FoundDialect) -> tuple[str, ...]:
    """The names in the header of another file of the same dialect."""
    with _opened(path) as file:
        encoding = "utf-8-sig" if dialect.encoding == "utf-8" else dialect.encoding
        lines = _lines(file.read(_SAMPLE).decode(encoding, "ignore"))
    rows = csv.reader(lines[dialect.skip_rows :], delimiter=dialect.delimiter)
    return tuple(cell.strip() for cell in next(rows, []))


def is_number(cell: str) -> bool:
    """Whether a cell holds a number as the contract reads one: with a point, without spaces."""
    return NUMBER.fullmatch(cell.strip()) is not None


def _decode(path: Path) -> tuple[str, str]:
    """The encoding of the whole file, and its first characters."""
    try:
        with _opened(path) as file:
            head = file.read(_SAMPLE)
            if head.startswith(codecs.BOM_UTF16_BE):
                raise SourceError(
                    f"{path.name} is UTF-16 with the high byte first, which is not read",
                    "Save the file as UTF-8.",
                )
            if head.startswith(codecs.BOM_UTF16_LE):
                return "utf-16", head[: len(head) // 2 * 2].decode("utf-16", "replace")
            if b"\0" in head:
                raise SourceError(
                    f"{path.name} holds null bytes: it is no table in text",
                    "Give CSV, TSV (also .gz) or Parquet.",
                )
            encoding = "utf-8" if _is_utf8(head, file) else "latin-1"
            text = head.decode(encoding, "ignore").removeprefix("\ufeff")
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise SourceError(
            f"{path.name} is cut off, damaged, or no gzip file: {error}", "Copy the file again."
        ) from None
    except OSError as error:
        raise SourceError(
            f"{path.name} cannot be read: {error}", "Check its permissions."
        ) from None
    return encoding, text


def _opened(path: Path) -> BinaryIO:
    if path.name.lower().endswith(".gz"):
        return cast("BinaryIO", gzip.open(path, "rb"))
    return path.open("rb")


def _is_utf8(block: bytes, file: BinaryIO) -> bool:
    decoder = codecs.getincrementaldecoder("utf-8")()
    try:
        while block:
            if not block.isascii() or decoder.getstate()[0]:
                decoder.decode(block)
            block = file.read(_BLOCK)
        decoder.decode(b"", final=True)
    except UnicodeDecodeError:
        return False
    return True


def _lines(text: str) -> list[str]:
    """The first whole lines, empty ones among them; none where all are empty."""
    lines = io.StringIO(text, newline="").readlines()
    if len(text) >= _SAMPLE // 4 and len(lines) > 1 and not lines[-1].endswith(("\n", "\r")):
        lines.pop()
    return lines[:_MAX_LINES] if any(map(str.strip, lines)) else []


def _delimiter(path: Path, lines: list[str]) -> tuple[str, int]:
    """The delimiter that gives most rows the same number of cells, above one; and that number."""
    best: tuple[float, int, str, int] | None = None
    for delimiter in _DELIMITERS:
        try:
            widths = Counter(len(row) for row in csv.reader(lines, delimiter=delimiter) if row)
        except csv.Error:
            continue
        width, count = max(widths.items(), key=lambda item: (item[0] > 1, item[1]))
        if width > 1:
            share = count / widths.total()
            found = (round(share, 2), width, delimiter, width)
            best = found if best is None or found > best else best
    if best is None or best[0] < 0.5:
        raise SourceError(
            f"{path.name} holds no table that divides by comma, semicolon, tab or |",
            "A table needs two columns at least: something to learn from, and what to learn.",
        )
    return best[2], best[3]


def _has_header(rows: list[list[str]]) -> bool:
    """Whether the first row holds names: none a number, none twice, unlike what stands below."""
    first, rest = [cell.strip() for cell in rows[0]], rows[1:]
    if any(map(is_number, first)) or sum(not cell for cell in first) > 1:
        return False
    if not rest:
        return True
    columns = list(zip(*rest, strict=True))
    below = [any(map(is_number, column)) for column in columns]
    if any(below):
        return True
    seen = sum(
        cell in {value.strip() for value in column}
        for cell, column in zip(first, columns, strict=True)
    )
    return seen * 2 < len(first)


def _check_names(path: Path, columns: tuple[str, ...]) -> None:
    for name, count in Counter(columns).items():
        if count > 1:
            raise SourceError(
                f"{path.name} has {count} columns named {name!r}", "Rename them in the source."
            )
        if not name:
            raise SourceError(
                f"{path.name}: column {columns.index(name)} has no name in the header",
                "Name it in the source (a table saved with its row numbers has such a column; "
                "save it without them).",
            )
