"""Delimited text, plain or gzipped, as batches of text columns.

A wrong dialect is told from a wrong row.
"""

import re
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from modelyard.data.delimited import delimiter_hint, first_rows, is_header, is_number
from modelyard.data.pii import HIDDEN
from modelyard.data.positions import columns_by_name, columns_by_position, num_columns
from modelyard.data.quarantine import WHOLE_ROW, Rejection, rejection
from modelyard.errors import SourceError
from modelyard.params import DataParams
from modelyard.params.fields import Dialect

_PEEK_ROWS = 20
_CELL_BYTES = 64
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
    hidden = any(field.pii for field in params.schema_.fields)
    ragged: list[tuple[int, int, str]] = []
    start, done = 0, 0
    for batch in _blocks(path, params, width, ragged):
        bad = {number for number, _, _ in ragged}
        rows = _positions(start, batch.num_rows, bad)
        start = int(rows[-1]) + 1 if len(rows) else start
        new = ragged[done:]
        done = len(ragged)
        columns = {name: [batch.column(i) for i in places] for name, places in positions.items()}
        yield rows, columns, [_ragged(item, width, hidden) for item in new]
    if start == 0 and not ragged:
        raise SourceError(
            f"{path.name} holds no rows after its header", "Check data.source and the file."
        )
    if ragged[done:]:
        yield np.empty(0, np.int64), {}, [_ragged(item, width, hidden) for item in ragged[done:]]


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
            "Save the file as UTF-8, or set data.dialect.encoding.",
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


def _ragged(item: tuple[int, int, str], width: int, hidden: bool) -> Rejection:
    row, actual, text = item
    return rejection(
        row, WHOLE_ROW, HIDDEN if hidden else text, f"has {actual} columns, not {width}"
    )


def _peek(path: Path, params: DataParams) -> list[list[str]]:
    """The first rows (with the header, if any) as text; refuses what cannot be read as declared."""
    rows = _first_rows(path, params, params.dialect)
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
    def fits(dialect: Dialect) -> bool:
        return expected in map(len, _first_rows(path, params, dialect))

    return delimiter_hint(params.dialect, str(expected), fits)


def _first_rows(path: Path, params: DataParams, dialect: Dialect) -> list[list[str]]:
    size = max(1 << 16, _CELL_BYTES * num_columns(params))
    return list(islice(first_rows(path, dialect, size), _PEEK_ROWS))


def _refuse_header(path: Path, rows: list[list[str]], params: DataParams) -> None:
    """Refuse a header (a row of names alone before a row of numbers) that is not declared."""
    if len(rows) < 2 or any(map(is_number, rows[0])) or not any(map(is_number, rows[1])):
        return
    if any(cell.strip() not in params.schema_.missing_values for cell in rows[0]):
        raise is_header(path, rows[0], params)
