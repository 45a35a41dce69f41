"""Which epoch's weights ship and when to stop, as pure functions of the history."""

from collections.abc import Sequence

from modelyard.params import EarlyStopping
from modelyard.training.context import EpochRecord


def best_epoch(history: Sequence[EpochRecord], stopping: EarlyStopping | None) -> int:
    """The epoch (from 1) with the best validation metric, the earliest of equals."""
    scores = [_score(record, stopping) for record in history]
    return history[scores.index(max(scores))].epoch


def should_stop(history: Sequence[EpochRecord], stopping: EarlyStopping | None) -> bool:
    """Whether the last ``patience`` epochs brought no improvement by more than ``min_delta``."""
    if stopping is None:
        return False
    reference, waited = None, 0
    for record in history:
        score = _score(record, stopping)
        if reference is None or score > reference + stopping.min_delta:
            reference, waited = score, 0
        else:
            waited += 1
    return waited >= stopping.patience


def _score(record: EpochRecord, stopping: EarlyStopping | None) -> float:
    """Higher is better."""
    if stopping is not None and stopping.metric == "score":
        return record.validation_score
    return -record.validation_loss
