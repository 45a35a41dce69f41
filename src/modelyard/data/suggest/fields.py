"""A profiled column as a field of the schema, with the evidence for each guess."""

import math
import re
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from modelyard.data.suggest.columns import MAX_VALUES, Column
from modelyard.data.suggest.guess import PERHAPS_MISSING
from modelyard.data.suggest.personal import is_sensitive, personal_reason

MAX_ENUM = 12
MAX_CLASSES = 50
RESERVED = frozenset({"row", "target", "features", "prediction", "probabilities"})
"""Names that the dataset or a served model needs for itself."""
_MANY_ROWS = 50
_IDENTIFIER = re.compile(
    r"(^|[\W_])(id|ids|uuid|guid|key|code|nr|no|num|number|index|row|rownum|record)s?$|Id$|ID$"
)

_SUBJECT = re.compile(
    r"(^|[\W_])(patient|customer|client|user|person|subject|member|employee|student|driver|speaker"
    r"|household|device|session)[ _-]?(id|uuid|key|code|nr|no|num|number)$",
    re.IGNORECASE,
)
_MANY_SUBJECTS = 10


@dataclass(frozen=True)
class Suggested:
    """A field as YAML would have it, and what it was guessed by; ``distinct`` values it has."""

    tree: dict[str, Any]
    evidence: tuple[str, ...]
    column: Column
    is_target: bool = False
    groups: bool = field(default=False)

    @property
    def name(self) -> str:
        """The field's name."""
        return self.tree["name"]

    @property
    def is_feature(self) -> bool:
        """Whether a model would learn from it."""
        return self.tree.get("use", True) and not self.is_target and not self.tree.get("pii")


def suggest_fields(
    columns: Iterable[Column],
    header: bool,
    target: str | None,
    task: str,
    separator: str | None = None,
) -> tuple[Suggested, ...]:
    """A field for each column.

    Args:
        columns: Of the source.
        header: Whether they have names.
        target: The source's name of the column to be learned.
        task: What of it is learned.
        separator: Of the labels in it, for a multi-label task.
    """
    found: list[Suggested] = []
    taken: set[str] = set()
    for column in columns:
        text = column.name if header else f"column_{column.name}"
        # The dataset calls its target so itself.
        own = text == target == "target"
        name = text if own else field_name(text, taken)
        taken.add(name.lower())
        tree: dict[str, Any] = {"name": name}
        if header and name != column.name:
            tree["header"] = column.name
        if column.name == target:
            tree |= {} if separator is None else {"separator": separator}
            found.append(_target(column, tree, task))
        else:
            found.append(_feature(column, tree))
    return tuple(found)


def field_name(text: str, taken: set[str]) -> str:
    """A plain name for a column: letters, digits and _, unlike every other in any case."""
    plain = unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode()
    name = plain if plain == text and re.fullmatch(r"[A-Za-z_]\w*", text) else ""
    if not name:
        name = re.sub(r"\W+", "_", plain.strip()).strip("_").lower() or "column"
        name = name if not name[0].isdigit() else f"column_{name}"
    name = f"{name}_column" if name.lower() in RESERVED else name
    while name.lower() in taken:
        name += "_"
    return name


def is_identifier(column: Column) -> bool:
    """Whether a column names its row, or whose row it is, rather than telling something of it."""
    if column.num_rows < _MANY_ROWS or column.kind not in ("integer", "text"):
        return False
    if _SUBJECT.search(column.name) and column.distinct >= _MANY_SUBJECTS:
        return True
    named = _IDENTIFIER.search(column.name) is not None
    if column.kind == "integer":
        counted = column.is_unique and column.high - column.low + 1 == column.num_present
        return counted or (named and column.distinct > 0.9 * column.num_present)
    short = column.words < 1.6 and column.longest <= 64
    return short and column.distinct > (0.2 if named else 0.9) * column.num_present


def is_free_text(column: Column) -> bool:
    """Whether a column holds sentences, not names of categories."""
    if column.kind != "text" or column.num_rows < _MANY_ROWS // 2:
        return False
    return column.words >= 3 and column.distinct > max(30, 0.1 * column.num_present)


def widened(low: float, high: float, whole: bool) -> tuple[float, float]:
    """A range with room around what was seen: half its width, to round numbers, at zero if so."""
    if whole and (low, high) == (0, 1):
        return 0, 1
    room = (high - low) / 2 or abs(high) / 2 or 1.0
    lower = 0.0 if 0 <= low <= high / 2 or low == 0 else _rounded(low - room, math.floor)
    lower = max(lower, 0.0) if low >= 0 else lower
    upper = 0.0 if high == 0 and low < 0 else _rounded(high + room, math.ceil)
    return (math.floor(lower), math.ceil(upper)) if whole else (lower, upper)


def _rounded(value: float, away) -> float:  # noqa: ANN001 - floor or ceil
    """To two digits, away from what lies between."""
    if not value:
        return 0.0
    scale = 10.0 ** (math.floor(math.log10(abs(value))) - 1)
    return float(f"{away(value / scale) * scale:.6g}")


