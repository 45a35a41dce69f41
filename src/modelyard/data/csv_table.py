"""Delimited text, plain or gzipped, as batches of text columns.

A wrong dialect is told from a wrong row.
"""

import codecs
import csv
import gzip
import io
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from modelyard.data.positions import columns_by_name, columns_by_position, num_columns
from modelyard.data.quarantine import WHOLE_ROW, Rejection, rejection
from modelyard.errors import SourceError
from modelyard.params import DataParams

_PEEK_ROWS = 20
_DELIMITERS = {",": "comma", ";": "semicolon", "\t": "tab", "|": "bar", " ": "space"}
_ENCODINGS = {"utf-8": "utf-8-sig", "utf-16": "utf-16", "latin-1": "latin-1"}
_ENCODING_HINT = "Save the file as UTF-8, or set data.dialect.encoding."
_PLACE = re.compile(r"CSV column #(?P<column>\d+): Row #(?P<row>\d+)")


def open_csv(
    path: Path, params: DataParams
) -> Iterator[tuple[np.ndarray, dict[str, list[Any]], list[Rejection]]]:
    """Yield (rows int64 [N], columns of text by field, rows set aside) for each block of the file.

    Raises:
        SourceError: see ``modelyard.data.readers.read_batches``.
    """
    first = _peek(path, params)
    header = params.dialect.header
    if header:
        positions = columns_by_name(path, first[0], params)
        width = len(first[0])
    else:
        _refuse_header(path, first, params)
        positions = columns_by_position(params)
        width = num_columns(params)
    ragged: list[tuple[int, int, str]] = []
    start, done = 0, 0
    for batch in _blocks(path, params, width, ragged):
        bad = {number for number, _, _ in ragged}
        rows = _positions(start, batch.num_rows, bad)
        start = int(rows[-1]) + 1 if len(rows) else start
        new = ragged[done:]
        done = len(ragged)
        columns = {name: [batch.column(i) for i in places] for name, places in positions.items()}
        yield rows, columns, [_ragged(item, width) for item in new]
    if start == 0 and not ragged:
        raise SourceError(
            f"{path.name} holds no rows after its header", "Check data.source and the file."
        )
    if ragged[done:]:
        yield np.empty(0, np.int64), {}, [_ragged(item, width) for item in ragged[done:]]


def _blocks(
    path: Path, params: DataParams, width: int, ragged: list[tuple[int, int, str]]
) -> Iterator[Any]:
    """Arrow record batches of ``width`` text columns.

    Rows of another width are put into ``ragged`` (row, width, text).
    """
    import pyarrow as pa
    from pyarrow import csv as pa_csv

    names = [str(index) for index in range(width)]
    header = int(params.dialect.header)
    before = 1 + header + params.dialect.skip_rows

    def set_aside(row: Any) -> str:
        ragged.append((row.number - before, row.actual_columns, row.text))
        return "skip"

    try:
        compression = "gzip" if path.suffix.lower() == ".gz" else None
        with pa.input_stream(str(path), compression=compression) as stream:
            reader = pa_csv.open_csv(
                stream,
                # One thread: only then does Arrow number the rows that it sets aside.
                read_options=pa_csv.ReadOptions(
                    use_threads=False,
                    column_names=names,
                    encoding=params.dialect.encoding.replace("utf-8", "utf8"),
                    skip_rows=params.dialect.skip_rows,
                    skip_rows_after_names=header,
                    block_size=max(4 << 20, 16 * width),
                ),
                parse_options=pa_csv.ParseOptions(
                    delimiter=params.dialect.delimiter,
                    quote_char=params.dialect.quote_char,
                    invalid_row_handler=set_aside,
                ),
                convert_options=pa_csv.ConvertOptions(
                    column_types={name: pa.string() for name in names}, strings_can_be_null=False
                ),
            )
            yield from reader
    except (pa.ArrowInvalid, OSError, EOFError, UnicodeError) as error:
        raise _unreadable(path, error, params) from error


def _unreadable(path: Path, error: Exception, params: DataParams) -> SourceError:
    message = str(error)
    if place := _PLACE.search(message):
        row = int(place["row"]) - 1 - int(params.dialect.header) - params.dialect.skip_rows
        return SourceError(
            f"{path.name}: row {row}, column {place['column']} is not "
            f"{params.dialect.encoding.upper()} text",
            _ENCODING_HINT,
        )
    if "compress" in message or "zlib" in message:
        return SourceError(
            f"{path.name} is cut off or damaged: {message}",
            "Fetch or copy the file again, and check its data.sha256.",
        )
    return SourceError(f"{path.name} cannot be read: {message}", "Check data.dialect and the file.")


