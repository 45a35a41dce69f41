"""Every column of a table, profiled: its type, what is missing, its range, its values."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

from modelyard.data.suggest.dialect import NUMBER
from modelyard.data.suggest.guess import ALWAYS_MISSING, INTEGER, ISO_DATE, ISO_TIME, Guess, guess
from modelyard.data.suggest.guess import MARKERS as KNOWN_MARKERS
from modelyard.data.suggest.table import Table

MAX_VALUES = 60
"""The commonest values of a column that are kept."""
_SAMPLE = 400_000
"""Values that are looked at to guess types by."""
_MAX_ODD = 0.005
"""Share of values of another type that a column may hold and keep its type."""
_MAX_SLIPS = 5
"""Values of another type that a column of few rows may hold, if below twice per hundred."""
_MOST_ODD = 0.02
_FEW = 5000
_CHUNK = 40
_ASKED = ("integer", "number", "date", "datetime")
_STORED = {
    "BOOLEAN": "boolean",
    "DATE": "date",
    "FLOAT": "number",
    "DOUBLE": "number",
    "TINYINT": "integer",
    "SMALLINT": "integer",
    "INTEGER": "integer",
    "BIGINT": "integer",
    "UTINYINT": "integer",
    "USMALLINT": "integer",
    "UINTEGER": "integer",
}


@dataclass(frozen=True)
class Column:
    """What a column holds.

    ``kind`` is a field's type, or "empty", or "other" for what no field can be. ``low`` and
    ``high`` are numbers or ISO dates; ``values`` the commonest with their counts, whole where
    ``distinct`` are as many; ``odd`` values that are not of the type, with their counts;
    ``words`` the mean number of words; ``hint`` why what looks like numbers or dates is text.
    """

    name: str
    sql: str
    kind: str
    stored: str
    num_rows: int
    num_missing: int = 0
    markers: tuple[str, ...] = ()
    distinct: int = 0
    low: Any = None
    high: Any = None
    mean: float = 0.0
    deviation: float = 0.0
    values: tuple[tuple[Any, int], ...] = ()
    odd: tuple[tuple[str, int], ...] = ()
    words: float = 0.0
    longest: int = 0
    form: str | None = None
    also: str | None = None
    sample: tuple[str, ...] = ()
    hint: str = ""

    @property
    def num_present(self) -> int:
        """Rows that have a value."""
        return self.num_rows - self.num_missing

    @property
    def num_odd(self) -> int:
        """Rows whose value is not of the type."""
        return sum(count for _, count in self.odd)

    @property
    def is_unique(self) -> bool:
        """Whether no two rows have the same value."""
        return self.num_present > 1 and self.distinct == self.num_present


def profile(table: Table) -> tuple[Column, ...]:
    """Profile every column; what marks a missing value in one of them does so in all.

    Leaves table ``v`` in place of ``t``: typed values, NULL where missing or not of the type.
    """
    columns = [
        Column(name, sql, _STORED.get(stored, "other"), stored, table.num_rows)
        for name, sql, stored in zip(table.names, table.columns, table.types, strict=True)
    ]
    columns = [_stored_time(column) for column in columns]
    step = max(1, table.num_rows * len(columns) // _SAMPLE)
    written = [column.sql for column in columns if column.stored == "VARCHAR"]
    if written:
        rows = table.ask(f"SELECT {', '.join(written)} FROM t WHERE rowid % {step} = 0")  # noqa: S608
        samples = dict(zip(written, zip(*rows, strict=True), strict=True))
        columns = [_guessed(column, samples.get(column.sql)) for column in columns]
    columns = _typed(table, columns)
    markers = _markers(table, columns)
    values = ", ".join(f"{_value(column, markers)} AS {column.sql}" for column in columns)
    table.ask(f"CREATE TABLE v AS SELECT {values} FROM t")  # noqa: S608
    table.ask("DROP TABLE t")
    columns = [replace(column, markers=markers) for column in columns]
    return tuple(_counted(table, _described(table, columns)))


def _value(column: Column, markers: Iterable[str]) -> str:
    """SQL of a column's typed value, NULL where missing or not of the type."""
    name = column.sql
    if column.stored == "VARCHAR":
        return _of_text(column, markers)
    if column.stored.startswith("DECIMAL"):
        return f"CAST({name} AS DOUBLE)"
    nan = column.stored in ("FLOAT", "DOUBLE")
    return f"CASE WHEN isfinite({name}) THEN {name} END" if nan else name


