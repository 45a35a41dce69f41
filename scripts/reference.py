"""Write docs/reference/ from the code itself: commands, params, settings.

`--check` only compares.
"""

import subprocess
import sys
import types
import typing
from pathlib import Path
from typing import Any

import typer
from pydantic import BaseModel
from pydantic_core import PydanticUndefined

from modelyard.params import Params
from modelyard.settings import Settings

ROOT = Path(__file__).parents[1]
FOLDER = ROOT / "docs" / "reference"


def commands() -> str:
    """Every command with its help as it is printed."""
    from modelyard.cli import app

    lines = ["# Commands", "", "Written by `make reference` from the commands themselves.", ""]
    for words in command_names(app):
        text = subprocess.run(
            [sys.executable, "-m", "modelyard.cli", *words, "--help"],
            check=True,
            capture_output=True,
            text=True,
            cwd=ROOT,
            env={"COLUMNS": "100", "TERM": "dumb", "NO_COLOR": "1", "PATH": "/usr/bin:/bin"},
        ).stdout
        body = "\n".join(line.rstrip() for line in text.strip("\n").splitlines())
        lines += [f"## {' '.join(words)}", "", "```text", body, "```", ""]
    return "\n".join(lines)


def command_names(app: typer.Typer) -> list[list[str]]:
    """The words of every command, those of groups after the others."""
    names = [
        [info.name or (info.callback.__name__ if info.callback else "")]
        for info in app.registered_commands
    ]
    for group in app.registered_groups:
        inner = group.typer_instance
        assert inner is not None
        name = group.name if isinstance(group.name, str) else inner.info.name
        names += [[str(name), *words] for words in command_names(inner)]
    return names


def params() -> str:
    """Every key of params.yaml: path, type, default."""
    lines = ["# params.yaml", "", "Written by `make reference` from `src/modelyard/params`.", ""]
    for name, info in Params.model_fields.items():
        section = _section(info.annotation)
        assert section is not None
        lines += [f"## {info.alias or name}", "", _doc(section), ""]
        lines += [
            "| key | type | default |",
            "|---|---|---|",
            *_rows(section, info.alias or name),
            "",
        ]
    return "\n".join(lines)


def settings() -> str:
    """Every environment variable."""
    lines = [
        "# Environment",
        "",
        "None is needed. Written by `make reference` from `src/modelyard/settings.py`.",
        "",
    ]
    lines += ["| variable | default |", "|---|---|"]
    for name, info in Settings.model_fields.items():
        variable = info.validation_alias or f"MODELYARD_{name.upper()}"
        default = "" if info.default is None else f"`{info.default}`"
        lines.append(f"| `{variable}` | {default} |")
    return "\n".join([*lines, ""])


def _rows(section: type[BaseModel], prefix: str) -> list[str]:
    rows = []
    for name, info in section.model_fields.items():
        path = f"{prefix}.{info.alias or name}"
        inner = _section(info.annotation)
        if inner is not None and inner is not section:
            many = "list" in str(info.annotation) or "tuple" in str(info.annotation)
            rows += _rows(inner, f"{path}[]" if many else path)
            continue
        default = "required" if info.default is PydanticUndefined else f"`{info.default!r}`"
        rows.append(f"| `{path}` | {_type(info.annotation)} | {default} |")
    return rows


def _type(annotation: Any) -> str:
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is typing.Annotated:
        return _type(arguments[0])
    if origin is typing.Literal:
        return " \\| ".join(map(str, arguments))
    if origin in (typing.Union, types.UnionType):
        return " \\| ".join(_type(argument) for argument in arguments)
    if origin is tuple:
        return f"list of {_type(arguments[0])}"
    if origin is dict:
        return "mapping"
    return {
        "NoneType": "null",
        "str": "text",
        "bool": "true \\| false",
        "int": "integer",
        "float": "number",
    }.get(getattr(annotation, "__name__", ""), getattr(annotation, "__name__", str(annotation)))


def _section(annotation: Any) -> type[BaseModel] | None:
    if isinstance(annotation, type) and not typing.get_origin(annotation):
        return annotation if issubclass(annotation, BaseModel) else None
    return next(filter(None, map(_section, typing.get_args(annotation))), None)


def _doc(section: type[BaseModel]) -> str:
    return " ".join((section.__doc__ or "").split())


def main() -> int:
    """Write the three pages, or with ``--check`` name those that are out of step."""
    stale = []
    for name, write in (("commands", commands), ("params", params), ("settings", settings)):
        path, text = FOLDER / f"{name}.md", write()
        if not path.exists() or path.read_text(encoding="utf-8") != text:
            stale.append(str(path.relative_to(ROOT)))
            if "--check" not in sys.argv:
                FOLDER.mkdir(parents=True, exist_ok=True)
                path.write_text(text, encoding="utf-8")
    if stale:
        print("out of step:" if "--check" in sys.argv else "written:", ", ".join(stale))
    return 1 if stale and "--check" in sys.argv else 0


if __name__ == "__main__":
    sys.exit(main())
