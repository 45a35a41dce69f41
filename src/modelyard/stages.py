"""From a stage's name in dvc.yaml to the function that does its work.

Both ways to run a stage, ``dvc repro`` (by ``modelyard stage NAME``) and the flow, come through
``execute``, so that both do the same. What a stage depends on is read from dvc.yaml, its only
definition.
"""

import hashlib
import importlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from modelyard.artifacts import Layout, canonical, sha256_file
from modelyard.errors import WorkspaceError
from modelyard.params import Params, load
from modelyard.settings import Settings
from modelyard.yaml_text import load_yaml

if TYPE_CHECKING:
    from modelyard.training.context import EpochRecord, Stream

STAGES: dict[str, str] = {
    "fetch": "modelyard.data.fetch:fetch",
    "ingest": "modelyard.data.ingest:ingest",
    "train": "modelyard.training.train:train",
    "cross_validate": "modelyard.training.cross_validate:cross_validate",
    "baselines": "modelyard.evaluation.baselines:baselines",
    "evaluate": "modelyard.evaluation.evaluate:evaluate",
    "compress": "modelyard.compression.compress:compress",
}


@dataclass(frozen=True)
class Execution:
    """What a stage may use beside its declared inputs; none of it reaches its outputs."""

    settings: Settings
    open_stream: "Callable[[str], Stream | None] | None" = None
    on_epoch: "Callable[[EpochRecord], None] | None" = None
    slot: Callable[[], AbstractContextManager[None]] = nullcontext


def execute(name: str, root: Path, execution: Execution) -> Any:
    """Run the function of stage ``name`` on the project in ``root`` and return its artifact.

    Raises:
        WorkspaceError: there is no such stage, or a file or param that it depends on changed while
            it ran; its outputs are then not to be recorded.
        ModelyardError: what the stage itself refuses.
    """
    if name not in STAGES:
        raise WorkspaceError(
            f"there is no stage {name!r}", f"The stages of dvc.yaml are: {', '.join(STAGES)}."
        )
    params, layout = load(root), Layout(root)
    before = fingerprint(dependencies(name, root), root)
    with execution.slot():
        artifact = _call(name, layout, params, execution)
    after = fingerprint(dependencies(name, root), root)
    changed = sorted(path for path, state in after.items() if before.get(path) != state)
    if load(root) != params:
        changed.append("params.yaml")
    if changed:
        raise WorkspaceError(
            f"stage {name}: {', '.join(changed)} changed while it ran, "
            "so its result is not recorded",
            "Run again, or use `modelyard run --isolated` to work on while a run is under way.",
        )
    return artifact


def function(name: str) -> Callable[..., Any]:
    """Import the function of a stage."""
    module, _, attribute = STAGES[name].partition(":")
    return getattr(importlib.import_module(module), attribute)


def dependencies(name: str, root: Path) -> list[Path]:
    """The files and folders that dvc.yaml lists as ``deps`` of a stage, relative to ``root``."""
    return [Path(entry) for entry in _definition(name, root).get("deps") or []]


def is_frozen(name: str, root: Path) -> bool:
    """Whether dvc.yaml says that a stage's recorded outputs stand, whatever it depends on."""
    return bool(_definition(name, root).get("frozen"))


def stage_key(name: str, root: Path, params: Params) -> str:
    """Hex sha256 over all that a stage depends on: equal keys mean an equal result.

    Names the folder of its checkpoints and the MLflow run that its curves stream to.
    """
    tree = params.model_dump(mode="json", by_alias=True)
    sections = {key: _lookup(tree, key) for key in _definition(name, root).get("params") or []}
    files = {str(path): sha256_file(root / path) for path in _files(dependencies(name, root), root)}
    return hashlib.sha256(
        canonical({"stage": name, "params": sections, "files": files})
    ).hexdigest()


def fingerprint(paths: Iterable[Path], root: Path) -> dict[str, tuple[int, int]]:
    """Size and modification time (ns) of every file at or below ``paths``, by relative path.

    Raises:
        WorkspaceError: one of ``paths`` is not there.
    """
    states = {}
    for path in _files(paths, root):
        status = (root / path).stat()
        states[str(path)] = (status.st_size, status.st_mtime_ns)
    return states


def _call(name: str, layout: Layout, params: Params, execution: Execution) -> Any:
    run, settings = function(name), execution.settings
    match name:
        case "fetch" | "ingest":
            return run(layout, params.data, settings.state_dir)
        case "train":
            from modelyard.training.context import TrainContext

            key = stage_key("train", layout.root, params)
            stream = execution.open_stream(key) if execution.open_stream else None
            context = TrainContext(settings.checkpoints / key, stream, execution.on_epoch)
            return run(layout, params.model, params.train, context)
        case "cross_validate":
            folder = settings.checkpoints / stage_key(name, layout.root, params)
            return run(layout, params.model, params.train, params.evaluate.folds, folder)
        case "baselines" | "evaluate":
            return run(layout, params.evaluate)
        case _:
            return run(layout, params.compress, params.evaluate, settings.measurements)


def _definition(name: str, root: Path) -> dict[str, Any]:
    import yaml

    try:
        text = (root / "dvc.yaml").read_text(encoding="utf-8")
        return load_yaml(text)["stages"][name]
    except (OSError, ValueError, KeyError, TypeError, yaml.YAMLError) as error:
        raise WorkspaceError(
            f"dvc.yaml does not define stage {name}: {error}",
            "Restore it: `git checkout dvc.yaml`.",
        ) from None


def _files(paths: Iterable[Path], root: Path) -> Iterator[Path]:
    for path in paths:
        if not (root / path).exists():
            raise WorkspaceError(
                f"{path} is not there, and a stage depends on it",
                "Run the stages before it (`modelyard run`), or restore the file.",
            )
        if (root / path).is_dir():
            inside = (root / path).rglob("*")
            yield from sorted(
                file.relative_to(root)
                for file in inside
                if file.is_file() and "__pycache__" not in file.parts and file.suffix != ".md"
            )
        else:
            yield path


def _lookup(tree: dict[str, Any], path: str) -> Any:
    for key in path.split("."):
        tree = tree[key]
    return tree
