"""What every rank runs, in the order in which it happens."""

import contextlib
import multiprocessing
import os
import random
import signal
import threading
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch.nn.parallel import DistributedDataParallel

from modelyard.artifacts import Dataset
from modelyard.data.preprocessing import Preprocessing
from modelyard.models import build
from modelyard.params import ModelParams, TrainParams
from modelyard.training import checkpoints, failures, mesh
from modelyard.training.checkpoints import Checkpoint
from modelyard.training.context import EpochRecord, Stream
from modelyard.training.loop import Trainer, read_batches
from modelyard.training.losses import make_criterion
from modelyard.training.optimizers import make_optimizer, optimizer_tensors, restore_optimizer
from modelyard.training.scores import make_scores
from modelyard.training.selection import best_epoch, should_stop
from modelyard.training.stream import Curves


@dataclass(frozen=True)
class Job:
    """One launch: what to train on what, where to resume, and a folder for this launch alone.

    Args:
        root: The project's folder, from which the user's factory is imported.
        dataset: The dataset folder.
        model: The section ``model``.
        train: The section ``train``.
        inputs: Digest of all of these.
        checkpoints: Folder of this training's checkpoints.
        resume: A verified checkpoint, or none.
        stream: Where curves go.
        threads: Of each worker.
        scratch: For the workers' meeting and their failures.
    """

    root: Path
    dataset: Path
    model: ModelParams
    train: TrainParams
    inputs: str
    checkpoints: Path
    resume: Checkpoint | None
    stream: Stream | None
    threads: int
    scratch: Path


def run_worker(job: Job) -> None:
    """Train as the rank that the environment names; a failure is left in ``job.scratch``."""
    threading.Thread(target=_die_with_parent, name="parent-watch", daemon=True).start()
    _show_rank()
    with failures.recorded(job.scratch):
        _train(job)


def _train(job: Job) -> None:
    # --- Process ------------------------------------------------------------------------------
    os.environ["CUBLAS_WORKSPACE_CONFIG"] = ":4096:8"
    torch.set_num_threads(job.threads)
    torch.use_deterministic_algorithms(True, warn_only=True)
    torch.utils.deterministic.fill_uninitialized_memory = False  # pyright: ignore
    group = mesh.join(job.scratch / "store")

    # --- Data ---------------------------------------------------------------------------------
    dataset = Dataset.read(job.dataset)
    preprocessing = Preprocessing.read(job.dataset / "preprocessing.json")
    training = read_batches(dataset, "train", preprocessing, group.device)
    validation = read_batches(dataset, "validation", preprocessing, group.device)

    # --- Network, loss, optimizer -------------------------------------------------------------
    _seed(job.train.seed)
    shape = (preprocessing.input_shape, dataset.num_outputs)
    network = build(job.model, *shape, job.root, preprocessing.embeddings).to(group.device)
    if ":" not in job.model.factory:  # the user's code may call view(), which this would break
        # 1.6 times as fast on a CPU.
        network = network.to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
    criterion = make_criterion(
        job.train.loss, dataset.task, training.targets, dataset.num_outputs, group.device
    )
    scores = make_scores(dataset.task, preprocessing.target)
    optimizer = make_optimizer(job.train.optimizer, network)
    description = {
        "input_shape": list(preprocessing.input_shape),
        "embeddings": [list(size) for size in preprocessing.embeddings],
        "num_parameters": sum(parameter.numel() for parameter in network.parameters()),
    }

    # --- Resume -------------------------------------------------------------------------------
    history: tuple[EpochRecord, ...] = ()
    best = checkpoints.on_cpu(network.state_dict())
    if job.resume is not None:
        history = job.resume.state.history
        network.load_state_dict(checkpoints.read_tensors(job.resume.path / checkpoints.MODEL))
        restore_optimizer(
            optimizer, checkpoints.read_tensors(job.resume.path / checkpoints.OPTIMIZER)
        )
        best = checkpoints.read_tensors(job.resume.path / checkpoints.BEST)

    # --- Epochs -------------------------------------------------------------------------------
    trainer = Trainer(
        network, _parallel(network, group), criterion, scores, optimizer, job.train, group
    )
    curves = Curves(job.stream if group.is_first else None)
    finished = False
    while not finished:
        epoch = len(history) + 1
        _seed(job.train.seed, epoch, group.rank)
        train_loss, lr = trainer.train_epoch(
            training,
            epoch,
            lambda step, loss, lr: curves.put(step, step_loss=loss, step_lr=lr),
        )
        group.average_buffers(network)
        loss, score = trainer.validate(validation, epoch)
        record = EpochRecord(epoch, train_loss, loss, score, lr)
        history = (*history, record)
        metrics = {"train_loss": train_loss, "validation_loss": loss, "lr": lr}
        curves.put(epoch, **metrics, **{f"validation_{dataset.main_metric}": score})
        stopping = job.train.early_stopping
        finished = epoch == job.train.epochs or should_stop(history, stopping)
        if group.is_first:
            if best_epoch(history, stopping) == epoch:
                best = checkpoints.on_cpu(network.state_dict())
            checkpoints.write(
                job.checkpoints,
                checkpoints.State(job.inputs, history, finished, description),
                network.state_dict(),
                optimizer_tensors(optimizer),
                best,
            )

    # --- End ----------------------------------------------------------------------------------
    curves.close()
    mesh.leave()


def _parallel(network: torch.nn.Module, group: mesh.Mesh) -> torch.nn.Module:
    """Average gradients over workers while they are computed.

    ``find_unused_parameters`` keeps the buckets as they are: else they are rebuilt after the first
    step, a resumed training would add the gradients of three or more workers in another order, and
    its bits would differ.
    """
    return DistributedDataParallel(
        network,
        device_ids=None if group.device.type == "cpu" else [group.device.index],
        forward_sync_buffers=False,
        find_unused_parameters=True,
        gradient_as_bucket_view=True,
    )


def _seed(*parts: int) -> None:
    """Seed every generator; called at each epoch, so that no random state needs to be stored."""
    seed = int(np.random.SeedSequence(parts).generate_state(1)[0])
    random.seed(seed)
    np.random.seed(seed)  # the user's code may draw from it
    torch.manual_seed(seed)


def _show_rank() -> None:
    """Name this process ``rank 1`` in ``ps`` and ``top``, where the system can (Linux)."""
    with contextlib.suppress(OSError):
        Path("/proc/self/comm").write_text(f"rank {os.environ['RANK']}", encoding="ascii")


def _die_with_parent() -> None:
    """End this process when the one that launched the training is gone, however it ended."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os.kill(os.getpid(), signal.SIGKILL)
