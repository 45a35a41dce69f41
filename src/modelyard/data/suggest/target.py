"""Which column a model is to learn, and what kind of task that is."""

from collections import Counter
from dataclasses import dataclass

from modelyard.data.suggest.columns import Column
from modelyard.data.suggest.fields import MAX_CLASSES, is_free_text, is_identifier
from modelyard.data.suggest.personal import personal_reason
from modelyard.errors import ParamsError

NAMES = (
    "target",
    "label",
    "labels",
    "class",
    "y",
    "outcome",
    "response",
    "diagnosis",
    "species",
    "sentiment",
    "churn",
    "churned",
    "fraud",
    "is_fraud",
    "survived",
    "default",
    "approved",
    "status",
    "quality",
    "rating",
    "score",
    "grade",
    "price",
    "result",
)
"""Names that a target often has, the surest first."""
_SEPARATORS = ("|", ";")
_MOST_ALONE = 0.1
_MAX_COUNTED = 20
_SHOWN = 20


@dataclass(frozen=True)
class Target:
    """The column to learn, and why; ``is_certain`` where its name says so or somebody chose it.

    ``separator`` divides the labels of a multi-label one.
    """

    column: Column
    task: str
    reason: str
    is_certain: bool
    separator: str | None = None


def choose_target(columns: tuple[Column, ...], asked: str | None) -> Target:
    """The column that is asked for, or the likeliest.

    Raises:
        ParamsError: there is no such column, it cannot be learned, or no column can be.
    """
    if asked is not None:
        found = [column for column in columns if column.name == asked]
        if not found:
            raise ParamsError(f"there is no column {asked!r}", _which(columns))
        if reason := _unfit(found[0]):
            raise ParamsError(f"{asked!r} cannot be the target: {reason}", _which(columns))
        return _target(found[0], "as asked", is_certain=True)
    usable = [column for column in columns if not _unfit(column)]
    if not usable:
        raise ParamsError(
            "no column can be the target: none holds numbers, or a few classes", _which(columns)
        )
    by_name = {column.name.lower(): column for column in usable}
    for name in NAMES:
        if name in by_name:
            column = by_name[name]
            return _target(column, "by its name", is_certain=True)
    last = usable[-1]
    task = task_of(last)
    few = task == "multi-label" or (task == "classification" and last.distinct <= _MAX_COUNTED)
    alone = len(usable) == 1 and is_free_text(columns[-1])
    few = few and (last is columns[-1] or alone)
    reason = "the only one beside texts" if alone else "the last column: a guess"
    return _target(last, reason, is_certain=few)


def _target(column: Column, reason: str, *, is_certain: bool) -> Target:
    return Target(column, task_of(column), reason, is_certain, separator_of(column))


def undecided(columns: tuple[Column, ...]) -> ParamsError:
    """The question which column is the target, with those that could be."""
    return ParamsError("nothing in the source says which column is the target", _which(columns))


def task_of(column: Column) -> str:
    """Classification for words, booleans and few whole numbers; regression for other numbers.

    Words that are lists of labels are multi-label.
    """
    if separator_of(column):
        return "multi-label"
    if column.kind == "number" and column.distinct > 2:
        return "regression"
    many = column.distinct > _MAX_COUNTED or column.distinct > max(2, column.num_present // 20)
    if column.kind == "integer" and column.distinct > 2 and many:
        return "regression"
    return "classification"


def separator_of(column: Column) -> str | None:
    """What divides the labels where values are lists of few labels, as ``news|art``, else None.

    Commas stand in names as well, and are not taken for it.
    """
    if column.kind != "text" or column.stored != "VARCHAR":
        return None
    values = dict(column.values) or dict.fromkeys(column.sample, 1)
    for separator in _SEPARATORS:
        lists = {value: [part.strip() for part in value.split(separator)] for value in values}
        many = sum(values[value] for value, parts in lists.items() if len(parts) > 1)
        used = Counter(part for parts in lists.values() for part in parts)
        repeated = sum(count > 1 for count in used.values())
        is_list = all(len(set(parts)) == len(parts) and all(parts) for parts in lists.values())
        few = 1 < len(used) <= min(MAX_CLASSES, len(lists)) and 2 * repeated >= len(used)
        if is_list and few and many >= _MOST_ALONE * sum(values.values()):
            return separator
    return None


def _unfit(column: Column) -> str:
    """Why a column cannot be the target; empty where it can."""
    if column.kind in ("empty", "other", "date", "datetime"):
        return {"empty": "it holds nothing", "other": f"its type is {column.stored}"}.get(
            column.kind, "it holds times"
        )
    if personal_reason(column):
        return "it tells who a person is"
    if column.distinct < 2:
        return "it has the same value in every row"
    if is_identifier(column):
        return "it names the row" + _why(column)
    many = is_free_text(column) or (column.kind == "text" and column.distinct > MAX_CLASSES)
    if many and not separator_of(column):
        return f"it has {column.distinct} different texts" + _why(column)
    return ""


def _why(column: Column) -> str:
    return f" ({column.hint})" if column.hint else ""


def _which(columns: tuple[Column, ...]) -> str:
    fit = [column for column in columns if not _unfit(column)]
    said = [f"{column.name} ({task_of(column)})" for column in fit[-_SHOWN:]]
    named = [column for column in columns if column.name.lower() in NAMES or column is columns[-1]]
    reasons = [(column.name, _unfit(column)) for column in named]
    unfit = "".join(f" Not {name}: {reason}." for name, reason in reasons[-3:] if reason)
    return f"Name it with --target. Possible: {', '.join(said) or 'none'}.{unfit}"
