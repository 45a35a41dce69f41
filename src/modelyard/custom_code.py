"""The team's own functions and classes, named in params.yaml as ``package.module:name``."""

import difflib
import importlib
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from types import ModuleType
from typing import Any

from modelyard.errors import ParamsError


def import_function(name: str, root: Path, key: str) -> Callable[..., Any]:
    """Import ``package.module:name`` (a function or class), with the project's folder on the path.

    Args:
        name: What params.yaml names.
        root: The project's folder.
        key: The path of the key that names it, for messages; for instance ``model.factory``.

    Raises:
        ParamsError: there is no such module or function, importing it fails, or it runs code of the
            project that DVC does not know as a dependency.
    """
    module_name, _, attribute = name.partition(":")
    _look_first(root.resolve(), module_name.partition(".")[0])
    before = set(sys.modules)
    try:
        module = importlib.import_module(module_name)
    except Exception as error:
        raise ParamsError(
            f"{key}: {name!r} cannot be imported: {type(error).__name__}: {error}",
            f"Check that {module_name.replace('.', '/')}.py is in the project and imports.",
        ) from error
    loaded = [module, *map(sys.modules.get, set(sys.modules) - before)]
    _refuse_untracked(name, root, key, loaded)
    function = getattr(module, attribute, None)
    if not callable(function):
        own = [
            word
            for word, value in vars(module).items()
            if callable(value) and getattr(value, "__module__", None) == module.__name__
        ]
        near = difflib.get_close_matches(attribute, own, n=1, cutoff=0.5)
        hint = f"did you mean {near[0]!r}?" if near else f"it has: {', '.join(own) or 'none'}"
        raise ParamsError(
            f"{key}: {module_name} has no function {attribute!r}; {hint}",
            "Name a function of that module after the colon.",
        )
    return function


def _look_first(root: Path, package: str) -> None:
    """Have ``package`` imported from the project at ``root``, where that has it.

    This process may have imported another project's of the same name before.
    """
    if sys.path[:1] != [str(root)]:
        sys.path[:] = [str(root), *(path for path in sys.path if path != str(root))]
    if not (root / package).is_dir() and not (root / f"{package}.py").is_file():
        return
    for name in [name for name in sys.modules if name.partition(".")[0] == package]:
        module = sys.modules[name]
        places = [file] if (file := _file(module)) else list(getattr(module, "__path__", []))
        if places and not any(Path(place).resolve().is_relative_to(root) for place in places):
            del sys.modules[name]


def _refuse_untracked(
    name: str, root: Path, key: str, modules: Iterable[ModuleType | None]
) -> None:
    """Refuse code whose change would rerun nothing.

    dvc.yaml lists ``custom`` and Modelyard's own code; installed packages are pinned by
    requirements.lock.
    """
    root = root.resolve()
    known = [(root / folder).resolve() for folder in ("custom", "src/modelyard")]
    files = {Path(file).resolve() for module in modules if (file := _file(module))}
    for file in sorted(files):
        if not file.is_relative_to(root) or any(file.is_relative_to(folder) for folder in known):
            continue
        relative = file.relative_to(root)
        if "site-packages" not in relative.parts:
            raise ParamsError(
                f"{key}: {name!r} runs code of {relative}, which is not in custom/",
                f"Move {relative} into custom/: its changes rerun the stages only there.",
            )


def _file(module: ModuleType | None) -> str | None:
    return getattr(module, "__file__", None)
