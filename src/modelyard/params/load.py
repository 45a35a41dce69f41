"""Reading params.yaml and applying ``--set`` overrides.

Pydantic's errors are turned into ones that name the remedy.
"""

import copy
import difflib
import re
import types
import typing
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError

from modelyard.errors import ParamsError
from modelyard.params.model import Params
from modelyard.params.tree import MAX_DEPTH, name_of, read_text, read_tree, short, unfit

FILE = "params.yaml"
_EXPONENT = re.compile(r"[+-]?\d+[eE][+-]?\d+")
_POSITION = re.compile("[0-9]{1,6}")


def load(root: Path = Path()) -> Params:
    """Read ``root/params.yaml``.

    Raises:
        ParamsError: the file is missing, is not YAML, or holds an unknown key or an impossible
            value.
    """
    return parse(read_tree(root / FILE))


def parse(tree: Any) -> Params:
    """Check a parsed params.yaml.

    Raises:
        ParamsError: with one line for each offending key: its path, its value and the nearest
            valid one.
    """
    if not isinstance(tree, dict):
        raise ParamsError(
            f"{FILE} holds {name_of(tree)}, not a mapping of sections", "Start from a recipe."
        )
    remedy = f"Correct {FILE} (or the value given with --set)."
    if faults := list(unfit(tree)):
        raise ParamsError("\n".join(faults), remedy)
    try:
        return Params.model_validate(tree)
    except ValidationError as error:
        lines = [explain(dict(item)) for item in error.errors()]
        raise ParamsError("\n".join(lines), remedy) from None


def with_overrides(tree: dict[str, Any], overrides: list[str]) -> dict[str, Any]:
    """Return ``tree`` with each ``key.path=value`` of ``overrides`` applied.

    Values are read as YAML.

    Raises:
        ParamsError: an override has no ``=``, its path leads through something that is not a
            mapping or list, or its value is not plain YAML.
    """
    result = copy.deepcopy(tree)
    assign(result, overrides)
    return result


def assign(tree: dict[str, Any], overrides: list[str]) -> None:
    """As ``with_overrides``, in place; ``tree`` may be one that keeps comments (ruamel.yaml)."""
    for override in overrides:
        path, equals, text = override.partition("=")
        keys = path.split(".")
        if not equals or not all(keys) or len(keys) > MAX_DEPTH:
            raise ParamsError(
                f"--set {short(override)} is not KEY=VALUE, or KEY is no path of keys with dots",
                "For example: --set train.optimizer.lr=0.01",
            )
        _assign(tree, keys, _value(override, text), override)


def _value(override: str, text: str) -> Any:
    """The YAML after the ``=`` of an override; nothing there is null."""
    try:
        value = read_text(text) if text else None
        if faults := list(unfit(value)):
            raise ValueError("\n".join(faults))
    except ValueError as error:
        raise ParamsError(
            f"--set {short(override)}: the value cannot be read: {error}",
            "Where it is meant as text, quote it: --set 'KEY=\"VALUE\"'",
        ) from None
    return value


def _assign(node: Any, keys: list[str], value: Any, override: str) -> None:
    for depth, key in enumerate(keys):
        last = depth == len(keys) - 1
        if isinstance(node, list) and _POSITION.fullmatch(key) and int(key) < len(node):
            index: Any = int(key)
        elif isinstance(node, dict):
            index = key
        else:
            place = ".".join(keys[:depth]) or FILE
            raise ParamsError(
                f"--set {short(override)}: {place} has no part {short(key)}",
                "Name a key of params.yaml.",
            )
        if last:
            node[index] = value
        elif isinstance(node, dict):
            node = node.setdefault(index, {})
        else:
            node = node[index]


def explain(item: dict[str, Any], root: type[BaseModel] = Params) -> str:
    """One line for one pydantic error: path, problem, value, nearest valid value.

    Args:
        item: One of pydantic's ``errors()``.
        root: The section that the file as a whole is.
    """
    location = [
        part for part in item["loc"] if not str(part).startswith(("function-", "constrained-"))
    ]
    path = ".".join(str(part) for part in location) or FILE
    context, value, kind = item.get("ctx") or {}, item.get("input"), item["type"]
    if kind == "extra_forbidden":
        known = _keys_at(location[:-1], root)
        near = difflib.get_close_matches(str(location[-1]), known, n=1, cutoff=0.65)
        hint = f"did you mean {near[0]!r}?" if near else f"known keys: {', '.join(known)}"
        return f"{path}: unknown key; {hint}"
    if kind == "missing":
        return f"{path}: is required and missing"
    if kind == "literal_error":
        valid = [
            part.strip(" '") for part in str(context["expected"]).replace(" or ", ",").split(",")
        ]
        near = difflib.get_close_matches(str(value), valid, n=1, cutoff=0.0)
        nearest = near[0] if near else valid[0]
        return f"{path}: {value!r} is not one of {', '.join(valid)}; nearest: {nearest}"
    bounds = {
        "greater_than_equal": "ge",
        "greater_than": "gt",
        "less_than_equal": "le",
        "less_than": "lt",
    }
    if kind in bounds:
        sign = {"ge": "at least", "gt": "more than", "le": "at most", "lt": "less than"}[
            bounds[kind]
        ]
        bound = context[bounds[kind]]
        return f"{path}: {value!r} is out of range; nearest: {sign} {bound:g}"
    if kind == "value_error":
        return f"{path}: {context['error']}"
    shown = repr(value) if len(repr(value)) < 80 else type(value).__name__
    problem = f"{item['msg'][0].lower()}{item['msg'][1:]}"
    if kind == "float_type" and _EXPONENT.fullmatch(str(value)):
        problem = f"YAML reads this as text; write {float(str(value))!r}, or with a point: 1.0e-3"
    return f"{path}: {shown}: {problem}"


def _keys_at(location: list[Any], root: type[BaseModel]) -> list[str]:
    """The keys that the section at ``location`` declares, as written in YAML."""
    section: Any = root
    for part in location:
        if isinstance(part, int):
            continue
        for name, info in section.model_fields.items():
            if part in (name, info.alias):
                section = _section_of(info.annotation) or section
                break
    return [info.alias or name for name, info in section.model_fields.items()]


def _section_of(annotation: Any) -> type[BaseModel] | None:
    """The section type inside an annotation.

    For example in ``tuple[Field, ...]`` or ``EarlyStopping | None``.
    """
    if isinstance(annotation, type) and not isinstance(annotation, types.GenericAlias):
        return annotation if issubclass(annotation, BaseModel) else None
    return next(filter(None, map(_section_of, typing.get_args(annotation))), None)