def _of_text(column: Column, markers: Iterable[str]) -> str:
    name = column.sql
    match column.kind:
        case "integer":
            return _if_matches(name, INTEGER.pattern, f"try_cast({name} AS BIGINT)")
        case "number":
            number = f"try_cast({name} AS DOUBLE)"
            return (
                f"CASE WHEN isfinite({number}) THEN {_if_matches(name, NUMBER.pattern, number)} END"
            )
        case "date" | "datetime" if column.form:
            moment = f"try_strptime({name}, {_quote(column.form)})"
            return f"CAST({moment} AS DATE)" if column.kind == "date" else moment
        case "date":
            return _if_matches(name, ISO_DATE, f"try_cast({name} AS DATE)")
        case "datetime":
            return _if_matches(name, ISO_TIME, f"try_cast({name} AS TIMESTAMPTZ)")
    missing = ", ".join(_quote(text) for text in ("", *sorted(markers)))
    return f"CASE WHEN {name} NOT IN ({missing}) THEN {name} END"


def _stored_time(column: Column) -> Column:
    if column.stored.startswith("TIMESTAMP"):
        return replace(column, kind="datetime")
    return replace(column, kind="number") if column.stored.startswith("DECIMAL") else column


def _guessed(column: Column, sample: tuple[str, ...] | None) -> Column:
    if sample is None:
        return column
    found: Guess = guess(column.name, sample)
    some = tuple(dict.fromkeys(value for value in sample if value))[:200]
    return replace(
        column, kind=found.kind, form=found.form, also=found.also, sample=some, hint=found.hint
    )


def _typed(table: Table, columns: list[Column]) -> list[Column]:
    """Ask every row whether it is of the guessed type; a column with too many others is text."""
    guessed = [column for column in columns if column.stored == "VARCHAR" and column.kind in _ASKED]
    checked: dict[str, Column] = {}
    for chunk in _chunks(guessed):
        asked = [
            f"count({_value(column, ())}), count({_value(_as_number(column), ())}), "
            f"count(*) FILTER ({column.sql} <> '')"
            for column in chunk
        ]
        (answers,) = table.ask(f"SELECT {', '.join(asked)} FROM t")  # noqa: S608
        for index, column in enumerate(chunk):
            fit, numbers, there = answers[3 * index : 3 * index + 3]
            # An integer column in which a number with a fraction stands is one of numbers.
            wider = _as_number(column) if numbers > fit else column
            checked[column.sql] = wider if max(fit, numbers) == there else _with_odd(table, wider)
    return [checked.get(column.sql, column) for column in columns]


def _as_number(column: Column) -> Column:
    return replace(column, kind="number") if column.kind == "integer" else column


def _with_odd(table: Table, column: Column) -> Column:
    """What is not of the type: marks of a missing value, a few slips, or reason to call it text."""
    odd = _odd(table, column)
    strange = tuple((text, count) for text, count in odd if text not in KNOWN_MARKERS)
    num_strange = sum(count for _, count in strange)
    few = max(_MAX_ODD * table.num_rows, min(_MAX_SLIPS, _MOST_ODD * table.num_rows))
    if num_strange > few or len(odd) > MAX_VALUES:
        names = ", ".join(f"{text[:20]!r} ({count})" for text, count in strange[:3])
        hint = f"most are of type {column.kind}, but not {names}" if strange else ""
        return replace(column, kind="text", form=None, also=None, hint=hint)
    markers = tuple(sorted(text for text, _ in odd if text in KNOWN_MARKERS))
    return replace(column, markers=markers, odd=strange)


def _odd(table: Table, column: Column) -> list[tuple[str, int]]:
    """The values that are there and not of the column's type, the commonest first."""
    return table.ask(  # pyright: ignore[reportReturnType] - text and count
        f"SELECT {column.sql}, count(*) FROM t WHERE {column.sql} <> '' "  # noqa: S608
        f"AND {_value(column, ())} IS NULL GROUP BY 1 ORDER BY 2 DESC, 1 LIMIT {MAX_VALUES + 1}"
    )


