"""Nested JSON as MLflow's flat params and metrics."""

import math
from collections.abc import Iterator
from typing import Any


def flat_params(tree: dict[str, Any]) -> dict[str, str]:
    """Every leaf of ``tree`` by its dotted path, as text; lists of plain values stay one param."""
    return {path: _text(value) for path, value in _leaves(tree, "") if value is not None}


def flat_metrics(tree: dict[str, Any], group: str) -> dict[str, float]:
    """Every finite number of ``tree`` by ``group/dotted.path``; lists and texts are left out."""
    return {
        f"{group}/{path}": float(value)
        for path, value in _leaves(tree, "")
        if isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    }


def _leaves(tree: dict[str, Any], prefix: str) -> Iterator[tuple[str, Any]]:
    for key, value in tree.items():
        path = f"{prefix}{_name(str(key))}"
        if isinstance(value, dict):
            yield from _leaves(value, f"{path}.")
        elif value and isinstance(value, list) and all(isinstance(item, dict) for item in value):
            for index, item in enumerate(value):
                yield from _leaves(item, f"{path}.{index}.")
        else:
            yield path, value


def _name(key: str) -> str:
    """MLflow takes letters, digits and ``_ - .`` and a few more; anything else becomes ``_``."""
    return "".join(char if char.isalnum() or char in "_-. " else "_" for char in key)


def _text(value: Any) -> str:
    if isinstance(value, list | tuple):
        return "[" + ", ".join(str(item) for item in value) + "]"
    return str(value)
