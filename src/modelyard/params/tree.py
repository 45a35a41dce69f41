"""YAML text to plain values: text, numbers, true, false, null, lists and mappings, nothing else.

Whatever YAML has beyond that (anchors, tags, dates, a key twice) is either read differently by
another program or is an attack; it is refused with its path and line before a value is made of it.
"""

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from modelyard.errors import ParamsError
from modelyard.yaml_text import load_yaml, safe_loader

MAX_DEPTH = 32
MAX_INTEGER = 2**63 - 1
_RESOLVER = yaml.resolver.Resolver()
_PLAIN = frozenset(
    f"tag:yaml.org,2002:{name}" for name in ("str", "int", "float", "bool", "null", "merge")
)


def read_tree(path: Path) -> dict[str, Any]:
    """The mapping that a YAML file holds.

    Raises:
        ParamsError: it is missing, is not UTF-8, is not YAML, is not a mapping, or holds what no
            params file may: anchors, tags, dates, a key twice.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise ParamsError(
            f"there is no {path.name} in {path.parent.resolve()}",
            "Run modelyard in the project's folder, or copy a recipe there.",
        ) from None
    except UnicodeDecodeError as error:
        raise ParamsError(f"{path.name} is not UTF-8 text: {error}", "Save it as UTF-8.") from None
    try:
        tree = read_text(text)
    except ValueError as error:
        raise ParamsError(f"{path.name}: {error}", "Mend the line that it names.") from None
    if not isinstance(tree, dict):
        raise ParamsError(
            f"{path.name} holds {name_of(tree)}, not a mapping of sections",
            "Start from a recipe.",
        )
    return tree


def read_text(text: str) -> Any:
    """The value that YAML text stands for.

    Raises:
        ValueError: with the path, the line and what is wrong there.
    """
    try:
        _scan(text)
        return load_yaml(text)
    except yaml.YAMLError as error:
        raise ValueError(f"not valid YAML: {error}") from None


def unfit(value: Any, path: str = "") -> Iterator[str]:
    """A line for each value within ``value`` that is none of the plain ones, with its path."""
    yield from _unfit(value, path, 0)


def name_of(value: Any) -> str:
    """The kind of a value in words."""
    if value is None:
        return "nothing"
    names = {
        "str": "text",
        "list": "a list",
        "dict": "a mapping",
        "bool": "true or false",
        "int": "a number",
        "float": "a number",
        "date": "a date",
        "datetime": "a time",
        "bytes": "binary data",
        "set": "a set",
    }
    return names.get(type(value).__name__, f"a {type(value).__name__}")


class _Frame:
    """An open list or mapping of the scan, and where in it the next value goes."""

    def __init__(self, is_mapping: bool) -> None:
        self.is_mapping = is_mapping
        self.keys: dict[str, int] = {}
        self.key: str | None = None
        self.index = -1

    def enter(self, event: yaml.NodeEvent, path: str) -> str:
        """Take the next node: a key of the mapping at ``path``, its value, or an item of the list.

        Return the key or position that it belongs to.
        """
        if not self.is_mapping:
            self.index += 1
            return str(self.index)
        if self.key is not None:
            key, self.key = self.key, None
            return key
        self.key = key = event.value if isinstance(event, yaml.ScalarEvent) else "?"
        if key in self.keys:
            raise ValueError(
                f"line {_line(event)}: {_join(path, key)} is given twice, "
                f"first in line {self.keys[key]}"
            )
        self.keys[key] = _line(event)
        return key


def _scan(text: str) -> None:
    """Walk the parser's events; what no params file may hold is found before it is built."""
    frames: list[_Frame] = []
    names: list[str] = []
    for event in yaml.parse(text, Loader=safe_loader()):
        if isinstance(event, yaml.CollectionEndEvent):
            frames.pop()
            if names:
                names.pop()
        if not isinstance(event, yaml.NodeEvent):
            continue
        name = frames[-1].enter(event, ".".join(names)) if frames else None
        _check(event, ".".join([*names, *([] if name is None else [name])]), len(frames))
        if isinstance(event, yaml.CollectionStartEvent):
            if name is not None:
                names.append(name)
            frames.append(_Frame(isinstance(event, yaml.MappingStartEvent)))


def _check(event: yaml.NodeEvent, place: str, depth: int) -> None:
    """Refuse a node by what its event says; ``ValueError`` names line and place."""
    at = f"line {_line(event)}: {place}: " if place else f"line {_line(event)}: "
    if isinstance(event, yaml.AliasEvent) or event.anchor is not None:
        raise ValueError(
            f"{at}anchors and aliases (&{event.anchor}, *{event.anchor}) are not read here: "
            "write the value out, or quote a text that begins with & or *"
        )
    if depth > MAX_DEPTH:
        raise ValueError(f"{at}lists and mappings are nested more than {MAX_DEPTH} deep")
    tag = getattr(event, "tag", None)
    if tag is not None:
        shown = tag.replace("tag:yaml.org,2002:", "!!")
        raise ValueError(f"{at}the tag {shown} is not read here: write a plain value, or quote it")
    if not isinstance(event, yaml.ScalarEvent) or not event.implicit[0]:
        return
    tag = _RESOLVER.resolve(yaml.ScalarNode, event.value, (True, False))
    if tag not in _PLAIN:
        kind = "a date" if tag.endswith(":timestamp") else "a special value of YAML"
        raise ValueError(f"{at}{short(event.value)} is {kind}: quote it to have text")
    if tag.endswith(":int") and len(event.value) > 100:
        raise ValueError(f"{at}an integer of {len(event.value)} digits is too large")


def _unfit(value: Any, path: str, depth: int) -> Iterator[str]:
    at = f"{path}: " if path else ""
    if depth > MAX_DEPTH:
        yield f"{at}lists and mappings are nested more than {MAX_DEPTH} deep"
    elif isinstance(value, dict):
        for key, item in value.items():
            fault = _fault(key) if isinstance(key, str) else f"is {name_of(key)}, not text"
            if fault:
                yield f"{at}the key {short(key)} {fault}"
            else:
                yield from _unfit(item, _join(path, key), depth + 1)
    elif isinstance(value, list | tuple):
        for index, item in enumerate(value):
            yield from _unfit(item, _join(path, str(index)), depth + 1)
    elif fault := _fault(value):
        yield f"{at}{short(value)} {fault}"


def _fault(value: Any) -> str:
    """What is wrong with a value that is neither list nor mapping; empty where nothing is."""
    if isinstance(value, str):
        return "" if _encodes(value) else "holds half of a surrogate pair, which is no text"
    if isinstance(value, float):
        return "" if math.isfinite(value) else "is not a finite number"
    if isinstance(value, int):
        return "" if abs(value) <= MAX_INTEGER else "is too large an integer: at most 2**63 - 1"
    if value is None:
        return ""
    return f"is {name_of(value)}; possible: text, number, true, false, null, list, mapping"


def _encodes(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _join(path: str, key: str) -> str:
    return f"{path}.{key}" if path else key


def _line(event: yaml.NodeEvent) -> int:
    return event.start_mark.line + 1


def short(value: Any) -> str:
    """A value as it is shown in a message, on one line of bounded length."""
    if isinstance(value, int):
        return hex(value)[:77] if abs(value) > MAX_INTEGER else repr(value)
    shown = ascii(value) if isinstance(value, str) and not _encodes(value) else repr(value)
    return shown if len(shown) <= 80 else f"{shown[:77]}..."
