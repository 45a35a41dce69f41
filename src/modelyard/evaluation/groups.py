"""How the model does for groups of rows, by the dataset's sensitive columns.

A column's values are its groups; many different numbers become groups of about equal size, missing
values a group of their own, and what is beyond ``MAX_GROUPS`` one for the rest. Gaps are taken over
groups of ``FEW_ROWS`` rows or more: below that they are mostly chance.
"""

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from modelyard.evaluation.bootstrap import score_interval
from modelyard.evaluation.intervals import Interval
from modelyard.evaluation.report import rounded
from modelyard.evaluation.tasks import Scoring
from modelyard.params import EvaluateParams

FEW_ROWS = 30
MAX_GROUPS = 12
NUM_QUANTILES = 4
MISSING = "(missing)"
REST = "(all others)"
_SHOWN = 60
"""Characters of a value that are shown."""


@dataclass(frozen=True)
class Group:
    """Test rows of one value.

    ``score`` is the task's main metric with its interval. With two classes the rates are there:
    ``selection_rate``, the share of rows answered with the second class; ``true_positive_rate`` and
    ``false_positive_rate``, the same among rows whose target is, and is not, that class; None where
    there are no such rows. ``few`` says that the group is too small to be compared.
    """

    name: str
    rows: int
    few: bool
    score: Interval
    selection_rate: float | None = None
    true_positive_rate: float | None = None
    false_positive_rate: float | None = None


@dataclass(frozen=True)
class Gap:
    """A figure's largest ``difference`` between groups, and smallest over largest ``ratio``."""

    name: str
    difference: float
    ratio: float | None


@dataclass(frozen=True)
class GroupTable:
    """The groups of the sensitive column ``name``, and the gaps between them."""

    name: str
    positive: str | None
    groups: tuple[Group, ...]
    gaps: tuple[Gap, ...]

    def to_json(self) -> dict[str, Any]:
        """As JSON; lists of entries with a ``name``."""
        return rounded(asdict(self))


def measure_groups(
    columns: dict[str, np.ndarray],
    answers: np.ndarray,
    targets: np.ndarray,
    labels: tuple[str, ...],
    scoring: Scoring,
    params: EvaluateParams,
) -> tuple[GroupTable, ...]:
    """Score each group of each sensitive column.

    Selection rates and their gap are demographic parity (Dwork et al., "Fairness through
    awareness", ITCS 2012); the gaps of true and false positive rates are equalized odds (Hardt,
    Price, Srebro, "Equality of opportunity in supervised learning", NIPS 2016).

    Args:
        columns: Sensitive columns by name, str objects [N], "" where missing.
        answers: Probabilities float [N, K], or predictions float [N, 1].
        targets: int64 [N], uint8 [N, K], or float64 [N].
        labels: K names.
        scoring: Of the dataset.
        params: Resamples, level and seed of the intervals.
    """
    scores = scoring.scores(answers, targets)
    chosen = actual = None
    if scoring.task == "classification" and len(labels) == 2:
        chosen, actual = answers.argmax(axis=1) == 1, targets == 1
    tables = []
    for name, values in columns.items():
        groups = tuple(
            _group(shown, rows, scores, chosen, actual, params)
            for shown, rows in group_rows(values)
        )
        positive = labels[1] if chosen is not None else None
        tables.append(GroupTable(name, positive, groups, _gaps(groups, scoring.metric)))
    return tuple(tables)


def group_rows(values: np.ndarray) -> list[tuple[str, np.ndarray]]:
    """The groups of a column: their names and the positions of their rows.

    Numbers ascend; values come largest group first, then what is beyond ``MAX_GROUPS``, then the
    missing ones.

    Args:
        values: str objects [N], "" where missing.
    """
    known = np.array([value != "" for value in values], dtype=bool)
    groups = _intervals(values, known) or _values(values, known)
    missing = np.flatnonzero(~known)
    return [*groups, (MISSING, missing)] if missing.size else groups


def _values(values: np.ndarray, known: np.ndarray) -> list[tuple[str, np.ndarray]]:
    """Rows by value."""
    rows = np.flatnonzero(known)
    different, codes = np.unique(values[rows].astype(str), return_inverse=True)
    order = np.argsort(codes, kind="stable")
    parts = np.split(rows[order], np.flatnonzero(np.diff(codes[order])) + 1)
    named = [(_short(str(value)), part) for value, part in zip(different, parts, strict=False)]
    named.sort(key=lambda item: -item[1].size)
    if len(named) <= MAX_GROUPS:
        return named
    rest = np.sort(np.concatenate([part for _, part in named[MAX_GROUPS - 1 :]]))
    return [*named[: MAX_GROUPS - 1], (REST, rest)]


def _intervals(values: np.ndarray, known: np.ndarray) -> list[tuple[str, np.ndarray]]:
    """Rows by quantiles of the numbers; none where few are different, or one is no number."""
    texts = np.unique(values[known].astype(str))
    if len(texts) <= MAX_GROUPS:
        return []
    try:
        numbers = values[known].astype(np.float64)
    except ValueError:
        return []
    if not np.isfinite(numbers).all():
        return []
    shares = np.arange(1, NUM_QUANTILES) / NUM_QUANTILES
    edges = np.unique(np.quantile(numbers, shares, method="lower"))
    rows, codes = np.flatnonzero(known), np.searchsorted(edges, numbers, side="left")
    named = []
    for code in np.unique(codes):
        inside = codes == code
        low, high = numbers[inside].min(), numbers[inside].max()
        named.append((f"{low:g}" if low == high else f"{low:g} to {high:g}", rows[inside]))
    return named


def _short(text: str) -> str:
    return text if len(text) <= _SHOWN else f"{text[: _SHOWN - 1]}…"


def _group(
    name: str,
    rows: np.ndarray,
    scores: np.ndarray,
    chosen: np.ndarray | None,
    actual: np.ndarray | None,
    params: EvaluateParams,
) -> Group:
    score = score_interval(scores[rows], params.bootstrap, params.confidence, params.seed)
    few = rows.size < FEW_ROWS
    if chosen is None or actual is None:
        return Group(name, int(rows.size), few, score)
    given, due = chosen[rows], actual[rows]
    return Group(
        name=name,
        rows=int(rows.size),
        few=few,
        score=score,
        selection_rate=_share(given),
        true_positive_rate=_share(given[due]),
        false_positive_rate=_share(given[~due]),
    )


def _share(rows: np.ndarray) -> float | None:
    return float(rows.mean()) if rows.size else None


def _gaps(groups: tuple[Group, ...], metric: str) -> tuple[Gap, ...]:
    """The gaps between the groups that are large enough, for each figure that two of them have."""
    compared = [group for group in groups if not group.few]
    figures = {metric: [group.score.value for group in compared]}
    for name in ("selection_rate", "true_positive_rate", "false_positive_rate"):
        figures[name] = [value for group in compared if (value := getattr(group, name)) is not None]
    gaps = []
    for name, values in figures.items():
        if len(values) > 1:
            ratio = min(values) / max(values) if min(values) >= 0 and max(values) > 0 else None
            gaps.append(Gap(name, max(values) - min(values), ratio))
    return tuple(gaps)
