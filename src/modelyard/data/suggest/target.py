"""Which column a model is to learn, and what kind of task that is."""

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
_MAX_COUNTED = 20
_SHOWN = 20


@dataclass(frozen=True)
class Target:
    """The column to learn, and why; ``is_certain`` where its name says so or somebody chose it."""

    column: Column
    task: str
    reason: str
    is_certain: bool


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
        return Target(found[0], task_of(found[0]), "as asked", is_certain=True)
    usable = [column for column in columns if not _unfit(column)]
    if not usable:
        raise ParamsError(
            "no column can be the target: none holds numbers, or a few classes", "Look at the data."
        )
    by_name = {column.name.lower(): column for column in usable}
    for name in NAMES:
        if name in by_name:
            column = by_name[name]
            return Target(column, task_of(column), "by its name", is_certain=True)
    last = usable[-1]
    few = (
        last is columns[-1] and task_of(last) == "classification" and last.distinct <= _MAX_COUNTED
    )
    return Target(last, task_of(last), "the last column: a guess", is_certain=few)


def undecided(columns: tuple[Column, ...]) -> ParamsError:
    """The question which column is the target, with those that could be."""
    return ParamsError("nothing in the source says which column is the target", _which(columns))


def task_of(column: Column) -> str:
    """Classification for words, booleans and few whole numbers; regression for other numbers."""
    if column.kind == "number" and column.distinct > 2:
        return "regression"
    many = column.distinct > _MAX_COUNTED or column.distinct > max(2, column.num_present // 20)
    if column.kind == "integer" and column.distinct > 2 and many:
        return "regression"
    return "classification"


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
        return "it names the row"
    if is_free_text(column) or (column.kind == "text" and column.distinct > MAX_CLASSES):
        return f"it has {column.distinct} different texts"
    return ""


def _which(columns: tuple[Column, ...]) -> str:
    fit = [column for column in columns if not _unfit(column)]
    said = [f"{column.name} ({task_of(column)})" for column in fit[-_SHOWN:]]
    return f"Name it with --target. Possible: {', '.join(said) or 'none'}."