def _positions(start: int, num: int, bad: set[int]) -> np.ndarray:
    """The first ``num`` row numbers from ``start`` that are not in ``bad``."""
    if not bad:
        return np.arange(start, start + num, dtype=np.int64)
    candidates = np.arange(start, start + num + len(bad), dtype=np.int64)
    return candidates[~np.isin(candidates, list(bad))][:num]


def _ragged(item: tuple[int, int, str], width: int) -> Rejection:
    row, actual, text = item
    return rejection(row, WHOLE_ROW, text, f"has {actual} columns, not {width}")


def _peek(path: Path, params: DataParams) -> list[list[str]]:
    """The first rows (with the header, if any) as text; refuses what cannot be read as declared."""
    rows = _first_rows(path, params)
    if not rows:
        raise SourceError(f"{path.name} holds no rows", "Check data.source and the file.")
    if params.dialect.header:
        return rows
    expected = num_columns(params)
    if expected not in map(len, rows):
        spans = ", ".join(f"{field.name} {field.num_columns}" for field in params.schema_.fields)
        raise SourceError(
            f"{path.name}: row 0 has {len(rows[0])} columns, the schema needs {expected} ({spans})",
            _delimiter_hint(path, params, expected)
            or "Correct data.schema.fields or data.dialect in params.yaml.",
        )
    return rows


def _delimiter_hint(path: Path, params: DataParams, expected: int) -> str:
    for delimiter, name in _DELIMITERS.items():
        dialect = params.dialect.model_copy(update={"delimiter": delimiter})
        rows = _first_rows(path, params.model_copy(update={"dialect": dialect}))
        if expected in map(len, rows):
            return f"Split at a {name} it has {expected}: set data.dialect.delimiter: {delimiter!r}"
    return ""


def _first_rows(path: Path, params: DataParams) -> list[list[str]]:
    dialect = params.dialect
    text = _first_text(path, max(1 << 16, 8 * num_columns(params)), dialect.encoding)
    lines = io.StringIO(text, newline="")
    for _ in range(dialect.skip_rows):
        lines.readline()
    reader = csv.reader(lines, delimiter=dialect.delimiter, quotechar=dialect.quote_char)
    try:
        rows = [row for row, _ in zip(reader, range(_PEEK_ROWS), strict=False)]
    except csv.Error as error:
        raise SourceError(
            f"{path.name} is not delimited text: {error}", "Check data.source."
        ) from error
    return [row for row in rows if row]


def _first_text(path: Path, size: int, encoding: str) -> str:
    """The first lines of the file, whole lines of about ``size`` bytes in all."""
    opener: Any = gzip.open if path.suffix.lower() == ".gz" else Path.open
    try:
        with opener(path, "rb") as file:
            block = b"".join(file.readlines(size))
    except (gzip.BadGzipFile, EOFError) as error:
        raise SourceError(
            f"{path.name} is cut off, damaged, or no gzip file: {error}",
            "Fetch or copy the file again, and check its data.sha256.",
        ) from error
    if block.startswith(b"\x1f\x8b"):
        raise SourceError(f"{path.name} is gzipped", "Give the file a name that ends in .gz")
    try:
        text = codecs.getincrementaldecoder(_ENCODINGS[encoding])().decode(block)
    except UnicodeDecodeError as error:
        row = block[: error.start].count(b"\n")
        raise SourceError(
            f"{path.name}: line {row + 1} is not {encoding.upper()} text "
            f"(byte 0x{block[error.start]:02x})",
            _ENCODING_HINT,
        ) from error
    if "\0" in text:
        raise SourceError(
            f"{path.name} is not {encoding.upper()} text: it holds null bytes", _ENCODING_HINT
        )
    return text


def _refuse_header(path: Path, rows: list[list[str]], params: DataParams) -> None:
    """Refuse a header (a row of names alone before a row of numbers) that is not declared."""
    if len(rows) < 2 or any(map(_is_number, rows[0])) or not any(map(_is_number, rows[1])):
        return
    if any(cell.strip() not in params.schema_.missing_values for cell in rows[0]):
        raise SourceError(
            f"{path.name}: the first row holds names ({', '.join(rows[0][:3])}, ...), not values",
            "It looks like a header: set data.dialect.header: true",
        )


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return True
