"""What a table's rows come from: files of a table, or a folder of texts whose paths give fields."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from modelyard.data.files import Listing, has_files, list_files
from modelyard.data.pii import HIDDEN
from modelyard.data.quarantine import Rejection, rejection
from modelyard.data.table_columns import add_functions, column_sql
from modelyard.data.table_database import connect, named
from modelyard.data.table_files import TableFile, table_files
from modelyard.data.table_infer import infer_fields
from modelyard.data.table_scan import Places, ScannedBatch, query, scan, split_batch
from modelyard.params import DataParams, Field

_TEXT_BATCH = 2000
_LARGEST_TEXT = 10_000_000


@dataclass(frozen=True)
class TableSource:
    """An open source; ``fields`` are the schema's, and those that ``schema.rest: infer`` adds."""

    params: DataParams
    fields: tuple[Field, ...]
    files: tuple[TableFile, ...]
    folder: Path

    def batches(self, rows: int, places: Places) -> Iterator[ScannedBatch]:
        """Every row once, about ``rows`` a batch; ``places`` is filled on the way.

        Raises:
            SourceError: see ``modelyard.data.table_scan.scan``.
        """
        if self.files:
            return scan(list(self.files), self.fields, self.params, rows, places)
        return _scan_texts(self.folder, self.fields, self.params, places)


def open_table(raw: Path, params: DataParams, optional: tuple[str, ...] = ()) -> TableSource:
    """Open what fetch left in the folder ``raw``.

    Args:
        raw: The folder.
        params: The contract.
        optional: Fields that may be absent, such as the target when rows are to be predicted.

    Raises:
        SourceError: see ``modelyard.data.table_files.table_files``.
    """
    declared = params.schema_.fields
    if params.kind == "text" and has_files(params):
        return TableSource(params, declared, (), raw)
    files = table_files(raw, params, optional)
    present = tuple(item for item in declared if any(item.name in file.positions for file in files))
    return TableSource(params, (*present, *infer_fields(files, params)), tuple(files), raw)


def _scan_texts(
    folder: Path, fields: tuple[Field, ...], params: DataParams, places: Places
) -> Iterator[ScannedBatch]:
    """Read the listed files, each a row: its text stands in the file, the rest in its path."""
    listing = list_files(folder, params)
    texts: list[str | None] = []
    kept: list[int] = []
    aside: list[Rejection] = list(listing.rejections)
    with connect() as connection:
        add_functions(connection, params)
        for place, (row, path) in enumerate(zip(listing.rows, listing.paths, strict=True)):
            text = _read_text(folder / path, params)
            if text is None:
                shown = HIDDEN if any(item.pii for item in fields) else path
                reason = f"is not {params.dialect.encoding.upper()} text"
                if (folder / path).stat().st_size > _LARGEST_TEXT:
                    reason = f"is larger than {_LARGEST_TEXT:,} bytes"
                aside.append(rejection(int(row), _text_field(fields), shown, reason))
                continue
            texts.append(text)
            kept.append(place)
            if len(texts) == _TEXT_BATCH:
                yield _text_batch(listing, kept, texts, fields, params, connection, places)
                texts, kept = [], []
        if texts:
            yield _text_batch(listing, kept, texts, fields, params, connection, places)
    places.add(aside)


def _text_batch(
    listing: Listing,
    kept: list[int],
    texts: list[str | None],
    fields: tuple[Field, ...],
    params: DataParams,
    connection: Any,
    places: Places,
) -> ScannedBatch:
    import pyarrow as pa

    raw = {
        item.name: pa.array(texts, pa.string())
        if item.type == "text"
        else listing.fields[item.name].take(kept)
        for item in fields
    }
    columns = [column_sql(item, named(item.name), "VARCHAR", params) for item in fields]
    connection.register("texts", pa.table(raw))
    found = connection.sql(query(columns, "texts")).to_arrow_table()
    connection.unregister("texts")
    batch = split_batch(found.combine_chunks().to_batches()[0], places.num_rows, columns)
    places.num_rows += batch.num_rows
    return batch


def _read_text(path: Path, params: DataParams) -> str | None:
    """The file's text; None where it is too large or in another encoding."""
    if path.stat().st_size > _LARGEST_TEXT:
        return None
    encoding = "utf-8-sig" if params.dialect.encoding == "utf-8" else params.dialect.encoding
    try:
        return path.read_text(encoding=encoding)
    except UnicodeError:
        return None


def _text_field(fields: tuple[Field, ...]) -> str:
    return next(item.name for item in fields if item.type == "text")
