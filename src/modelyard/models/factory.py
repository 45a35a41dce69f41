"""From ``model`` of params.yaml to a network: of the zoo, or by any ``package.module:function``."""

import inspect
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from modelyard.custom_code import import_function
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

    function = import_function(params.factory, root, "model.factory")
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
