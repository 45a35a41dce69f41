"""What is asked of all rows together: unique values, repeated rows, numbers far from the rest."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from modelyard.data.leakage import repeats
from modelyard.data.pii import HIDDEN
from modelyard.data.quarantine import WHOLE_ROW, Quarantine, shortened
from modelyard.data.scalars import MISSING_TARGET
from modelyard.data.table_database import connect, named
from modelyard.data.table_scan import Places
from modelyard.data.table_stage import ORDINAL, Stage
from modelyard.errors import DataRejected
from modelyard.params import DataParams, Field, Outliers
from modelyard.params.fields import NUMERIC

if TYPE_CHECKING:
    import pyarrow as pa

_LONGEST_VALUE = 200


@dataclass
class Cleaned:
    """How many rows were left out, and why; ``columns`` were dropped from the features."""

    not_unique: int = 0
    duplicates: int = 0
    outliers: int = 0
    constant: tuple[str, ...] = ()

    @property
    def counts(self) -> dict[str, int]:
        """What was left out and how often, in words, for the report."""
        named = {
            "rows whose value must be unique and is not": self.not_unique,
            "rows that repeat an earlier one": self.duplicates,
            "rows with an outlier": self.outliers,
            f"constant columns ({', '.join(self.constant)})": len(self.constant),
        }
        return {words: number for words, number in named.items() if number}

    def as_json(self) -> dict[str, Any]:
        """For ``metrics/ingest.json``."""
        return {
            "not_unique": self.not_unique,
            "duplicates": self.duplicates,
            "outliers": self.outliers,
            "constant": list(self.constant),
        }


def clean_rows(stage: Stage, quarantine: Quarantine, params: DataParams) -> Cleaned:
    """Leave out rows by the field's ``unique`` and by ``data.clean``; each goes to quarantine.

    Raises:
        DataRejected: rows are repeated and ``data.clean.duplicates`` is ``fail``.
    """
    cleaned = Cleaned()
    for item in params.schema_.fields:
        if item.constraints.unique and item.name in stage.names:
            cleaned.not_unique += _refuse_repeated(stage, quarantine, item)
    if params.clean.duplicates != "keep":
        cleaned.duplicates = _drop_duplicates(stage, quarantine, params)
    outliers = params.clean.outliers
    if outliers is not None and outliers.policy == "reject":
        for item in params.schema_.fields:
            numeric = item.use and item.type in NUMERIC and not item.pii
            if numeric and item.name not in params.targets:
                cleaned.outliers += _refuse_outliers(stage, quarantine, item.name, outliers)
    return cleaned


def leaves_rows_out(params: DataParams) -> bool:
    """Whether cleaning may be expected to leave out many rows, for which nothing is done before."""
    outliers = params.clean.outliers
    rejects = outliers is not None and outliers.policy == "reject"
    return rejects or params.clean.duplicates == "drop"


def row_hashes(stage: Stage, names: list[str]) -> np.ndarray:
    """A hash of the named columns for each row that is still there, uint64 [n]; NULLs are equal."""
    hashes = np.empty(stage.num_kept, np.uint64)
    done = 0
    listed = ", ".join(map(named, names))
    with connect() as connection:
        for _, table in stage.tables(names):
            connection.register("shard", table)
            found = connection.sql(f"SELECT hash({listed}) AS h FROM shard")  # noqa: S608 - names, quoted
            hashes[done : done + table.num_rows] = found.to_arrow_table()["h"].to_numpy()
            done += table.num_rows
            connection.unregister("shard")
    return hashes


def stable_hashes(stage: Stage, names: list[str]) -> np.ndarray:
    """The same by MD5 over the values as text: equal wherever, and with any DuckDB."""
    hashes = np.empty(stage.num_kept, np.uint64)
    done = 0
    cells = ", ".join(f"coalesce('=' || CAST({named(name)} AS VARCHAR), '')" for name in names)
    with connect() as connection:
        for _, table in stage.tables(names):
            connection.register("shard", table)
            digest = f"md5_number_lower(concat_ws(chr(31), {cells}))"
            query = f"SELECT {digest} AS h FROM shard"  # noqa: S608 - names, quoted
            hashes[done : done + table.num_rows] = connection.sql(query).to_arrow_table()["h"]
            done += table.num_rows
            connection.unregister("shard")
    return hashes


def refuse_missing_target(quarantine: Quarantine, places: Places, params: DataParams) -> None:
    """Count against the run what ``data.missing_target`` does not let go.

    Raises:
        DataRejected: a target is missing and ``data.missing_target`` is ``fail``.
    """
    if params.missing_target != "fail":
        return
    for name in params.targets:
        count, first = quarantine.count(name, MISSING_TARGET)
        if count:
            raise DataRejected(
                f"{count} rows have no {name!r}, first row {places.position(first)}, "
                "and data.missing_target is fail",
                "Complete the rows, or set data.missing_target: drop.",
            )


def _refuse_repeated(stage: Stage, quarantine: Quarantine, item: Field) -> int:
    hashes, present = row_hashes(stage, [item.name]), stage.present(item.name)
    later, _ = repeats(hashes if present is None else hashes[present])
    if present is not None:
        later = present[later]
    reason = "must be unique, and is the value of an earlier row"
    return _refuse(stage, quarantine, later, item.name, reason, hidden=item.pii)


def _drop_duplicates(stage: Stage, quarantine: Quarantine, params: DataParams) -> int:
    """Of rows that are equal in all columns the first one stays.

    In a fixed split the column that names the part is one of them: what stands in two parts is a
    leak, and no repeat.
    """
    later, _ = repeats(row_hashes(stage, stage.names))
    if len(later) and params.clean.duplicates == "fail":
        raise DataRejected(
            f"{len(later)} rows repeat earlier ones, and data.clean.duplicates is fail",
            "Remove them, or set data.clean.duplicates: drop.",
        )
    reason = "repeats an earlier row"
    return _refuse(stage, quarantine, later, WHOLE_ROW, reason, allowed=True)


def _refuse_outliers(stage: Stage, quarantine: Quarantine, name: str, outliers: Outliers) -> int:
    values = stage.column(name).cast("float64", safe=False).to_numpy()
    known = values[~np.isnan(values)]
    if not len(known):
        return 0
    if outliers.method == "zscore":
        middle, spread = float(known.mean()), outliers.factor * float(known.std())
        low, high = middle - spread, middle + spread
    else:
        first, third = np.quantile(known, (0.25, 0.75)).tolist()
        low = first - outliers.factor * (third - first)
        high = third + outliers.factor * (third - first)
    if not low < high:
        return 0  # Most values are the same: any other one would be far from them.
    places = np.flatnonzero((values < low) | (values > high))
    reason = f"is an outlier: outside {low:.6g} to {high:.6g} ({outliers.method})"
    return _refuse(stage, quarantine, places, name, reason, allowed=True)


def _refuse(
    stage: Stage,
    quarantine: Quarantine,
    places: np.ndarray,
    column: str,
    reason: str,
    *,
    allowed: bool = False,
    hidden: bool = False,
) -> int:
    """Put the rows at ``places`` among those still there into quarantine, and leave them out."""
    if not len(places):
        return 0
    indices = np.flatnonzero(stage.kept)[places]
    shown = column if column != WHOLE_ROW and not hidden else None
    quarantine.add(refusals(stage, indices, column, reason, allowed=allowed, value_of=shown))
    stage.drop(indices)
    return len(indices)


def refusals(
    stage: Stage,
    indices: np.ndarray,
    column: str,
    reason: str,
    *,
    allowed: bool = False,
    value_of: str | None = None,
) -> "pa.Table":
    """Rows of the stage as quarantine takes them; ``value_of`` is the column that is shown."""
    import pyarrow as pa

    chosen = np.zeros(stage.num_rows, bool)
    chosen[indices] = True
    parts = []
    for shard in stage.shards:
        here = chosen[shard.start : shard.start + shard.num_rows]
        if not here.any():
            continue
        table = shard.read([ORDINAL] if value_of is None else [ORDINAL, value_of]).filter(here)
        values: Any = [HIDDEN if value_of is None and column != WHOLE_ROW else ""] * len(table)
        if value_of is not None:
            texts = table.column(1).to_pylist()
            values = ["" if text is None else str(text)[:_LONGEST_VALUE] for text in texts]
        parts.append(
            pa.table(
                {
                    "row": table.column(0),
                    "column": pa.array([column] * len(table), pa.string()),
                    "value": shortened(pa.array(values, pa.string())),
                    "reason": pa.array([reason] * len(table), pa.string()),
                    "allowed": pa.array([allowed] * len(table), pa.bool_()),
                }
            )
        )
    return pa.concat_tables(parts)
