"""The result of a scoring: parts, quarantine and manifest, made of finished blocks."""

import os
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from modelyard.artifacts import read_json, sha256_file
from modelyard.runs.score.blocks import Source, as_table

if TYPE_CHECKING:
    import pyarrow as pa

MANIFEST, QUARANTINE, PREDICTIONS = "manifest.json", "quarantine.parquet", "predictions"
_MOST_REASONS = 10


@dataclass(frozen=True)
class Scored:
    """A finished scoring; ``rows`` counts those read, scored and rejected.

    ``unmet`` are expectations on a part as a whole that it did not meet; ``is_new`` says that the
    result was not there before.
    """

    output: str
    name: str
    version: int
    digest: str
    input_sha256: str
    rows: dict[str, int]
    unmet: tuple[str, ...]
    is_new: bool


def read_scored(output: Path, *, is_new: bool) -> Scored:
    """What the manifest of a result says."""
    tree = read_json(output / MANIFEST)
    return Scored(
        output=str(output),
        name=tree["model"],
        version=tree["version"],
        digest=tree["digest"],
        input_sha256=tree["input_sha256"],
        rows=tree["rows"],
        unmet=tuple(tree["unmet"]),
        is_new=is_new,
    )


def write_table(path: Path, table: "pa.Table") -> None:
    """Write Parquet, whole or not at all."""
    import pyarrow.parquet as pq

    temporary = path.with_name(f".{path.name}")
    pq.write_table(table, temporary, compression="zstd")
    with temporary.open("rb") as file:
        os.fsync(file.fileno())
    temporary.rename(path)


def write_parts(blocks: Path, result: Path, source: Source) -> list[dict[str, Any]]:
    """The blocks' predictions as parts of the result, rows by their place in the source.

    Where rows are files, column ``file`` has their paths, unless paths tell personal data.

    Returns:
        File, rows and sha256 of each, for the manifest.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    fields = source.contract.params.schema_.fields
    files = None if any(field.pii for field in fields) else source.files
    (result / PREDICTIONS).mkdir()
    parts = []
    for path in sorted(blocks.glob("[0-9]*[0-9].parquet")):
        target = result / PREDICTIONS / f"part-{path.name}"
        if source.ragged or files is not None:
            table = pq.read_table(path)
            rows = source.moved(table.column("row").to_numpy())
            table = table.set_column(0, "row", pa.array(rows))
            if files is not None:
                names = [_shown(files[row]) for row in rows]
                table = table.add_column(1, "file", pa.array(names, pa.string()))
            write_table(target, table)
        else:
            os.link(path, target)
        rows = pq.read_metadata(target).num_rows
        parts.append(
            {"file": f"{PREDICTIONS}/{target.name}", "rows": rows, "sha256": sha256_file(target)}
        )
    return parts


def _shown(path: Path) -> str:
    return path.as_posix().encode("utf-8", "backslashreplace").decode()


def write_quarantine(blocks: Path, path: Path, source: Source) -> list[str]:
    """Write the refused rows in the order of the source.

    Returns:
        The commonest columns and reasons, as lines with their count.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    tables = [as_table(source.ragged)]
    for found in sorted(blocks.glob("[0-9]*.refused.parquet")):
        table = pq.read_table(found)
        rows = pa.array(source.moved(table.column("row").to_numpy()), pa.int64())
        tables.append(table.set_column(0, "row", rows).cast(tables[0].schema))
    table = pa.concat_tables(tables)
    table = table.sort_by([(name, "ascending") for name in table.column_names])
    write_table(path, table)
    keys = zip(table["column"].to_pylist(), table["reason"].to_pylist(), strict=True)
    counts = Counter(f"{column.partition('[')[0]}: {reason}" for column, reason in keys)
    ranked = sorted(counts.items(), key=lambda pair: (-pair[1], pair[0]))
    return [f"{count} x {text}" for text, count in ranked[:_MOST_REASONS]]