def _markers(table: Table, columns: list[Column]) -> tuple[str, ...]:
    """What marks a missing value: beside numbers and dates, or wherever it stands."""
    found = {text for column in columns for text in column.markers}
    always = ", ".join(_quote(text) for text in sorted(ALWAYS_MISSING))
    for column in columns:
        if column.stored == "VARCHAR" and column.kind in ("text", "empty", "boolean"):
            query = f"SELECT DISTINCT {column.sql} FROM t WHERE {column.sql} IN ({always})"  # noqa: S608
            found |= {row[0] for row in table.ask(query)}
    return tuple(sorted(found))


def _described(table: Table, columns: list[Column]) -> list[Column]:
    """Missing values, distinct ones, range, mean and length of all columns; some at a time."""
    result: list[Column] = []
    for chunk in _chunks(columns):
        asked = ", ".join(", ".join(_questions(column)) for column in chunk)
        (answers,) = table.ask(f"SELECT {asked} FROM v")  # noqa: S608
        for index, column in enumerate(chunk):
            present, distinct, low, high, mean, deviation = answers[6 * index : 6 * index + 6]
            written = column.kind in ("text", "empty", "boolean") and column.stored == "VARCHAR"
            # The sample held no value, or two words that are not all that there are.
            more = column.kind == "empty" or (column.kind == "boolean" and distinct != 2)
            kind = "text" if more and column.stored == "VARCHAR" else column.kind
            result.append(
                replace(
                    column,
                    kind=kind if present else "empty",
                    num_missing=column.num_rows - present - column.num_odd,
                    distinct=distinct,
                    low=None if written else low,
                    high=None if written else high,
                    mean=0.0 if written else float(mean or 0),
                    deviation=float(deviation or 0),
                    words=float(mean or 0) if written else 0.0,
                    longest=int(high or 0) if written else 0,
                )
            )
    return result


def _questions(column: Column) -> list[str]:
    value = column.sql
    asked = [f"count({value})", f"approx_count_distinct({value})"]
    if column.kind in ("integer", "number"):
        number = f"CAST({value} AS DOUBLE)"
        return [*asked, f"min({value})", f"max({value})", f"avg({number})", f"stddev_pop({number})"]
    if column.kind in ("date", "datetime"):
        return [*asked, f"min({value})::VARCHAR", f"max({value})::VARCHAR", "NULL", "NULL"]
    if column.stored == "VARCHAR":
        spaces = f"length({value}) - length(replace({value}, ' ', '')) + 1"
        return [*asked, f"min(length({value}))", f"max(length({value}))", f"avg({spaces})", "NULL"]
    return [*asked, "NULL", "NULL", "NULL", "NULL"]


def _counted(table: Table, columns: list[Column]) -> list[Column]:
    """The exact number of distinct values where it matters, and the commonest ones."""
    counted: dict[str, Column] = {}
    for chunk in _chunks([column for column in columns if _matters(column)]):
        asked = [
            f"histogram({column.sql})"
            if column.distinct <= _FEW
            else f"count(DISTINCT hash({column.sql})) FILTER ({column.sql} IS NOT NULL)"
            for column in chunk
        ]
        (answers,) = table.ask(f"SELECT {', '.join(asked)} FROM v")  # noqa: S608
        for column, found in zip(chunk, answers, strict=True):
            if isinstance(found, int):
                counted[column.sql] = replace(column, distinct=found)
                continue
            values = sorted(found.items(), key=lambda item: (-item[1], item[0]))
            common = tuple(values[:MAX_VALUES])
            counted[column.sql] = replace(column, distinct=len(found), values=common)
    return [counted.get(column.sql, column) for column in columns]


def _matters(column: Column) -> bool:
    """Whether its values may be classes, or each may be another."""
    few = column.distinct <= _FEW or column.distinct >= 0.8 * column.num_present
    return column.kind not in ("empty", "other") and column.num_present > 0 and few


def _chunks(columns: list[Column]) -> Iterable[list[Column]]:
    return (columns[start : start + _CHUNK] for start in range(0, len(columns), _CHUNK))


def _if_matches(name: str, pattern: str, value: str) -> str:
    return f"CASE WHEN regexp_full_match({name}, {_quote(pattern)}) THEN {value} END"


def _quote(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"
