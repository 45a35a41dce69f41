"""What the caller of the stage gives beside params and data, and what it hears meanwhile."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class EpochRecord:
    """One entry of ``history.json``: losses are means over rows, ``lr`` is of the last step."""

    epoch: int
    train_loss: float
    validation_loss: float
    validation_score: float
    lr: float


@dataclass(frozen=True)
class Stream:
    """The MLflow run that curves go to while the training runs."""

    tracking_uri: str
    run_id: str


@dataclass(frozen=True)
class TrainContext:
    """Everything about a training that has no influence on its result.

    Args:
        checkpoints: Folder of this stage key; a second call with the same folder resumes or reuses
            what is there.
        stream: Where curves go, best effort.
        progress: Called once for each epoch that this call trains, in order, from a thread of the
            calling process.
    """

    checkpoints: Path
    stream: Stream | None = None
    progress: Callable[[EpochRecord], None] | None = None
