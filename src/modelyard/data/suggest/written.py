"""A proposal as YAML to edit: short values on one line, the evidence of each behind it."""

import re
from typing import Any

import yaml

from modelyard.data.suggest.proposal import Proposal

_LISTS = ("fields", "quality", "expectations")
_LONGEST_NOTE = 160


def data_yaml(proposal: Proposal) -> str:
    """The ``data`` section, each guess with its evidence as a comment."""
    lines = ["data:"]
    for key, value in proposal.tree.items():
        if key == "schema":
            lines.append("  schema:")
            for inner, content in value.items():
                lines += _entry(inner, content, f"schema.{inner}", proposal.notes, "    ")
        else:
            lines += _entry(key, value, key, proposal.notes, "  ")
    return "\n".join(lines) + "\n"


def section_yaml(name: str, tree: dict[str, Any], notes: dict[str, str]) -> str:
    """Another section, a key a line."""
    lines = [f"{name}:"]
    for key, value in tree.items():
        lines += _entry(key, value, f"{name}.{key}", notes, "  ")
    return "\n".join(lines) + "\n"


def comment(text: str) -> str:
    """Evidence on one line, whatever the source had in it."""
    line = re.sub(r"\s+", " ", "".join(char if char.isprintable() else " " for char in text))
    return line.strip() if len(line) <= _LONGEST_NOTE else f"{line[: _LONGEST_NOTE - 3].strip()}..."


def flow(value: Any) -> str:
    """A value as YAML on one line."""
    text = yaml.safe_dump(
        value, default_flow_style=True, sort_keys=False, allow_unicode=True, width=2**31 - 1
    )
    return text.removesuffix("\n").removesuffix("\n...").strip()


def _entry(key: str, value: Any, path: str, notes: dict[str, str], indent: str) -> list[str]:
    said = notes.get(path, "")
    if key in _LISTS and value:
        lines = [_noted(f"{indent}{key}:", said)]
        for item in value:
            name = item.get("name", "") if key == "fields" else ""
            lines.append(_noted(f"{indent}  - {flow(item)}", notes.get(f"{path}.{name}", "")))
        return lines
    return [_noted(f"{indent}{key}: {flow(value)}", said)]


def _noted(line: str, said: str) -> str:
    return f"{line}  # {comment(said)}" if said else line
