"""From ``model`` of params.yaml to a network: of the zoo, or by any ``package.module:function``."""

import inspect
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from modelyard.custom_code import import_function
from modelyard.errors import ModelyardError, ParamsError
from modelyard.models.arguments import CnnArguments, MlpArguments, ResnetArguments, nearest, parse
from modelyard.params import ModelParams

if TYPE_CHECKING:
    from torch import nn

Shape = tuple[int, ...]


def build(
    params: ModelParams,
    input_shape: Shape,
    num_outputs: int,
    root: Path,
    embeddings: Sequence[tuple[int, int]] = (),
) -> "nn.Module":
    """Build and initialize the network that ``params`` names, from torch's global random state.

    Args:
        params: The section ``model``.
        input_shape: (channels, height, width) of images and sound, or (columns,).
        num_outputs: Width of the logits: classes, labels, or 1 for a number.
        root: The project's folder, from which the user's factory is imported.
        embeddings: (places, dimension) of each category whose place stands in one of the last
            columns; learned vectors stand there when the network sees them.

    Returns:
        A module on the CPU that maps float32 [N, *input_shape] to logits [N, num_outputs].

    Raises:
        ParamsError: an argument is unknown or impossible, the factory cannot be imported, fails, or
            returns something that is not such a module.
    """
    from modelyard.models.embedded import Embedded, widened

    seen = widened(input_shape, embeddings)
    if ":" in params.factory:
        model = _build_custom(params, seen, num_outputs, root)
    else:
        model = _build_zoo(params, seen, num_outputs)
    _initialize(model, params.init)
    return Embedded(model, embeddings) if embeddings else model


def _build_zoo(params: ModelParams, input_shape: Shape, num_outputs: int) -> "nn.Module":
    if params.factory == "mlp":
        from modelyard.models.mlp import Mlp

        return Mlp(input_shape, num_outputs, parse(MlpArguments, params.args))
    if len(input_shape) != 3:
        raise ParamsError(
            f"model.factory: {params.factory} is for images and sound (channels, height, width); "
            f"a row of these data is {input_shape[0]} numbers",
            "Set model.factory: mlp, or a factory of your own.",
        )
    if params.factory == "cnn":
        from modelyard.models.cnn import Cnn

        return Cnn(input_shape, num_outputs, parse(CnnArguments, params.args))
    from modelyard.models.resnet import Resnet

    return Resnet(input_shape, num_outputs, parse(ResnetArguments, params.args))


def _build_custom(
    params: ModelParams, input_shape: Shape, num_outputs: int, root: Path
) -> "nn.Module":
    from torch import nn

    function = import_function(params.factory, root, "model.factory")
    try:
        signature = inspect.signature(function)
        signature.bind(input_shape=input_shape, num_classes=num_outputs, **params.args)
    except TypeError as error:
        raise ParamsError(_explain_call(params, function, error), _CONTRACT) from None
    try:
        model = function(input_shape=input_shape, num_classes=num_outputs, **params.args)
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
    _check_logits(model, params.factory, input_shape, num_outputs)
    return model


_CONTRACT = (
    "A factory is called as function(input_shape=S, num_classes=K, **model.args) and returns a "
    "torch.nn.Module that maps float32 [N, *S] to logits [N, K]. S is (C, H, W) for images and "
    "sound, (D,) for tables and text; K is the number of classes or labels, 1 for a number."
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


def _check_logits(model: "nn.Module", factory: str, input_shape: Shape, num_outputs: int) -> None:
    """Ask the user's network for the logits of two blank rows."""
    import torch

    training = model.training
    model.eval()
    try:
        with torch.no_grad():
            shape = tuple(model(torch.zeros(2, *input_shape)).shape)
    except Exception as error:
        raise ParamsError(
            f"model.factory: the network of {factory} fails on rows of {input_shape}: "
            f"{type(error).__name__}: {error}",
            _CONTRACT,
        ) from error
    finally:
        model.train(training)
    if shape != (2, num_outputs):
        raise ParamsError(
            f"model.factory: the network of {factory} maps 2 rows to {shape}, "
            f"not to {(2, num_outputs)}",
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
