"""infra/local/services.yaml, typed: which processes there are, and how placeholders are filled."""

import difflib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from modelyard.errors import WorkspaceError
from modelyard.yaml_text import load_yaml

SERVICES_YAML = "infra/local/services.yaml"


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Seed(_Section):
    """Database files that are copied from the installation instead of built at first start."""

    package: str
    files: Annotated[tuple[str, ...], Field(min_length=1)]


class ServiceSpec(_Section):
    """One process; ``port`` and ``external`` name fields of Settings.

    ``health`` is a path that answers once it is up, ``heartbeat`` a file that it touches while it
    works; without either it must only live on.
    """

    command: Annotated[tuple[str, ...], Field(min_length=1)]
    port: str | None = None
    health: str | None = None
    heartbeat: str | None = None
    external: str | None = None
    seed: Seed | None = None
    env: dict[str, str] = {}


class _File(_Section):
    services: dict[Annotated[str, Field(pattern="^[a-z][a-z0-9_]*$")], ServiceSpec]


def load(root: Path) -> dict[str, ServiceSpec]:
    """Read the process file of the project at ``root``.

    Raises:
        WorkspaceError: The file is missing or not as described; names the key.
    """
    path = root / SERVICES_YAML
    try:
        tree = load_yaml(path.read_text(encoding="utf-8"))
        return _File.model_validate(tree).services
    except FileNotFoundError:
        raise WorkspaceError(
            f"{path} is missing: there is no list of the services to start.",
            f"Restore it: git checkout {SERVICES_YAML}",
        ) from None
    except yaml.YAMLError as error:
        raise WorkspaceError(f"{path} is not YAML: {error}", "Correct the line it names.") from None
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"])
        raise WorkspaceError(
            f"{path}: {key}: {first['msg']}, not {first['input']!r:.80}.",
            "Correct or remove that key; the head of the file says what each one means.",
        ) from None


def fill(text: str, values: Mapping[str, str], place: str) -> str:
    """Replace the placeholders of ``text``.

    Raises:
        WorkspaceError: ``text`` holds a placeholder that ``values`` lacks, or a stray brace; names
            ``place``.
    """
    try:
        return text.format_map(values)
    except (KeyError, ValueError, IndexError, AttributeError) as error:
        wrong = str(error.args[0]) if error.args else ""
        near = difflib.get_close_matches(wrong, values, n=1)
        hint = f"Did you mean {{{near[0]}}}? " if near else ""
        raise WorkspaceError(
            f"{SERVICES_YAML}: {place}: {text!r} cannot be filled in: {error}.",
            f"{hint}Placeholders: {', '.join(sorted(values))}. A brace itself is written twice.",
        ) from None
