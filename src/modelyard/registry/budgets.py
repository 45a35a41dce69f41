"""The absolute bounds of ``promote.budgets``: what of them a version does not keep."""

from collections.abc import Iterator
from typing import Any

from modelyard.evaluation.groups import FEW_ROWS
from modelyard.params import Budgets

_Row = dict[str, Any]


def over_budget(
    budgets: Budgets, metric: str, score_low: float, latency_ms: float, size_mb: float
) -> list[str]:
    """One sentence for each bound on what the gate measured that is not kept.

    Args:
        budgets: The bounds.
        metric: The task's main one.
        score_low: Lower end of its interval.
        latency_ms: Of one row, p50.
        size_mb: Of the file, 10^6 bytes.
    """
    failures = []
    if budgets.min_score is not None and score_low < budgets.min_score:
        failures.append(f"{metric} could be as low as {score_low:.4f}, under {budgets.min_score:g}")
    if budgets.max_latency_ms is not None and latency_ms > budgets.max_latency_ms:
        failures.append(f"a row takes {latency_ms:.3f} ms, over {budgets.max_latency_ms:g}")
    if budgets.max_size_mb is not None and size_mb > budgets.max_size_mb:
        failures.append(f"the file has {size_mb:.3f} MB, over {budgets.max_size_mb:g}")
    return failures


def unfair(budgets: Budgets, metric: str, evaluation: _Row) -> list[str]:
    """One sentence for each class or sensitive group that the model serves too badly.

    A class counts by the shipped file's recall, unless no test row is of it. A group counts by the
    lower end of the trained network's score, unless it has fewer rows than can be told apart from
    chance (``FEW_ROWS``). Where the package records no such figures, that is a failure too.

    Args:
        budgets: The bounds.
        metric: The task's main one.
        evaluation: ``evaluation.json`` of the package.
    """
    failures = []
    if (least := budgets.min_class_recall) is not None:
        classes = evaluation.get("shipped", {}).get("classes") or []
        if not classes:
            failures.append("min_class_recall is set, but the package records no recall by class")
        failures += [
            f"recall of class {row['label']!r} is {row['recall']:.4f} ({row['support']} rows),"
            f" under {least:g}"
            for row in classes
            if row["support"] and row["recall"] < least
        ]
    if (least := budgets.min_group_score) is not None:
        groups = list(_groups(evaluation))
        if not groups:
            failures.append(
                "min_group_score is set, but the package records no sensitive group of"
                f" {FEW_ROWS} rows or more"
            )
        failures += [
            f"{metric} of {column} {row['name']!r} could be as low as {row['score']['low']:.4f}"
            f" ({row['rows']} rows), under {least:g}"
            for column, row in groups
            if row["score"]["low"] is not None and row["score"]["low"] < least
        ]
    return failures


def _groups(evaluation: _Row) -> Iterator[tuple[str, _Row]]:
    for table in evaluation.get("trained", {}).get("groups") or []:
        for row in table["groups"]:
            if not row["few"]:
                yield table["name"], row
