"""A field of the schema as SQL: its typed value, and for each way to break the contract a test.

The expressions are DuckDB's. Values and reasons are those of ``modelyard.data.values`` and
``modelyard.data.scalars``, which do the same for the fields of pictures and sounds.
"""

import hashlib
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from modelyard.data.patterns import is_plain
from modelyard.data.pii import HIDDEN
from modelyard.data.scalars import MISSING_TARGET
from modelyard.data.table_database import connect, quoted
from modelyard.errors import ParamsError
from modelyard.params import DataParams, Field

if TYPE_CHECKING:
    import duckdb

_SPACES = "".join(map(chr, (*range(9, 14), *range(28, 33), 133, 160, 5760, *range(8192, 8203))))
_SPACES += "".join(map(chr, (8232, 8233, 8239, 8287, 12288)))
_FRACTIONS = ("FLOAT", "DOUBLE", "DECIMAL")
_INTEGERS = ("TINYINT", "SMALLINT", "INTEGER", "BIGINT", "HUGEINT")
_ISO_TIME = r"\d{4}-\d{2}-\d{2}([T ]\d{2}:\d{2}(:\d{2}([.,]\d{1,9})?)?(Z|[+-]\d{2}(:?\d{2})?)?)?"
_LONGEST_VALUE = 200


@dataclass(frozen=True)
class Broken:
    """A way to break the contract: ``when`` is true of such a row (SQL), and the reason."""

    when: str
    reason: str
    allowed: bool = False


@dataclass(frozen=True)
class ColumnSql:
    """A field of one file.

    ``raw`` is the source's column, ``value`` the typed value (NULL where missing, anything where
    wrong) in terms of ``{raw}``, ``broken`` in terms of ``{raw}`` and ``{value}``, of which the
    first says that the value is wrong; ``shown`` is what quarantine shows of it.
    """

    field: Field
    raw: str
    value: str
    broken: tuple[Broken, ...]
    shown: str


def column_sql(field: Field, source: str, kind: str, params: DataParams) -> ColumnSql:
    """The SQL of one field.

    Args:
        field: Of the schema.
        source: The column in the source, quoted.
        kind: DuckDB's type of that column.
        params: The contract, for missing values, trimming and the target.
    """
    markers = params.schema_.missing_values
    base = kind.partition("(")[0]
    written = base not in (*_FRACTIONS, *_INTEGERS, "DATE", "TIMESTAMP", "BOOLEAN")
    if base in ("FLOAT", "DOUBLE"):
        source = f"CASE WHEN NOT isnan({source}) THEN {source} END"
    if written:
        raw = source if base == "VARCHAR" else f"CAST({source} AS VARCHAR)"
        # An empty cell is read as NULL: where that is no marker of a missing value, it is a value.
        raw = raw if "" in markers or base != "VARCHAR" else f"coalesce({source}, '')"
        parsed = _from_text(field, trim=params.clean.trim)
    else:
        raw, parsed = _from_typed(field, source, base)
    text = _trimmed() if written else "CAST({raw} AS VARCHAR)"
    marked = f"{text} IN ({', '.join(map(quoted, markers))})" if markers else "false"
    value = parsed.value
    if any(_may_be_value(marker, field) for marker in markers):
        value = f"CASE WHEN NOT ({marked}) THEN {value} END"
    # Branches of CASE are evaluated for the rows that need them, operands of AND for all.
    wrong = (
        f"CASE WHEN {parsed.plain} THEN false WHEN {{raw}} IS NULL OR {marked} THEN false "
        f"ELSE {parsed.wrong} END"
    )
    absent = f"CASE WHEN {{value}} IS NULL THEN {{raw}} IS NULL OR {marked} ELSE false END"
    broken = [Broken(wrong, _reason(field)), *_missing(field, absent, params), *_bounds(field)]
    shown = f"'{HIDDEN}'" if field.pii else f"left(CAST({{raw}} AS VARCHAR), {_LONGEST_VALUE})"
    return ColumnSql(field, raw, value, tuple(broken), shown)


def check_formats(params: DataParams) -> None:
    """Refuse what DuckDB cannot use of the schema before anything is read.

    Raises:
        ParamsError: a format of dates, or a bound, is none.
    """
    import duckdb

    with connect() as connection:
        for field in params.schema_.fields:
            for key, text in _examples(field):
                try:
                    connection.execute(f"SELECT {text}")
                except duckdb.Error as error:
                    first = str(error).partition("\n")[0].partition(": ")[2]
                    raise ParamsError(
                        f"data.schema.fields.{field.name}: {key} cannot be used: {first}",
                        "Correct params.yaml.",
                    ) from None


def _examples(field: Field) -> Iterator[tuple[str, str]]:
    bounds = field.constraints
    if field.format:
        yield f"format {field.format!r}", f"try_strptime('', {quoted(field.format)})"
    if field.type in ("date", "datetime"):
        for bound in (bounds.minimum, bounds.maximum, *(bounds.enum or ())):
            if bound is not None:
                yield f"bound {bound!r}", _literal(bound, field)


