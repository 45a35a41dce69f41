"""The folder of a trained model: weights as safetensors, the rest as JSON; no pickle."""

import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from modelyard.artifacts import TrainedModel, read_json, write_json
from modelyard.errors import WorkspaceError
from modelyard.models.factory import build
from modelyard.params import ModelParams

if TYPE_CHECKING:
    from torch import nn

WEIGHTS = "model.safetensors"
DESCRIPTION = "model.json"
HISTORY = "history.json"


@dataclass(frozen=True)
class Description:
    """What ``model.json`` says: how to build the network again, and how its training went.

    ``input_shape``, ``embeddings`` and ``num_outputs`` are those that ``build`` was called with.
    """

    factory: str
    args: dict[str, Any]
    task: str
    input_shape: tuple[int, ...]
    embeddings: tuple[tuple[int, int], ...]
    num_outputs: int
    best_epoch: int
    epochs_run: int
    num_parameters: int


def describe(trained: TrainedModel) -> Description:
    """Read ``model.json`` of a trained folder.

    Raises:
        WorkspaceError: the folder holds no trained model.
    """
    try:
        tree = read_json(trained.path / DESCRIPTION)
    except FileNotFoundError:
        raise WorkspaceError(
            f"there is no trained model in {trained.path}", "Run the stage train first."
        ) from None
    tree["input_shape"] = tuple(tree["input_shape"])
    tree["embeddings"] = tuple(map(tuple, tree["embeddings"]))
    return Description(**tree)


def load(trained: TrainedModel, root: Path) -> "nn.Module":
    """Rebuild the trained network: fp32, on the CPU, in evaluation mode.

    Args:
        trained: The folder.
        root: The project's folder, from which the user's factory is imported.

    Raises:
        WorkspaceError: the folder holds no trained model, or its weights do not fit the factory.
        ParamsError: the user's factory cannot be imported or called any more.
    """
    from safetensors.torch import load_file

    description = describe(trained)
    params = ModelParams(factory=description.factory, args=description.args)
    model = build(
        params,
        description.input_shape,
        description.num_outputs,
        root,
        description.embeddings,
    )
    try:
        model.load_state_dict(load_file(trained.path / WEIGHTS), strict=True)
    except RuntimeError as error:
        raise WorkspaceError(
            f"the weights in {trained.path} do not fit {description.factory}: {error}",
            "The factory changed since the training; run the stage train again.",
        ) from error
    return model.eval()


def save(
    path: Path, weights: Path, description: Description, history: list[dict[str, Any]]
) -> TrainedModel:
    """Write a trained folder, whole or not at all: built beside ``path``, then renamed.

    Args:
        path: Where the folder shall be.
        weights: A safetensors file of the state dict, which is copied.
        description: For ``model.json``.
        history: One object an epoch, for ``history.json``.

    Raises:
        WorkspaceError: the disk is full or the folder cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=f".{path.name}.", dir=path.parent) as name:
            temporary = Path(name) / path.name
            temporary.mkdir()
            shutil.copyfile(weights, temporary / WEIGHTS)
            write_json(temporary / DESCRIPTION, {**vars(description)})
            write_json(temporary / HISTORY, history)
            shutil.rmtree(path, ignore_errors=True)
            temporary.replace(path)
    except OSError as error:
        raise WorkspaceError(
            f"the trained model cannot be written to {path}: {error}",
            "Free some space, then run again; the training resumes from its last checkpoint.",
        ) from error
    return TrainedModel(path)
