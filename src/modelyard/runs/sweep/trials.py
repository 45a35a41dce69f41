"""The trials of a sweep as files: one JSON a trial, written whole, numbered from 0."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from modelyard.artifacts import read_json, write_json
from modelyard.errors import WorkspaceError

State = Literal["running", "done", "pruned", "failed"]
_MEASURES = {"score": "validation_score", "loss": "validation_loss"}


@dataclass(frozen=True)
class Trial:
    """One training of a sweep.

    Args:
        number: From 0, in the order in which they were begun.
        params: What it differs in, by the path of each key.
        state: ``running`` until it ends; one that a kill cut off is taken up again.
        value: The objective on the validation split, of the epoch whose weights were kept.
        reason: Why it failed or was given up.
        epochs: Its history so far, as in ``history.json``.
        metrics: The stage's metrics (``metrics/train.json``).
        rows: Digest of the validation rows that judged it.
        seconds: How long it took, by this machine's clock.
        run_id: Its run in MLflow.
        recorded: Whether that run holds all of this.
    """

    number: int
    params: dict[str, Any]
    state: State = "running"
    value: float | None = None
    reason: str = ""
    epochs: tuple[dict[str, Any], ...] = ()
    metrics: dict[str, Any] | None = None
    rows: str = ""
    seconds: float = 0.0
    run_id: str = ""
    recorded: bool = False

    @property
    def worth(self) -> float:
        """The value of a finished trial."""
        assert self.value is not None
        return self.value

    def reached(self, objective: Literal["score", "loss"]) -> dict[int, float]:
        """The objective after each epoch, by the epoch's number from 1."""
        return {epoch["epoch"]: epoch[_MEASURES[objective]] for epoch in self.epochs}

    def measured(self, objective: Literal["score", "loss"]) -> float:
        """The objective of the epoch whose weights were kept."""
        assert self.metrics is not None
        return self.metrics[_MEASURES[objective]]


def write(folder: Path, trial: Trial) -> None:
    """Write a trial's file."""
    write_json(folder / f"{trial.number:05d}.json", asdict(trial))


def read(folder: Path) -> list[Trial]:
    """The trials of a folder, in order.

    Raises:
        WorkspaceError: a file does not hold a trial; somebody has changed it.
    """
    found: Sequence[Path] = sorted(folder.glob("[0-9]*.json"))
    trials = []
    for number, path in enumerate(found):
        try:
            tree = read_json(path)
            trial = Trial(**{**tree, "epochs": tuple(tree["epochs"])})
        except (ValueError, TypeError, KeyError) as error:
            raise WorkspaceError(
                f"{path} does not hold a trial: {error}", "Delete the folder to begin anew."
            ) from None
        if trial.number != number:
            raise WorkspaceError(
                f"{path.parent} lacks trial {number}", "Delete the folder to begin anew."
            )
        trials.append(trial)
    return trials
