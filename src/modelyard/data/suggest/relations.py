"""What columns say together: rows that repeat, and features that give the target away."""

from collections.abc import Iterable
from dataclasses import dataclass, replace

from modelyard.data.suggest.fields import Suggested
from modelyard.data.suggest.table import Table

_COPY = 1 - 1e-6
_MAX_CLASSES = 1000


@dataclass(frozen=True)
class Repeats:
    """Rows that equal an earlier one in all fields; and in all features, of those that are left.

    ``different`` rows remain where those of equal features are one.
    """

    rows: int
    features: int
    different: int


def find_repeats(table: Table, fields: Iterable[Suggested]) -> Repeats:
    """Count rows that repeat."""
    fields = list(fields)
    everything = _hash(fields)
    features = _hash([item for item in fields if item.is_feature])
    query = f"SELECT count(DISTINCT {everything}), count(DISTINCT {features}) FROM v"  # noqa: S608
    ((different, different_features),) = table.ask(query)
    repeated = different - different_features
    return Repeats(table.num_rows - different, repeated, different_features)


def without_copies(table: Table, fields: tuple[Suggested, ...], task: str) -> tuple[Suggested, ...]:
    """The fields; a feature that tells the target exactly is no longer used."""
    (target,) = [item for item in fields if item.is_target]
    return tuple(
        _unused(item) if item.is_feature and _is_copy(table, item, target, task) else item
        for item in fields
    )


def _is_copy(table: Table, item: Suggested, target: Suggested, task: str) -> bool:
    """A straight line of a number; a class by another name, where missing is a name as well."""
    one, other = item.column, target.column
    value, goal = one.sql, other.sql
    if task == "regression":
        if one.kind not in ("integer", "number"):
            return False
        ((correlation,),) = table.ask(f"SELECT corr({value}, {goal}) FROM v")  # noqa: S608
        return correlation is not None and abs(correlation) > _COPY
    if one.distinct > other.distinct or other.distinct > _MAX_CLASSES:
        return False
    query = (
        f"SELECT count(DISTINCT hash({value}, {goal})), count(DISTINCT {goal}), "  # noqa: S608
        f"count(DISTINCT {value}) + CAST(count(*) > count({value}) AS INTEGER) "
        f"FROM v WHERE {goal} IS NOT NULL"
    )
    ((pairs, goals, values),) = table.ask(query)
    return goals > 1 and pairs == goals == values


def _unused(item: Suggested) -> Suggested:
    tree = {key: value for key, value in item.tree.items() if key != "sensitive"} | {"use": False}
    return replace(item, tree=tree, evidence=("tells the target exactly", *item.evidence))


def _hash(fields: list[Suggested]) -> str:
    values = [item.column.sql for item in fields] or ["0"]
    return f"hash({', '.join(values)})"
