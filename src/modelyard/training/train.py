"""The stage ``train``: from a dataset version to trained weights, resumed where it was cut off."""

import contextlib
import contextvars
import fcntl
import logging
import threading
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path

from modelyard import models
from modelyard.artifacts import Dataset, Layout, TrainedModel, canonical, write_json
from modelyard.models.trained import Description
from modelyard.params import ModelParams, TrainParams
from modelyard.training import checkpoints, launcher
from modelyard.training.checkpoints import Checkpoint
from modelyard.training.context import EpochRecord, Stream, TrainContext
from modelyard.training.selection import best_epoch

__all__ = ["EpochRecord", "Stream", "TrainContext", "train"]

_logger = logging.getLogger(__name__)

_POLL_S = 0.1


def train(
    layout: Layout, model: ModelParams, train: TrainParams, context: TrainContext
) -> TrainedModel:
    """Train the network on several workers; the weights of the best epoch are the result.

    The same data, params, code and number of threads give the same bytes, also after a kill and a
    resume.

    Args:
        layout: The project; reads ``layout.dataset``, writes ``layout.trained`` and
            ``metrics/train.json``.
        model: The section ``model``.
        train: The section ``train``.
        context: Checkpoints, curves, progress: nothing that changes the result.

    Raises:
        ParamsError: the network cannot be built.
        TrainingFailed: a worker failed (rank and traceback in the message) or the loss is not
            finite.
        WorkspaceError: checkpoints or the result cannot be written.
    """
    dataset = Dataset.read(layout.dataset)
    with locked(context.checkpoints):
        checkpoint = _train(layout, dataset, model, train, context)
        return _write(layout, dataset, model, train, checkpoint)


def _train(
    layout: Layout,
    dataset: Dataset,
    model: ModelParams,
    train: TrainParams,
    context: TrainContext,
) -> Checkpoint:
    """Make or find the checkpoint after the last epoch."""
    inputs = _digest(dataset, model, train)
    found = checkpoints.newest(context.checkpoints, inputs)
    if found is not None and found.state.finished:
        _logger.info("the training had ended already; its last checkpoint is used")
        return found
    checkpoints.discard_after(context.checkpoints, found)
    launcher.warm_up()  # it loads torch while this process does
    if found is not None:
        _logger.info("resuming after epoch %d", found.state.history[-1].epoch)
    from modelyard.training.worker import Job

    job = Job(
        root=layout.root.resolve(),
        dataset=layout.dataset.resolve(),
        model=model,
        train=train,
        inputs=inputs,
        checkpoints=context.checkpoints.resolve(),
        resume=None,
        stream=context.stream,
        threads=launcher.threads_of_each(train.workers),
        scratch=Path(),
    )
    known = len(found.state.history) if found is not None else 0
    with _progress(context, dataset.main_metric, train.epochs, known):
        launcher.launch(job)
    last = checkpoints.newest(context.checkpoints, inputs)
    assert last is not None
    assert last.state.finished
    return last


def _write(
    layout: Layout,
    dataset: Dataset,
    model: ModelParams,
    train: TrainParams,
    checkpoint: Checkpoint,
) -> TrainedModel:
    """Write the trained folder and the metrics file."""
    history = checkpoint.state.history
    best = history[best_epoch(history, train.early_stopping) - 1]
    about = checkpoint.state.description
    description = Description(
        factory=model.factory,
        args=model.args,
        task=dataset.task,
        input_shape=about["input_shape"],
        embeddings=about["embeddings"],
        num_outputs=dataset.num_outputs,
        best_epoch=best.epoch,
        epochs_run=len(history),
        num_parameters=about["num_parameters"],
    )
    records = [vars(record) for record in history]
    trained = models.save(layout.trained, checkpoint.path / checkpoints.BEST, description, records)
    write_json(
        layout.metrics("train"),
        {
            "best_epoch": best.epoch,
            "epochs_run": len(history),
            "validation_loss": best.validation_loss,
            "validation_score": best.validation_score,
            "num_parameters": description.num_parameters,
        },
    )
    return trained


def _digest(dataset: Dataset, model: ModelParams, train: TrainParams) -> str:
    """Of what a checkpoint must be; the number of workers counts, it changes the last bits."""
    parts = {
        "dataset": dataset.digest,
        "model": model.model_dump(mode="json"),
        "train": train.model_dump(mode="json"),
    }
    return sha256(canonical(parts)).hexdigest()


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Let one training at a time use a checkpoint folder; the lock ends with its process."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / ".lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            _logger.info("waiting for another run that trains the same")
            fcntl.flock(file, fcntl.LOCK_EX)
        yield


@contextlib.contextmanager
def _progress(context: TrainContext, metric: str, epochs: int, known: int) -> Iterator[None]:
    """Report each epoch after the first ``known`` once, when its checkpoint is there."""
    done = threading.Event()
    report = contextvars.copy_context().run
    thread = threading.Thread(
        target=report,
        args=(_follow, context, metric, epochs, known, done),
        name="progress",
        daemon=True,
    )
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()


def _follow(
    context: TrainContext, metric: str, epochs: int, known: int, done: threading.Event
) -> None:
    last = False
    while not last:
        last = done.wait(_POLL_S)  # after the end, look once more
        for record in checkpoints.read_history(context.checkpoints)[known:]:
            known = record.epoch
            _logger.info(
                "epoch %d of %d: train loss %.4f, validation loss %.4f, %s %.4f",
                record.epoch,
                epochs,
                record.train_loss,
                record.validation_loss,
                metric,
                record.validation_score,
            )
            if context.progress is not None:
                context.progress(record)
