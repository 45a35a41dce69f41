"""Ingest of tables and texts: typed, cleaned and validated shard by shard, in bounded memory."""

from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from modelyard.artifacts import Layout
from modelyard.data.dataset import Accepted, SplitWriter
from modelyard.data.outputs import remove
from modelyard.data.pii import Tokenizer
from modelyard.data.profile import ColumnProfile, profile_columns
from modelyard.data.quarantine import Quarantine
from modelyard.data.refusals import refuse_failed, refuse_too_many
from modelyard.data.report import DataReport
from modelyard.data.table_clean import Cleaned, clean_rows, leaves_rows_out, refuse_missing_target
from modelyard.data.table_columns import check_formats
from modelyard.data.table_features import add_features
from modelyard.data.table_personal import hide, stored_columns
from modelyard.data.table_scan import Places
from modelyard.data.table_source import open_table
from modelyard.data.table_stage import ORDINAL, SHARD_ROWS, Stage, StageWriter, plain_table
from modelyard.data.table_targets import divide, read_targets, refuse_leaks
from modelyard.data.table_validation import TableValidator
from modelyard.data.targets import Targets
from modelyard.data.validation import Validation
from modelyard.errors import DataRejected, ParamsError
from modelyard.params import DataParams, Field

RESERVED = ("row", "target")
TEXT_SHARD_ROWS = 20_000


@contextmanager
def accept_table(
    layout: Layout, params: DataParams, state_dir: Path, folder: Path, report: DataReport
) -> Iterator[Accepted]:
    """Read, clean, validate and divide the rows; give what ``write_dataset`` writes.

    Shards lie in a folder of their own in ``folder``, which goes before the dataset is whole.

    Raises:
        ModelyardError: see ``modelyard.data.ingest.ingest``.
    """
    check_formats(params)
    work = folder / "work"
    work.mkdir()
    quarantine, places = Quarantine(work), Places()
    source = open_table(layout.raw, params)
    columns = stored_columns(source.fields, params)
    tokenizer = Tokenizer.open(state_dir) if any(item.pii for item in source.fields) else None
    with closing(TableValidator(params, columns, layout.root)) as validator:
        early = not params.features and not leaves_rows_out(params)
        rows = SHARD_ROWS if params.kind == "tabular" else TEXT_SHARD_ROWS
        with StageWriter(work / "read", rows, validator.begin if early else None) as writer:
            for batch in source.batches(rows, places):
                if batch.refused is not None:
                    quarantine.add(batch.refused)
                if len(batch.ordinals):
                    writer.add(
                        batch.ordinals, hide(batch.columns, source.fields, params, tokenizer)
                    )
            stage = writer.finish()
        quarantine.set_aside(places.ragged)
        report.read(places.num_read, quarantine.refused(places.positions), {})
        refuse_missing_target(quarantine, places, params)
        refuse_too_many(report, params)
        cleaned = clean_rows(stage, quarantine, params)
        if params.features:
            stage, columns = add_features(stage, columns, params, layout.root, work)
            validator.columns = columns
        report.validation = validation = validator.validate(stage, quarantine)
    report.read(places.num_read, quarantine.refused(places.positions), cleaned.counts)
    refuse_too_many(report, params)
    refuse_failed(validation)
    yield _accept(stage, columns, cleaned, quarantine, places, params, report)


