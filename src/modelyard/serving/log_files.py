"""The prediction log as Parquet: one row a predicted row, a column an input.

The files lie in ``NAME/predictions/DATE/``, the date being that of the answer in UTC. They and
their folders are for their owner alone. Arrow is imported where it is used: no server worker does.
"""

import base64
import math
import os
from contextlib import suppress
from datetime import UTC, date, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from modelyard.errors import WorkspaceError
from modelyard.serving.log_spool import FOLDER, SPOOL, is_closed, read_spool

if TYPE_CHECKING:
    import pyarrow as pa

INPUT = "input_"
"""Before the name of an input in its column's."""
_MICROSECONDS = 1_000_000
_INT64 = 2**63


def read_predictions(
    folder: Path, since: datetime | None = None, until: datetime | None = None
) -> "pa.Table":
    """The logged predictions of a model.

    Args:
        folder: The model's serving folder.
        since: The earliest time of an answer, with its time zone; None for all.
        until: The time before which an answer was given.

    Returns:
        A table in the order of time with ``time`` (UTC), ``request_id``, ``row`` (its place in the
        request), ``model``, ``version``, ``digest``, ``latency_ms`` (of the request), ``caller``
        (the id of its key), ``input_NAME`` for each input, and the answer: ``label``, ``labels``,
        ``score`` (of the label, or the prediction of regression) and ``probabilities`` by label,
        null where the task has none. An input that is a text is ``{length, content}``, a picture
        or sound ``{shape, mean, content}``, with ``content`` null unless ``serve.log.content``.
        DuckDB takes the table as it is.

    Raises:
        ValueError: a time is without its time zone.
        WorkspaceError: versions in that time give an input other types.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    filters: list[tuple[str, str, datetime]] = []
    for sign, moment in ((">=", since), ("<", until)):
        if moment is not None:
            if moment.tzinfo is None:
                raise ValueError(f"{moment} is without its time zone; give UTC's or another")
            filters.append(("time", sign, moment))
    tables: list[pa.Table] = []
    for path in sorted((folder / FOLDER).glob("*/*.parquet")):
        if _is_within(path.parent.name, since, until):
            # One may be too old by now. And out of a file, not a path: a=b in that is no column.
            with suppress(FileNotFoundError), path.open("rb") as file:
                tables.append(pq.read_table(file, filters=filters or None))
    empty = pa.schema([*_leading(), *_answer()]).empty_table()
    try:
        table = pa.concat_tables([empty, *tables], promote_options="permissive")
    except (pa.ArrowInvalid, pa.ArrowTypeError) as error:
        raise WorkspaceError(
            f"versions of {folder.name} give an input other types: {error}",
            "Read the time of one version alone.",
        ) from None
    return table.sort_by([("time", "ascending"), ("request_id", "ascending"), ("row", "ascending")])


def convert_all(model: Path) -> tuple[int, int]:
    """Make Parquet of a model's closed spool files; return the numbers of rows and of torn lines.

    To be killed at any point loses nothing and doubles nothing: a spool file gives the same names
    again, and goes when they are there.

    Raises:
        OSError: a file cannot be read or written.
    """
    num_rows = num_torn = 0
    for path in sorted((model / FOLDER / SPOOL).glob("*.jsonl")):
        try:
            descriptor = os.open(path, os.O_RDWR)
        except FileNotFoundError:
            continue
        try:
            if is_closed(descriptor):
                rows, torn = _convert(model, path)
                num_rows, num_torn = num_rows + rows, num_torn + torn
                path.unlink()
        finally:
            os.close(descriptor)
    return num_rows, num_torn


def _convert(model: Path, spool: Path) -> tuple[int, int]:
    header, requests, num_torn = read_spool(spool.read_bytes())
    days: dict[date, list[dict[str, Any]]] = {}
    for request in requests if header else ():
        day = datetime.fromtimestamp(request.get("time", 0.0), UTC).date()
        days.setdefault(day, []).append(request)
    num_rows = 0
    for day, found in sorted(days.items()):
        assert header is not None
        try:
            table = _table(header, found)
        except (KeyError, IndexError, TypeError, ValueError):
            # Of another release, or changed by hand: it must not keep the others waiting.
            num_torn += len(found)
            continue
        _write(table, model / FOLDER / day.isoformat() / f"{spool.stem}.parquet")
        num_rows += table.num_rows
    return num_rows, num_torn


def _write(table: "pa.Table", path: Path) -> None:
    import pyarrow.parquet as pq

    path.parent.mkdir(exist_ok=True, mode=0o700)
    temporary = path.with_suffix(".tmp")
    temporary.unlink(missing_ok=True)
    descriptor = os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        pq.write_table(table, file, compression="zstd")
    temporary.replace(path)


def _leading() -> list["pa.Field"]:
    import pyarrow as pa

    return [
        pa.field("time", pa.timestamp("us", tz="UTC")),
        pa.field("request_id", pa.string()),
        pa.field("row", pa.int32()),
        pa.field("model", pa.string()),
        pa.field("version", pa.int64()),
        pa.field("digest", pa.string()),
        pa.field("latency_ms", pa.float64()),
        pa.field("caller", pa.string()),
    ]


def _answer() -> list["pa.Field"]:
    import pyarrow as pa

    return [
        pa.field("label", pa.string()),
        pa.field("labels", pa.list_(pa.string())),
        pa.field("score", pa.float64()),
        pa.field("probabilities", pa.map_(pa.string(), pa.float64())),
    ]


def _table(header: dict[str, Any], requests: list[dict[str, Any]]) -> "pa.Table":
    import pyarrow as pa

    counts = [len(request["outputs"]) for request in requests]

    def spread(values: list[Any]) -> list[Any]:
        return [value for value, count in zip(values, counts, strict=True) for _ in range(count)]

    columns: dict[str, Any] = {
        "time": spread([round(request["time"] * _MICROSECONDS) for request in requests]),
        "request_id": spread([request["request_id"] for request in requests]),
        "row": [row for count in counts for row in range(count)],
        "latency_ms": spread([request["latency_ms"] for request in requests]),
        "caller": spread([request["caller"] for request in requests]),
    }
    columns |= {key: [header[key]] * sum(counts) for key in ("model", "version", "digest")}
    outputs = np.array([row for request in requests for row in request["outputs"]], np.float64)
    columns |= _answers(header["task"], header["labels"], outputs)
    inputs: list[pa.Field] = []
    for spec in header["inputs"]:
        field, values = _input(spec, [request["inputs"][spec["name"]] for request in requests])
        columns[field.name] = values
        inputs.append(field)
    schema = pa.schema([*_leading(), *inputs, *_answer()])
    return pa.table({field.name: columns[field.name] for field in schema}, schema=schema)


def _answers(task: str, labels: list[str], outputs: np.ndarray) -> dict[str, list[Any]]:
    """What outputs [rows, width] mean, as ``predictions`` says it to callers."""
    nothing: list[Any] = [None] * len(outputs)
    if task == "regression":
        return {
            "label": nothing,
            "labels": nothing,
            "score": outputs[:, 0].tolist(),
            "probabilities": nothing,
        }
    by_label = [list(zip(labels, row, strict=True)) for row in outputs.tolist()]
    if task == "multi-label":
        names = [[label for label, value in row if value > 0.5] for row in by_label]
        return {"label": nothing, "labels": names, "score": nothing, "probabilities": by_label}
    best = outputs.argmax(axis=1).tolist()
    return {
        "label": [labels[index] for index in best],
        "labels": nothing,
        "score": outputs.max(axis=1).tolist(),
        "probabilities": by_label,
    }


def _input(spec: dict[str, Any], parts: list[Any]) -> tuple["pa.Field", list[Any]]:
    """An input's column out of those of the requests."""
    import pyarrow as pa

    name, kind = f"{INPUT}{spec['name']}", spec["type"]
    types: dict[str, pa.DataType] = {
        "number": pa.float64(),
        "integer": pa.int64(),
        "boolean": pa.bool_(),
        "date": pa.date32(),
        "datetime": pa.timestamp("us", tz="UTC"),
        "category": pa.string(),
    }
    if kind in types:
        values = [value for part in parts for value in part]
        if kind not in ("number", "category"):
            values = [_exact(kind, value) for value in values]
        return pa.field(name, types[kind]), values
    if kind == "text":
        fields = [pa.field("length", pa.int64()), pa.field("content", pa.string())]
        texts = [
            {"length": length, "content": part["content"] and part["content"][index]}
            for part in parts
            for index, length in enumerate(part["length"])
        ]
        return pa.field(name, pa.struct(fields)), texts
    fields = [
        pa.field("shape", pa.list_(pa.int64())),
        pa.field("mean", pa.float64()),
        pa.field("content", pa.binary()),
    ]
    arrays = [
        {
            "shape": part["shape"],
            "mean": mean,
            "content": part["content"] and base64.b64decode(part["content"][index]),
        }
        for part in parts
        for index, mean in enumerate(part["mean"])
    ]
    return pa.field(name, pa.struct(fields)), arrays


def _exact(kind: str, value: float | None) -> int | bool | None:
    """A whole number, a truth value, days or microseconds; null where a column cannot hold it."""
    if value is None or not math.isfinite(value):
        return None
    if kind == "boolean":
        return bool(value)
    number = round(value * _MICROSECONDS) if kind == "datetime" else int(value)
    bound = 2**31 if kind == "date" else _INT64
    return number if -bound <= number < bound else None


def _is_within(day: str, since: datetime | None, until: datetime | None) -> bool:
    """Whether a folder can hold answers of that time."""
    first = since.astimezone(UTC).date().isoformat() if since else ""
    last = until.astimezone(UTC).date().isoformat() if until else "9999"
    return first <= day <= last
