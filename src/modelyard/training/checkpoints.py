"""Checkpoints without pickle: safetensors, JSON, and a manifest that is checked before reading.

A folder ``epoch-00003`` is complete or not there: it is written under a temporary name, synced and
renamed. Random state is not stored: every epoch seeds itself from (seed, epoch, rank), and learning
rate, early stopping and the order of rows are functions of what is stored here.
"""

import logging
import os
import shutil
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from modelyard.artifacts import read_json, sha256_file, write_json
from modelyard.errors import WorkspaceError
from modelyard.training.context import EpochRecord

if TYPE_CHECKING:
    from torch import Tensor

_logger = logging.getLogger(__name__)

MODEL, OPTIMIZER, BEST = "model.safetensors", "optimizer.safetensors", "best.safetensors"
_STATE, _MANIFEST = "state.json", "manifest.json"
_KEPT = 2


@dataclass(frozen=True)
class State:
    """The scalars of a checkpoint.

    Args:
        inputs: Digest of data and params; a checkpoint of other inputs is not used.
        history: Every epoch so far.
        finished: Nothing is left to train.
        description: What the trained folder needs to say of the network.
    """

    inputs: str
    history: tuple[EpochRecord, ...]
    finished: bool
    description: dict[str, Any]


@dataclass(frozen=True)
class Checkpoint:
    """A verified checkpoint folder and its scalars."""

    path: Path
    state: State


def write(
    folder: Path,
    state: State,
    model: "dict[str, Tensor]",
    optimizer: "dict[str, Tensor]",
    best: "dict[str, Tensor]",
) -> Path:
    """Write the checkpoint after the last epoch of ``state.history``; keep the last two.

    Raises:
        WorkspaceError: the disk is full or the folder cannot be written.
    """
    target = folder / f"epoch-{len(state.history):05d}"
    temporary = Path(tempfile.mkdtemp(prefix=".writing-", dir=folder))
    try:
        for name, tensors in ((MODEL, model), (OPTIMIZER, optimizer), (BEST, best)):
            _write_tensors(temporary / name, tensors)
        write_json(temporary / _STATE, asdict(state))
        names = sorted(path.name for path in temporary.iterdir())
        write_json(temporary / _MANIFEST, {name: sha256_file(temporary / name) for name in names})
        temporary.replace(target)
        _sync(folder)
    except Exception as error:
        shutil.rmtree(temporary, ignore_errors=True)
        raise WorkspaceError(
            f"the checkpoint {target} cannot be written: {error}",
            "Free some space, then run again; the training resumes from its last checkpoint.",
        ) from error
    for old in _folders(folder)[:-_KEPT]:
        shutil.rmtree(old, ignore_errors=True)
    return target


def newest(folder: Path, inputs: str) -> Checkpoint | None:
    """The newest checkpoint for ``inputs`` that is as its manifest says; skips others."""
    for path in reversed(_folders(folder)):
        if problem := _damage(path):
            _logger.warning("checkpoint %s is damaged (%s); it is not used", path.name, problem)
            continue
        state = _read_state(path)
        if state.inputs == inputs:
            return Checkpoint(path, state)
        _logger.warning("checkpoint %s is of other data or params; it is not used", path.name)
    return None


def read_history(folder: Path) -> tuple[EpochRecord, ...]:
    """The newest checkpoint's history, unverified: for showing progress while workers write."""
    for path in reversed(_folders(folder)):
        try:
            return _read_state(path).history
        except (
            OSError,
            ValueError,
            KeyError,
            TypeError,
        ):  # pruned or damaged: look at an older one
            continue
    return ()


def discard_after(folder: Path, found: Checkpoint | None) -> None:
    """Remove what a killed writer left, and what is newer than ``found`` and not usable."""
    newer = [path for path in _folders(folder) if found is None or path.name > found.path.name]
    for path in [*folder.glob(".writing-*"), *newer]:
        shutil.rmtree(path)


def on_cpu(tensors: "dict[str, Tensor]") -> "dict[str, Tensor]":
    """Copies on the CPU that share no memory, as safetensors wants them."""
    import torch

    return {
        name: tensor.detach().to("cpu", copy=True, memory_format=torch.contiguous_format)
        for name, tensor in tensors.items()
    }


def read_tensors(path: Path) -> "dict[str, Tensor]":
    """Read one file of a verified checkpoint."""
    from safetensors.torch import load_file

    return load_file(path)


def _write_tensors(path: Path, tensors: "dict[str, Tensor]") -> None:
    from safetensors.torch import save

    with path.open("wb") as file:
        file.write(save(on_cpu(tensors), metadata={"format": "pt"}))
        file.flush()
        os.fsync(file.fileno())


def _folders(folder: Path) -> list[Path]:
    return sorted(folder.glob("epoch-*"))


def _read_state(path: Path) -> State:
    tree = read_json(path / _STATE)
    history = tuple(EpochRecord(**record) for record in tree["history"])
    return State(**{**tree, "history": history})


def _damage(path: Path) -> str:
    """What is wrong with a checkpoint; empty if nothing is."""
    try:
        manifest = read_json(path / _MANIFEST)
        if set(manifest) != {MODEL, OPTIMIZER, BEST, _STATE}:
            return "its manifest does not name its files"
        for name, digest in manifest.items():
            if sha256_file(path / name) != digest:
                return f"{name} was changed"
    except (OSError, ValueError, AttributeError, TypeError) as error:
        return str(error)
    return ""


def _sync(folder: Path) -> None:
    """Make a rename durable."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