def _accept(
    stage: Stage,
    columns: dict[str, Field],
    cleaned: Cleaned,
    quarantine: Quarantine,
    places: Places,
    params: DataParams,
    report: DataReport,
) -> Accepted:
    """Divide the rows that are left."""
    kinds = {name: item.type for name, item in columns.items()}
    profiles = profile_columns(stage.tables(columns), kinds, stage.num_kept)
    features = _features(columns, profiles, cleaned, params)
    report.counts = cleaned.counts
    target = read_targets(stage, params)
    parts = divide(stage, target, list(features), params)
    refuse_leaks(stage, target, parts, features, params, places)
    sensitive = [
        name
        for name, item in columns.items()
        if item.sensitive and not item.pii and name not in params.targets
    ]
    # Tokens are no features: they say which rows are whose.
    tokens = [name for name, item in columns.items() if item.pii]
    kept = [*features, *(name for name in (*sensitive, *tokens) if name not in features)]

    def write(folder: Path) -> None:
        _write_splits(folder, stage, kept, target, parts, places)
        quarantine.write(folder / "quarantine.parquet", places.positions)
        remove(folder / "work")

    return Accepted(
        targets=target,
        parts=parts,
        features=[
            {"name": name, "type": _feature_type(item), **_hints(item)}
            for name, item in features.items()
        ],
        sensitive=sensitive,
        profiles=_profile_tree(profiles, columns, [*kept, *params.targets], stage.num_kept),
        validation=report.validation or Validation((), ()),
        refused=report.refused,
        num_read=places.num_read,
        write=write,
        counts={"cleaned": cleaned.as_json()},
    )


def _features(
    columns: dict[str, Field],
    profiles: dict[str, ColumnProfile],
    cleaned: Cleaned,
    params: DataParams,
) -> dict[str, Field]:
    """The columns to learn from, by ``use`` and ``data.clean.constant``.

    The column of a fixed split says where a row stands, and nothing about it.

    Raises:
        DataRejected: a column is constant and ``data.clean.constant`` is ``fail``, or none is left.
    """
    place = params.split.column if params.split.type == "fixed" else None
    used = {
        name: item
        for name, item in columns.items()
        if item.use and name != place and name not in params.targets
    }
    constant = tuple(name for name in used if profiles[name].is_constant)
    if constant and params.clean.constant == "fail":
        raise DataRejected(
            f"column {constant[0]!r} has the same value in all rows, or none, "
            "and data.clean.constant is fail",
            "Set use: false on it, or data.clean.constant: drop.",
        )
    if params.clean.constant == "drop":
        cleaned.constant = constant
        used = {name: item for name, item in used.items() if name not in constant}
    if not used:
        dropped = f"; constant: {', '.join(constant)}" if constant else ""
        raise DataRejected(
            f"no feature is left to learn from{dropped}",
            "Declare further fields, or set use: true on some.",
        )
    for name in used:
        if name in RESERVED:
            raise ParamsError(
                f"a feature is called {name!r}, as a column of the dataset is",
                "Rename it: give the field another name, and its own as header.",
            )
    return used


def _feature_type(item: Field) -> str:
    return "category" if item.type == "string" else item.type


def _hints(item: Field) -> dict[str, Any]:
    """What the contract tells a caller of the model about a value; of tokens it tells nothing."""
    if item.pii:
        return {}
    keys = {"required", "enum", "minimum", "maximum"}
    return item.constraints.model_dump(mode="json", include=keys, exclude_defaults=True)


def _profile_tree(
    profiles: dict[str, ColumnProfile], columns: dict[str, Field], shown: list[str], num_rows: int
) -> dict[str, Any]:
    """The content of profile.json; columns of tokens are left out."""
    wanted = [name for name in dict.fromkeys(shown) if not columns[name].pii]
    return {"rows": num_rows, "columns": {name: profiles[name].as_json() for name in wanted}}


def _write_splits(
    folder: Path,
    stage: Stage,
    names: list[str],
    target: Targets,
    parts: np.ndarray,
    places: Places,
) -> None:
    import pyarrow as pa

    with ExitStack() as stack:
        writer: SplitWriter | None = None
        done = 0
        for _, table in stage.tables([*names, ORDINAL]):
            here = slice(done, done + table.num_rows)
            done += table.num_rows
            rows = places.positions(table.column(ORDINAL).to_numpy())
            columns: dict[str, Any] = {"row": pa.array(rows, pa.int64())}
            columns |= {name: table.column(name) for name in names}
            columns["target"] = target.arrow(target.values[here])
            block = plain_table(pa.table(columns))
            writer = writer or stack.enter_context(SplitWriter(folder, block.schema))
            writer.write(block, parts[here])
