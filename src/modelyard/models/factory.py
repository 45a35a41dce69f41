"""From ``model`` of params.yaml to a network: of the zoo, or by any ``package.module:function``."""

import importlib
import inspect
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from modelyard.errors import ModelyardError, ParamsError
from modelyard.models.arguments import CnnArguments, MlpArguments, ResnetArguments, nearest, parse
from modelyard.params import ModelParams

if TYPE_CHECKING:
    from torch import nn


def build(
    params: ModelParams, input_shape: tuple[int, int, int], num_classes: int, root: Path
) -> "nn.Module":
    """Build and initialize the network that ``params`` names, from torch's global random state.

    Args:
        params: The section ``model``.
        input_shape: Channels, height, width.
        num_classes: Width of the logits.
        root: The project's folder, from which the user's factory is imported.

    Returns:
        A module on the CPU that maps float32 [N, C, H, W] to logits [N, num_classes].

    Raises:
        ParamsError: an argument is unknown or impossible, the factory cannot be imported, fails, or
            returns something that is not such a module.
    """
    if ":" in params.factory:
        model = _build_custom(params, input_shape, num_classes, root)
    else:
        model = _build_zoo(params, input_shape, num_classes)
    _initialize(model, params.init)
    return model


def import_factory(name: str, root: Path) -> Callable[..., Any]:
    """Import the function ``package.module:function``, with the project's folder on the path.

    Raises:
        ParamsError: there is no such module or function, importing it fails, or it runs code of the
            project that DVC does not know as a dependency.
    """
    module_name, _, attribute = name.partition(":")
    if str(root.resolve()) not in sys.path:
        sys.path.insert(0, str(root.resolve()))
    before = set(sys.modules)
    try:
        module = importlib.import_module(module_name)
    except Exception as error:
        raise ParamsError(
            f"model.factory: {name!r} cannot be imported: {type(error).__name__}: {error}",
            f"Check that {module_name.replace('.', '/')}.py is in the project and imports.",
        ) from error
    _refuse_untracked(name, root, [module, *map(sys.modules.get, set(sys.modules) - before)])
    function = getattr(module, attribute, None)
    if not callable(function):
        functions = [key for key, value in vars(module).items() if inspect.isfunction(value)]
        raise ParamsError(
            f"model.factory: {module_name} has no function {attribute!r}; "
            f"{nearest(attribute, functions)}",
            "Name a function of that module after the colon.",
        )
    return function


def _refuse_untracked(name: str, root: Path, modules: Iterable[ModuleType | None]) -> None:
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
                f"model.factory: {name!r} runs code of {relative}, which is not in custom/",
                f"Move {relative} into custom/: its changes rerun the stages only there.",
            )


def _file(module: ModuleType | None) -> str | None:
    return getattr(module, "__file__", None)


def _build_zoo(
    params: ModelParams, input_shape: tuple[int, int, int], num_classes: int
) -> "nn.Module":
    if params.factory == "mlp":
        from modelyard.models.mlp import Mlp

        return Mlp(input_shape, num_classes, parse(MlpArguments, params.args))
    if params.factory == "cnn":
        from modelyard.models.cnn import Cnn

        return Cnn(input_shape, num_classes, parse(CnnArguments, params.args))
    from modelyard.models.resnet import Resnet

    return Resnet(input_shape, num_classes, parse(ResnetArguments, params.args))


def _build_custom(
    params: ModelParams, input_shape: tuple[int, int, int], num_classes: int, root: Path
) -> "nn.Module":
    from torch import nn

    function = import_factory(params.factory, root)
    try:
        signature = inspect.signature(function)
        signature.bind(input_shape=input_shape, num_classes=num_classes, **params.args)
    except TypeError as error:
        raise ParamsError(_explain_call(params, function, error), _CONTRACT) from None
    try:
        model = function(input_shape=input_shape, num_classes=num_classes, **params.args)
    except ModelyardError:
        raise
    except Exception as error:
        raise ParamsError(
            f"model.factory: {params.factory} raised {type(error).__name__}: {error}",
            "Correct the function or model.args.",
        ) from error
    if not isinstance(model, nn.Module):
        raise ParamsError(
            f"model.factory: {params.factory} returned {type(model).__name__}, not an nn.Module",
            _CONTRACT,
        )
    _check_logits(model, params.factory, input_shape, num_classes)
    return model


_CONTRACT = (
    "A factory is called as function(input_shape=(C, H, W), num_classes=K, **model.args) and "
    "returns a torch.nn.Module that maps float32 [N, C, H, W] to logits [N, K]."
)


def _explain_call(params: ModelParams, function: Callable[..., Any], error: TypeError) -> str:
    """Name the key of ``model.args`` that the factory does not take."""
    known = [name for name in inspect.signature(function).parameters if name not in _GIVEN]
    for key in params.args:
        if key in _GIVEN:
            return f"model.args.{key}: is given to every factory; leave it out of model.args"
        if key not in known:
            return f"model.args.{key}: {params.factory} has no such argument; {nearest(key, known)}"
    return f"model.factory: {params.factory} cannot be called with these model.args: {error}"


_GIVEN = ("input_shape", "num_classes")


def _check_logits(
    model: "nn.Module", factory: str, input_shape: tuple[int, int, int], num_classes: int
) -> None:
    """Ask the user's network for the logits of two blank images."""
    import torch

    training = model.training
    model.eval()
    try:
        with torch.no_grad():
            shape = tuple(model(torch.zeros(2, *input_shape)).shape)
    except Exception as error:
        raise ParamsError(
            f"model.factory: the network of {factory} fails on images of {input_shape}: "
            f"{type(error).__name__}: {error}",
            _CONTRACT,
        ) from error
    finally:
        model.train(training)
    if shape != (2, num_classes):
        raise ParamsError(
            f"model.factory: the network of {factory} maps 2 images to {shape}, "
            f"not to {(2, num_classes)}",
            _CONTRACT,
        )


def _initialize(model: "nn.Module", init: str) -> None:
    """Draw linear and convolution weights anew (Glorot 2010, He 2015); biases become zero."""
    from torch import nn

    if init == "default":
        return
    for module in model.modules():
        if isinstance(module, (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d)):
            if init == "xavier":
                nn.init.xavier_uniform_(module.weight)
            else:
                nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
            if module.bias is not None:
                nn.init.zeros_(module.bias)
