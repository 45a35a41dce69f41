"""Nested JSON as MLflow's flat params and metrics."""

import math
from collections.abc import Iterator
from typing import Any


def flat_params(tree: dict[str, Any]) -> dict[str, str]:
    """Every leaf of ``tree`` by its dotted path, as text; lists of plain values stay one param."""
    return {path: _text(value) for path, value in _leaves(tree, "") if value is not None}


def flat_metrics(tree: dict[str, Any], group: str) -> dict[str, float]:
    """Every finite number of ``tree`` by ``group/dotted.path``.

    An estimate ``{"value", "low", "high"}`` goes by its own name. Tables (classes, bins) are left
    to the reports, but for lists whose entries have a ``name``: the candidates.
    """
    return {
        f"{group}/{path.removesuffix('.value')}": float(value)
        for path, value in _leaves(_named(tree), "")
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


def _named(value: Any) -> Any:
    """The same tree without lists, those of named entries turned into mappings."""
    if isinstance(value, list):
        entries = [item for item in value if isinstance(item, dict) and "name" in item]
        return {str(item["name"]): _named(item) for item in entries}
    if isinstance(value, dict):
        return {key: _named(item) for key, item in value.items()}
    return value


def _name(key: str) -> str:
    """MLflow takes letters, digits and ``_ - .`` and a few more; anything else becomes ``_``."""
    return "".join(char if char.isalnum() or char in "_-. " else "_" for char in key)


def _text(value: Any) -> str:
    if isinstance(value, list | tuple):
        return "[" + ", ".join(str(item) for item in value) + "]"
    return str(value)