@dataclass(frozen=True)
class _Parsed:
    """A value in terms of ``{raw}``; it counts only where it is right.

    It surely is where ``plain`` holds, which is quickly said; else it is not where ``wrong`` holds.
    """

    value: str
    plain: str = "{value} IS NOT NULL"
    wrong: str = "true"


def _from_text(field: Field, *, trim: bool) -> _Parsed:
    match field.type:
        case "number" | "integer" if field.is_written_otherwise:
            return _from_number(field)
        case "number":
            return _Parsed(
                "TRY_CAST({raw} AS DOUBLE)", "isfinite({value}) AND NOT contains({raw}, '_')"
            )
        case "integer":
            # DuckDB would round 1.5, and take 0x1F and 1_000.
            digits = "regexp_full_match(trim({raw}), '[+-]?[0-9]+')"
            return _Parsed(
                "TRY_CAST({raw} AS BIGINT)",
                "CAST({value} AS VARCHAR) = {raw}",
                f"{{value}} IS NULL OR NOT {digits}",
            )
        case "boolean":
            true, false = (
                ", ".join(map(quoted, texts)) for texts in (field.true_values, field.false_values)
            )
            return _Parsed(
                f"CASE WHEN trim({{raw}}) IN ({true}) THEN true "
                f"WHEN trim({{raw}}) IN ({false}) THEN false END"
            )
        case "date" | "datetime":
            return _from_moment(field)
        case _:
            return _Parsed(_trimmed() if trim else "{raw}", "true")


def _from_number(field: Field) -> _Parsed:
    """A number with a decimal comma, or with thousands parted."""
    group, point = re.escape(field.group_char), re.escape(field.decimal_char)
    whole = rf"([0-9]+|[0-9]{{1,3}}({group}[0-9]{{3}})+)" if group else "[0-9]+"
    form, kind = rf"[+-]?{whole}", "BIGINT"
    if field.type == "number":
        form, kind = rf"[+-]?({whole}({point}[0-9]*)?|{point}[0-9]+)([eE][+-]?[0-9]+)?", "DOUBLE"
    text = "trim({raw})"
    if group:
        text = f"replace({text}, {quoted(field.group_char)}, '')"
    text = f"replace({text}, {quoted(field.decimal_char)}, '.')"
    fits = f"regexp_full_match(trim({{raw}}), {quoted(form)})"
    value = f"CASE WHEN {fits} THEN TRY_CAST({text} AS {kind}) END"
    return _Parsed(value, "isfinite({value})" if kind == "DOUBLE" else "{value} IS NOT NULL")


def _from_moment(field: Field) -> _Parsed:
    kind = "DATE" if field.type == "date" else "TIMESTAMP"
    if field.format:
        moment = f"try_strptime(trim({{raw}}), {quoted(field.format)})"
        return _Parsed(_readable(f"CAST({moment} AS {kind})"))
    if kind == "DATE":
        same = "isfinite({value}) AND CAST({value} AS VARCHAR) = "
        return _Parsed(
            _readable("TRY_CAST({raw} AS DATE)"),
            f"{same}{{raw}}",
            f"{{value}} IS NULL OR NOT ({same}trim({{raw}}))",
        )
    zoned = "TRY_CAST(replace(trim({raw}), ',', '.') AS TIMESTAMPTZ)"
    written = f"regexp_full_match(trim({{raw}}), '{_ISO_TIME}')"
    return _Parsed(_readable(f"CASE WHEN {written} THEN CAST({zoned} AS TIMESTAMP) END"))


def _readable(moment: str) -> str:
    """Null for years that Python has no name for."""
    return f"CASE WHEN year({moment}) BETWEEN 1 AND 9999 THEN {moment} END"


def _trimmed() -> str:
    """Without space at both ends; most text has none, and its first and last letter tell."""
    plain = "ord({raw}) BETWEEN 33 AND 126 AND ord({raw}[-1]) BETWEEN 33 AND 126"
    spaced = r"regexp_matches({raw}, '^[\s\x1c-\x1f\x85\p{Z}]|[\s\x1c-\x1f\x85\p{Z}]$')"
    stripped = f"trim({{raw}}, {quoted(_SPACES)})"
    return f"CASE WHEN {plain} OR NOT {spaced} THEN {{raw}} ELSE {stripped} END"


def _from_typed(field: Field, source: str, base: str) -> tuple[str, _Parsed]:
    """What a column of numbers, dates or booleans gives: its raw form and the value from it."""
    value = ""
    match field.type, base:
        case ("number", kind) if kind in (*_INTEGERS, *_FRACTIONS):
            return source, _Parsed("CAST({raw} AS DOUBLE)", "isfinite({value})")
        case ("integer", kind) if kind in _INTEGERS:
            value = "TRY_CAST({raw} AS BIGINT)"
        case ("integer", kind) if kind in _FRACTIONS:
            value = "CASE WHEN {raw} = trunc({raw}) THEN TRY_CAST({raw} AS BIGINT) END"
        case ("boolean", kind) if kind in _FRACTIONS:
            whole = f"CASE WHEN {source} = trunc({source}) THEN CAST({source} AS BIGINT) END"
            return f"CAST({whole} AS VARCHAR)", _from_text(field, trim=True)
        case ("boolean", "BOOLEAN"):
            value = "{raw}"
        case ("date", "DATE"):
            value = _readable("{raw}")
        case ("date", "TIMESTAMP"):
            day = _readable("CAST({raw} AS DATE)")
            value = f"CASE WHEN date_trunc('day', {{raw}}) = {{raw}} THEN {day} END"
        case ("datetime", "DATE" | "TIMESTAMP"):
            value = _readable("CAST({raw} AS TIMESTAMP)")
    if value:
        return source, _Parsed(value)
    return f"CAST({source} AS VARCHAR)", _from_text(field, trim=True)


