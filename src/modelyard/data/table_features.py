"""The user's own features: a function from frame to frame, called on every shard.

It sees the accepted rows after cleaning, typed, without the target. It may add, replace and drop
columns; rows and their order must stay. A shard is a part of the table: what a row becomes must
depend on that row alone, and on nothing but it (no chance, no time), or the dataset would differ
from run to run and from the rows that are served.
"""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from modelyard.custom_code import import_function
from modelyard.data.table_frames import INDEX, to_frame
from modelyard.data.table_stage import ORDINAL, Stage, StageWriter, plain_table
from modelyard.errors import DataRejected, ParamsError
from modelyard.params import DataParams, Field
from modelyard.params.fields import FieldType

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

_KEY = "data.features"


def add_features(
    stage: Stage, columns: dict[str, Field], params: DataParams, root: Path, folder: Path
) -> tuple[Stage, dict[str, Field]]:
    """Call ``data.features`` on each shard; give the new stage and its columns.

    New columns are numbers, integers, booleans, dates or categories, as their values are. A column
    that is no longer what it was keeps ``sensitive`` and ``pii``, but not its constraints.

    Raises:
        ParamsError: there is no such function, it fails, or it gives what is no column.
        DataRejected: it leaves rows out, adds some, or moves them.
    """
    assert params.features is not None
    function = import_function(params.features, root, _KEY)
    schemas: list[pa.Schema] = []
    changed: set[str] = set()
    carried: list[str] = []
    with StageWriter(folder / "made") as writer:
        for shard in stage.shards:
            table = shard.read().filter(stage.kept_of(shard))
            if not table.num_rows:
                continue
            before = plain_table(table.drop_columns([ORDINAL]))
            after = _apply(function, before.select(list(columns)), params)
            carried = [
                name
                for name in _needed(columns, params)
                if name in before.column_names and name not in after.column_names
            ]
            for name in carried:
                after = after.append_column(name, before.column(name))
            known = set(before.column_names)
            changed |= {
                name
                for name in after.column_names
                if name not in known or not after.column(name).equals(before.column(name))
            }
            schemas.append(after.schema)
            writer.add(table.column(ORDINAL).to_numpy(), after)
            writer.flush()
        result = writer.finish()
    schema = _common_schema(schemas, params.features)
    if any(item != schema for item in schemas):
        result = _cast(result, schema, folder / "cast")
    fields = {
        name: _field(name, schema.field(name).type, columns.get(name), name in changed)
        for name in schema.names
        if name not in carried or name in columns
    }
    unused = {
        name: fields[name].model_copy(update={"use": False}) for name in carried if name in fields
    }
    return result, fields | unused


def _needed(columns: dict[str, Field], params: DataParams) -> list[str]:
    """What divides the rows or tells groups apart, and stays whatever the function leaves out."""
    sensitive = [name for name, item in columns.items() if item.sensitive]
    dividing = (*params.split.keys, *params.leakage.groups)
    return list(dict.fromkeys([*dividing, *sensitive, *params.targets]))


def _cast(stage: Stage, schema: "pa.Schema", folder: Path) -> Stage:
    with StageWriter(folder, stage.shards[0].num_rows) as writer:
        for shard in stage.shards:
            table = shard.read()
            ordinals = table.column(ORDINAL).to_numpy()
            writer.add(ordinals, plain_table(table.drop_columns([ORDINAL])).cast(schema))
        return writer.finish()


def _apply(function: Callable[[Any], Any], table: "pa.Table", params: DataParams) -> "pa.Table":
    import pyarrow as pa

    kept = np.ones(table.num_rows, bool)
    frame = to_frame(table, 0, kept).drop(columns=[INDEX, *params.targets], errors="ignore")
    before = frame.index.copy()
    try:
        result = function(frame)
    except Exception as error:
        raise ParamsError(
            f"{_KEY}: {params.features} fails: {type(error).__name__}: {error}",
            "Correct the function; it takes a DataFrame and returns one.",
        ) from error
    _refuse_other_rows(result, before, str(params.features))
    for name in params.targets:
        if name in result.columns:
            raise ParamsError(
                f"{_KEY}: {params.features} makes a column {name!r}, which is the target",
                "Give it another name.",
            )
    arrays: dict[str, Any] = {}
    for name in result.columns:
        array = _array(result[name], str(name), params)
        # What a frame holds as float64 or datetime64[us] may have been something else before.
        if name in table.column_names and array.type != table.schema.field(name).type:
            array = _back(array, table.schema.field(name).type)
        arrays[str(name)] = array
    return pa.table(arrays)


