"""The stage ``cross_validate``: the same training on other rows, and how far its score varies."""

import logging
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np

from modelyard.artifacts import Dataset, Layout, canonical, read_json, write_json
from modelyard.errors import WorkspaceError
from modelyard.params import ModelParams, TrainParams
from modelyard.training import checkpoints, launcher
from modelyard.training.fold_data import keys_of, vocabulary_note, write_fold
from modelyard.training.folds import HELD, STOP, TRAIN, plan
from modelyard.training.selection import best_epoch
from modelyard.training.train import locked

CONFIDENCE = 0.95
DIGITS = 6
"""Of the metrics in JSON."""
_RESULT = "result.json"

_logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Fold:
    """One network more: its number from 1, and where its rows and checkpoints lie."""

    number: int
    parts: np.ndarray
    folder: Path


def cross_validate(
    layout: Layout, model: ModelParams, train: TrainParams, folds: int, checkpoints: Path
) -> None:
    """Train ``folds`` networks, each judged on rows of train and validation that it did not see.

    The test split takes no part. A fold fits its own preprocessing on the rows that it trains on
    (of a package's vocabulary see ``vocabulary_note``), and stops early by another part of its own
    rows. The folds follow one another, each on all
    cores: side by side they are no quicker (docs/log.md).

    Writes ``metrics/cross_validate.json``: for each fold its rows, score (the task's main metric)
    and epochs, their mean and its interval; without folds an empty list. After a kill, finished
    folds are kept and the one under way goes on from its checkpoint.

    Args:
        layout: The project; reads ``layout.dataset``.
        model: The section ``model``.
        train: The section ``train``; its seed also decides about the folds.
        folds: How many, or 0.
        checkpoints: Folder of this stage key.

    Raises:
        ParamsError: there are too few rows or groups for as many folds.
        TrainingFailed: a worker failed (rank and traceback in the message).
        WorkspaceError: the dataset is damaged, or there is no space.
    """
    if not folds:
        write_json(layout.metrics("cross_validate"), {"folds": []})
        return
    launcher.warm_up()  # it loads torch while the rows are dealt
    dataset = Dataset.read(layout.dataset)
    keys, note = keys_of(dataset)
    notes = [text for text in (note, vocabulary_note(dataset)) if text]
    share = dataset.rows["validation"] / (dataset.rows["train"] + dataset.rows["validation"])
    parts = plan(keys, folds, share, train.seed)
    results = []
    with locked(checkpoints):
        for number, part in enumerate(parts, 1):
            fold = Fold(number, part, checkpoints / f"fold-{number}")
            results.append(_judge(layout, dataset, model, train, fold))
            _logger.info("fold %d of %d: %s", number, folds, results[-1])
    tree = {"folds": results, "metric": dataset.main_metric, "by": keys.by}
    scores = [result["score"] for result in results]
    write_json(
        layout.metrics("cross_validate"),
        tree | ({"note": "; ".join(notes)} if notes else {}) | mean_and_interval(scores, parts),
    )


def mean_and_interval(scores: Sequence[float], parts: Sequence[np.ndarray]) -> dict[str, float]:
    """``mean``, ``low``, ``high`` and ``confidence`` of the score of a network so trained.

    A t interval with the variance of Nadeau and Bengio, "Inference for the generalization error",
    Machine Learning 52 (2003), section 4: (1 / folds + rows held out / rows learned from) times
    that of the scores. The plain one takes the folds for independent, which they are not: any two
    share most of the rows that they learn from.

    Args:
        scores: One a fold, at best 1.
        parts: As ``folds.plan`` gives them. Rows that a fold stops by are learned from too; those
            that it leaves out are not.
    """
    from scipy.special import stdtrit

    count, mean = len(scores), float(np.mean(scores))
    held = sum(np.count_nonzero(part == HELD) for part in parts)
    learned = sum(np.count_nonzero((part == TRAIN) | (part == STOP)) for part in parts)
    variance = float(np.var(scores, ddof=1)) * (1 / count + held / learned)
    half = float(stdtrit(count - 1, 0.5 + CONFIDENCE / 2)) * variance**0.5
    low, high = mean - half, min(1.0, mean + half)
    rounded = {"mean": mean, "low": low, "high": high}
    return {name: round(value, DIGITS) for name, value in rounded.items()} | {
        "confidence": CONFIDENCE
    }