def _missing(field: Field, absent: str, params: DataParams) -> Iterator[Broken]:
    required = field.constraints.required or (params.kind == "text" and field.type == "text")
    if required:
        yield Broken(absent, "is required and missing")
    elif params.needs(field):
        yield Broken(absent, MISSING_TARGET, allowed=True)


def _bounds(field: Field) -> Iterator[Broken]:
    bounds = field.constraints
    if bounds.minimum is not None:
        shown = _shown(bounds.minimum)
        yield Broken(
            f"{{value}} < {_literal(bounds.minimum, field)}", f"is below the minimum {shown}"
        )
    if bounds.maximum is not None:
        shown = _shown(bounds.maximum)
        yield Broken(
            f"{{value}} > {_literal(bounds.maximum, field)}", f"is above the maximum {shown}"
        )
    if bounds.enum is not None:
        known = ", ".join(_literal(value, field) for value in bounds.enum)
        reason = f"is not one of {', '.join(map(str, bounds.enum))}"
        yield Broken(f"{{value}} NOT IN ({known})", reason)
    if bounds.min_length is not None:
        reason = f"is shorter than {bounds.min_length} characters"
        yield Broken(f"length({{value}}) < {bounds.min_length}", reason)
    if bounds.max_length is not None:
        reason = f"is longer than {bounds.max_length} characters"
        yield Broken(f"length({{value}}) > {bounds.max_length}", reason)
    if bounds.pattern is not None:
        reason = f"does not match {bounds.pattern}"
        test = f"regexp_full_match({{value}}, {quoted(bounds.pattern)})"
        if not is_plain(bounds.pattern):
            test = f"{function_of(bounds.pattern)}({{value}})"
        yield Broken(f"NOT {test}", reason)
    if field.type in ("string", "category", "text"):
        yield Broken("contains({value}, chr(0))", "holds a null byte")


def function_of(pattern: str) -> str:
    """The SQL function that matches other patterns by Python's rules."""
    return f"matches_{hashlib.sha256(pattern.encode()).hexdigest()[:16]}"


def add_functions(connection: "duckdb.DuckDBPyConnection", params: DataParams) -> None:
    """Make the functions of the schema's patterns known to a connection."""
    patterns = {field.constraints.pattern for field in params.schema_.fields}
    for pattern in patterns:
        if pattern is not None and not is_plain(pattern):
            name, matches = function_of(pattern), partial(_matches, re.compile(pattern))
            create: Any = connection.create_function  # Its stub knows no name for this type.
            create(name, matches, ["VARCHAR"], "BOOLEAN", type="arrow")


def _matches(pattern: re.Pattern[str], column: Any) -> Any:
    import pyarrow as pa

    texts = column.to_pylist()
    return pa.array([text is not None and bool(pattern.fullmatch(text)) for text in texts])


def _literal(bound: str | float, field: Field) -> str:
    if field.type == "date":
        return f"CAST({quoted(str(bound))} AS DATE)"
    if field.type == "datetime":
        return f"CAST(CAST({quoted(str(bound))} AS TIMESTAMPTZ) AS TIMESTAMP)"
    if field.type == "boolean":
        return "true" if str(bound) in field.true_values else "false"
    return quoted(bound) if isinstance(bound, str) else repr(bound)


def _reason(field: Field) -> str:
    match field.type:
        case "number":
            return "is not a number"
        case "integer":
            return "is not an integer"
        case "boolean":
            true, false = ", ".join(field.true_values), ", ".join(field.false_values)
            return f"is neither true ({true}) nor false ({false})"
        case "date":
            return f"is no date of the form {field.format or 'YYYY-MM-DD'}"
        case "datetime":
            return f"is no time of the form {field.format or 'YYYY-MM-DDThh:mm:ss'}"
        case _:
            return "is no text"


def _shown(bound: str | float) -> str:
    return bound if isinstance(bound, str) else f"{bound:g}"


def _may_be_value(marker: str, field: Field) -> bool:
    """Whether a marker of missing values could be read as a value of the field, too."""
    match field.type:
        case "number" | "integer":
            try:
                float(marker)
            except ValueError:
                return False
            return True
        case "boolean":
            return marker in field.true_values or marker in field.false_values
        case "date" | "datetime":
            return any(map(str.isdigit, marker))
        case _:
            return True