def _back(array: "pa.Array", kind: "pa.DataType") -> "pa.Array":
    import pyarrow as pa

    try:
        return array.cast(kind)
    except pa.ArrowInvalid:
        return array


def _refuse_other_rows(result: Any, before: Any, function: str) -> None:
    import pandas as pd

    if not isinstance(result, pd.DataFrame):
        raise ParamsError(
            f"{_KEY}: {function} returns {type(result).__name__}, not a DataFrame",
            "Return the frame with the features.",
        )
    if len(result) != len(before) or not result.index.equals(before):
        raise DataRejected(
            f"{_KEY}: {function} got {len(before)} rows and gave {len(result)}"
            + ("" if len(result) != len(before) else " in another order"),
            "It must keep every row and their order; leave rows out by constraints.",
        )


def _array(series: "pd.Series", name: str, params: DataParams) -> "pa.Array":
    """A column of the result as one of the types that a dataset has."""
    import pyarrow as pa

    try:
        array = pa.array(series, from_pandas=True)
    except (pa.ArrowInvalid, pa.ArrowTypeError) as error:
        raise ParamsError(
            f"{_KEY}: {params.features}: column {name!r} has no type: {error}",
            "Give numbers, booleans, dates or text.",
        ) from None
    kind = array.type
    if pa.types.is_dictionary(kind):
        array = array.cast(kind.value_type)
        kind = array.type
    for test, target in (
        (pa.types.is_boolean, pa.bool_()),
        (pa.types.is_integer, pa.int64()),
        (pa.types.is_floating, pa.float64()),
        (pa.types.is_date, pa.date32()),
        (pa.types.is_timestamp, pa.timestamp("us")),
        (pa.types.is_large_string, pa.string()),
        (pa.types.is_string, pa.string()),
        (pa.types.is_null, pa.null()),
    ):
        if test(kind):
            return _finite(array.cast(target, safe=False))
    raise ParamsError(
        f"{_KEY}: {params.features}: column {name!r} holds {kind}",
        "Give numbers, booleans, dates or text.",
    )


def _finite(array: "pa.Array") -> "pa.Array":
    """NaN and infinity are missing: they are no numbers."""
    import pyarrow as pa
    import pyarrow.compute as pc

    if not pa.types.is_floating(array.type):
        return array
    finite = pc.call_function("is_finite", [array])
    return pc.call_function("if_else", [finite, array, pa.scalar(None, array.type)])


def _common_schema(schemas: "list[pa.Schema]", function: str) -> "pa.Schema":
    """One type a column over all shards: the widest number, text where all are missing."""
    import pyarrow as pa

    names = schemas[0].names
    for schema in schemas[1:]:
        if schema.names != names:
            raise ParamsError(
                f"{_KEY}: {function} gives other columns for other rows: "
                f"{', '.join(sorted(set(names) ^ set(schema.names))) or 'in another order'}",
                "It must give the same columns for all rows.",
            )
    order = [pa.null(), pa.bool_(), pa.int64(), pa.float64()]
    fields = []
    for name in names:
        kinds = {schema.field(name).type for schema in schemas}
        kinds = kinds - {pa.null()} or {pa.string()}
        if len(kinds) > 1 and not kinds <= set(order):
            raise ParamsError(
                f"{_KEY}: {function}: column {name!r} holds now {kinds.pop()}, now {kinds.pop()}",
                "Give one type for all rows.",
            )
        fields.append((name, max(kinds, key=order.index) if len(kinds) > 1 else kinds.pop()))
    return pa.schema(fields)


def _field(name: str, kind: "pa.DataType", known: Field | None, changed: bool) -> Field:
    """The column's field: the declared one, unless it is another column now."""
    import pyarrow as pa

    if known is not None and not changed:
        return known
    types: dict[pa.DataType, FieldType] = {
        pa.bool_(): "boolean",
        pa.int64(): "integer",
        pa.float64(): "number",
        pa.date32(): "date",
        pa.timestamp("us"): "datetime",
    }
    new = Field(name=name, type=types.get(kind, "category"))
    if known is None:
        return new
    kept: dict[str, Any] = {
        "use": known.use,
        "sensitive": known.sensitive,
        "pii": known.pii,
    }
    if known.type in ("string", "text") and new.type == "category":
        kept["type"] = known.type
    return new.model_copy(update=kept)