def _target(column: Column, tree: dict[str, Any], task: str) -> Suggested:
    evidence = list(_missing(column))
    constraints: dict[str, Any] = {"required": True} if not column.num_missing else {}
    if task == "regression":
        tree["type"] = "integer" if column.kind == "integer" else "number"
        evidence.insert(0, f"{column.low:.6g} to {column.high:.6g}, mean {column.mean:.6g}")
    elif task == "multi-label":
        tree |= {"type": "category"}
        shown = ", ".join(str(value) for value, _ in column.values[:3])
        evidence.insert(0, f"lists of labels, as {shown or column.sample[0]}")
    else:
        tree["type"] = {"integer": "integer", "number": "number"}.get(column.kind, "category")
        if column.stored == "BOOLEAN":
            tree["type"] = "boolean"
        elif column.distinct <= MAX_CLASSES:
            constraints["enum"] = sorted(value for value, _ in column.values)
        shown = ", ".join(f"{value} {count}" for value, count in column.values[:4])
        shown += ", ..." if column.distinct > 4 else ""
        evidence.insert(0, f"{column.distinct} classes: {shown}")
        evidence += _marks(column)
        if column.distinct == 2:
            later = max(value for value, _ in column.values)
            evidence.append(f"PR-AUC and rates by group are about {str(later)[:40]!r}")
    return Suggested(_with(tree, constraints), tuple(evidence), column, is_target=True)


def _feature(column: Column, tree: dict[str, Any]) -> Suggested:
    evidence: list[str] = []
    tree["type"] = {"text": "category", "empty": "string"}.get(column.kind, column.kind)
    if reason := personal_reason(column):
        tree |= {"type": "string" if column.kind == "text" else tree["type"], "use": False}
        tree["pii"] = True
        return Suggested(tree, (reason, *_missing(column, shown=False)), column)
    if column.kind == "empty":
        return Suggested(tree | {"use": False}, ("no value in any row",), column)
    groups = False
    evidence += [column.hint] if column.hint else []
    if is_identifier(column):
        tree |= {"type": "string" if column.kind == "text" else column.kind, "use": False}
        groups = column.distinct < 0.9 * column.num_present
        known = f"{column.distinct} values in {column.num_present} rows"
        evidence.append(f"names the row: {'all different' if column.is_unique else known}")
    elif is_free_text(column):
        tree["type"] = "text"
        evidence.append(f"sentences: {column.words:.1f} words on average")
    constraints = _required(column)
    if tree.get("use", True):
        constraints |= _constraints(column, tree, evidence)
    if is_sensitive(column) and tree.get("use", True):
        tree["sensitive"] = True
        evidence.append("sensitive by its name: metrics are given by group")
    evidence += _missing(column)
    return Suggested(_with(tree, constraints), tuple(evidence), column, groups=groups)


def _required(column: Column) -> dict[str, Any]:
    never = not column.num_missing and column.num_rows >= _MANY_ROWS
    return {"required": True} if never else {}


def _constraints(column: Column, tree: dict[str, Any], evidence: list[str]) -> dict[str, Any]:
    match tree["type"]:
        case "integer" | "number":
            evidence.append(f"{column.low:.6g} to {column.high:.6g}")
            evidence += _strange_bounds(column)
            low, high = widened(float(column.low), float(column.high), tree["type"] == "integer")
            return {"minimum": low, "maximum": high} if max(abs(low), abs(high)) < 1e15 else {}
        case "date" | "datetime":
            evidence.append(f"{column.low} to {column.high}")
            if column.form:
                tree["format"] = column.form
                evidence += [f"{column.also} fits as well: check"] if column.also else []
            elif "+" in str(column.low) or column.stored != "VARCHAR":
                evidence.append("in UTC")
            year = int(str(column.low)[:4]) - 1 if str(column.low)[:4].isdigit() else 0
            return {"minimum": f"{year:04d}-01-01"} if year > 1 else {}
        case "boolean" if column.stored == "VARCHAR":
            words = sorted((str(value) for value, _ in column.values), key=str.lower)
            no, yes = words[0], words[1]  # false before true, n before y: so they sort
            tree |= {"trueValues": [yes], "falseValues": [no]}
            evidence.append(f"{no} or {yes}")
        case "category":
            evidence.append(f"{column.distinct} categories")
            evidence += _marks(column)
            few = 1 < column.distinct <= MAX_ENUM and column.num_present >= 20 * column.distinct
            if few and len(column.values) <= MAX_VALUES:
                return {"enum": sorted(value for value, _ in column.values)}
    return {}


def _strange_bounds(column: Column) -> list[str]:
    """Numbers such as -999 that may stand for a missing value."""
    for bound in (column.low, column.high):
        digits = str(abs(int(bound))) if bound == int(bound) else ""
        far = abs(bound - column.mean) > 4 * column.deviation
        if len(digits) > 1 and set(digits) == {"9"} and far:
            return [f"{bound:.6g} may mean missing: then add {f'{bound:g}'!r} to missingValues"]
    return []


def _marks(column: Column) -> list[str]:
    """Words among the categories that may stand for a missing value."""
    found = ", ".join(repr(value) for value, _ in column.values if value in PERHAPS_MISSING)
    return [f"{found} may mean missing: then add to missingValues"] if found else []


def _missing(column: Column, *, shown: bool = True) -> list[str]:
    """What is missing or refused; a value only where it may be ``shown``."""
    said: list[str] = []
    if column.num_missing and column.kind != "empty":
        said.append(f"{_share(column.num_missing, column.num_rows)} missing")
    if column.odd:
        text, count = column.odd[0]
        example = f", as {text[:20]!r} ({count})" if shown else ""
        said.append(f"{column.num_odd} values of another type are refused{example}")
    return said


def _share(count: int, total: int) -> str:
    share = 100 * count / total
    return f"{share:.1f} %" if share >= 0.1 else f"{count} rows"


def _with(tree: dict[str, Any], constraints: dict[str, Any]) -> dict[str, Any]:
    return tree | {"constraints": constraints} if constraints else tree
