"""infra/runs.yaml, typed: time-outs of steps, slots of trainings, places that are watched."""

from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from modelyard.errors import WorkspaceError
from modelyard.yaml_text import load_yaml

RUNS_YAML = "infra/runs.yaml"
TRAINING = "training"
"""The global concurrency limit that a training takes a slot of."""

Seconds = Annotated[float, Field(gt=0)]
Name = Annotated[str, Field(pattern="^[a-z][a-z0-9-]*$")]


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Watch(_Section):
    """A folder (relative to the project, or absolute) or ``s3://bucket/prefix``."""

    place: Annotated[str, Field(min_length=1)]
    every: Annotated[float, Field(ge=1)] = 10.0


class RunRules(_Section):
    """The whole file."""

    timeouts: dict[str, Seconds] = {}
    slots: dict[Name, Annotated[int, Field(ge=1)]] = {TRAINING: 1}
    watches: dict[Name, Watch] = {}


def load(root: Path) -> RunRules:
    """Read the file of the project at ``root``.

    Raises:
        WorkspaceError: it is missing or not as described; names the key.
    """
    import yaml

    path = root / RUNS_YAML
    try:
        tree = load_yaml(path.read_text(encoding="utf-8"))
        return RunRules.model_validate(tree or {})
    except FileNotFoundError:
        raise WorkspaceError(
            f"{path} is missing", f"Restore it: git checkout {RUNS_YAML}"
        ) from None
    except (ValueError, yaml.YAMLError) as error:
        raise WorkspaceError(
            f"{path}: {_first(error)}", "Correct that key; the file's comments say what it means."
        ) from None


def _first(error: Exception) -> str:
    if not isinstance(error, ValidationError):
        return str(error)
    first = error.errors()[0]
    key = ".".join(str(part) for part in first["loc"])
    return f"{key}: {first['msg']}, not {first['input']!r:.80}"
