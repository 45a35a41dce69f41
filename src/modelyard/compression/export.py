"""The trained network as an ONNX graph: features in, its raw outputs out."""

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from modelyard.compression.onnx_file import stripped
from modelyard.errors import ModelyardError

if TYPE_CHECKING:
    from onnx import ModelProto
    from torch import nn
    from torch.export import ExportedProgram

OPSET = 20
INPUT = "features"
OUTPUT = "network_outputs"
EXAMPLE_ROWS = 2
"""Not 1: the exporter takes a size of 1 for a constant."""

_NOISY = ("torch.onnx", "torch.export", "torch._dynamo", "onnxscript", "onnx_ir")


def export(module: "nn.Module", input_shape: tuple[int, ...]) -> "ModelProto":
    """``export_program`` and ``to_onnx`` in one."""
    return to_onnx(export_program(module, input_shape), type(module).__name__)


def export_program(module: "nn.Module", input_shape: tuple[int, ...]) -> "ExportedProgram":
    """The network as ``torch.export`` sees it.

    Args:
        module: Maps float32 [N, *input_shape] to logits or scaled targets [N, K]; in evaluation
            mode.
        input_shape: (C, H, W), (1, mels, frames), or (D,).

    Raises:
        ModelyardError: the network does something that cannot be exported, such as control flow
            over data.
    """
    import torch

    example = torch.zeros(EXAMPLE_ROWS, *input_shape)
    batch = {0: torch.export.Dim("batch")}
    with _exporting(type(module).__name__):
        return torch.export.export(
            _wrapped(module), (example,), dynamic_shapes=(batch,), strict=False
        )


def to_onnx(program: "ExportedProgram", name: str) -> "ModelProto":
    """A program by ``torch.onnx``, which folds and fuses.

    Args:
        program: Of ``export_program``.
        name: The network's, for the message.

    Returns:
        A model with input ``features`` float32 [batch, *input_shape] and output ``network_outputs``
        float32 [batch, K], free of metadata (see ``onnx_file.stripped``).

    Raises:
        ModelyardError: it uses an operator that ONNX has not.
    """
    import torch

    with _exporting(name):
        exported = torch.onnx.export(
            program,
            dynamo=True,
            input_names=[INPUT],
            output_names=[OUTPUT],
            opset_version=OPSET,
            external_data=False,
            verbose=False,
        )
    assert exported is not None
    return stripped(exported.model_proto)


def _wrapped(module: "nn.Module") -> "nn.Module":
    """The network behind one argument of a known name."""
    from torch import nn

    return nn.Sequential(module).eval()


@contextmanager
def _exporting(name: str) -> Iterator[None]:
    """Turn any failure of the exporters into one that names the network."""
    with _quiet():
        try:
            yield
        except Exception as error:
            reason = str(error).strip().splitlines() or [type(error).__name__]
            raise ModelyardError(
                f"{name} cannot be exported to ONNX: {reason[0]}",
                "Use operators that torch.onnx supports, any number of rows, and no control flow"
                " over values; --debug shows the exporter's whole report.",
            ) from error


@contextmanager
def _quiet() -> Iterator[None]:
    """Hold back the exporters' remarks on optional packages and on their own deprecations."""
    loggers = [logging.getLogger(name) for name in _NOISY]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