def _judge(
    layout: Layout, dataset: Dataset, model: ModelParams, train: TrainParams, fold: Fold
) -> dict[str, Any]:
    """The result of a fold: what an earlier call left, else a training."""
    sections = [model.model_dump(mode="json"), train.model_dump(mode="json")]
    parts = sha256(fold.parts.tobytes()).hexdigest()
    inputs = sha256(canonical([dataset.digest, parts, *sections])).hexdigest()
    if (known := _known(fold.folder, inputs)) is not None:
        return known
    data = fold.folder / "dataset"
    try:
        own = write_fold(dataset, fold.parts, inputs, data)
        checkpoint = _train(layout, own, model, train, inputs, fold.folder)
        result = {
            "fold": fold.number,
            "rows": own.rows["test"],
            "score": round(_score(layout, own, model, checkpoint), DIGITS),
            "epochs": len(checkpoint.state.history),
            "best_epoch": best_epoch(checkpoint.state.history, train.early_stopping),
        }
        write_json(fold.folder / _RESULT, {"inputs": inputs, "result": result})
    finally:
        shutil.rmtree(data, ignore_errors=True)
    return result


def _known(folder: Path, inputs: str) -> dict[str, Any] | None:
    try:
        tree = read_json(folder / _RESULT)
        return tree["result"] if tree["inputs"] == inputs else None
    except (OSError, ValueError, KeyError, TypeError):
        return None  # not there yet, or damaged: it is made again


def _train(
    layout: Layout,
    dataset: Dataset,
    model: ModelParams,
    train: TrainParams,
    inputs: str,
    folder: Path,
) -> checkpoints.Checkpoint:
    """Train to the end, from the newest checkpoint if there is one."""
    from modelyard.training.worker import Job

    found = checkpoints.newest(folder, inputs)
    if found is None or not found.state.finished:
        launcher.launch(
            Job(
                root=layout.root.resolve(),
                dataset=dataset.path.resolve(),
                model=model,
                train=train,
                inputs=inputs,
                checkpoints=folder.resolve(),
                resume=None,
                stream=None,
                threads=launcher.threads_of_each(train.workers),
                scratch=Path(),
            )
        )
        found = checkpoints.newest(folder, inputs)
    if found is None or not found.state.finished:
        raise WorkspaceError(
            f"{folder} holds no finished training", "Something removed its files; run again."
        )
    return found


def _score(
    layout: Layout, dataset: Dataset, model: ModelParams, checkpoint: checkpoints.Checkpoint
) -> float:
    """The main metric of the kept weights on the fold's held-out rows, on one thread."""
    import torch

    from modelyard.data.preprocessing import Preprocessing
    from modelyard.models import build
    from modelyard.training.loop import read_batches
    from modelyard.training.sampler import validation_shares
    from modelyard.training.scores import make_scores

    preprocessing = Preprocessing.read(dataset.path / "preprocessing.json")
    held = read_batches(dataset, "test", preprocessing, torch.device("cpu"))
    shape = (preprocessing.input_shape, dataset.num_outputs)
    network = build(model, *shape, layout.root, preprocessing.embeddings)
    network.load_state_dict(checkpoints.read_tensors(checkpoint.path / checkpoints.BEST))
    network.eval()
    scores = make_scores(dataset.task, preprocessing.target)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # the last bit of a sum depends on how many share it
    try:
        with torch.inference_mode():
            batches = (held.take(rows) for rows in validation_shares(held.num_rows, 512, 0, 1))
            total = sum(
                scores(network(features), targets).sum().item() for features, targets in batches
            )
    finally:
        torch.set_num_threads(threads)
    return total / held.num_rows
