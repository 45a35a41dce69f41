"""The network beside what else was trained on the same data: baselines and folds."""

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from modelyard.artifacts import Layout, read_json
from modelyard.errors import WorkspaceError
from modelyard.evaluation.baselines import Baseline, paired_rows
from modelyard.evaluation.comparison import PairedComparison, compare_paired
from modelyard.evaluation.report import rounded
from modelyard.evaluation.tasks import Scoring

Outcome = Literal["network", "baseline", "open"]


@dataclass(frozen=True)
class Rival:
    """A baseline, and the network's score minus its, paired on the same test rows."""

    baseline: Baseline
    comparison: PairedComparison
    metric: str

    @property
    def outcome(self) -> Outcome:
        """Which of the two is shown to be better; ``open`` where neither is."""
        if self.comparison.low > 0:
            return "network"
        return "baseline" if self.comparison.high < 0 else "open"

    @property
    def score(self) -> dict[str, float | None]:
        """The baseline's main metric with its interval."""
        return self.baseline.metrics[self.metric]

    def to_json(self) -> dict[str, Any]:
        """As JSON: its score, the difference with its interval, the outcome."""
        comparison = self.comparison
        interval = {"value": comparison.difference, "low": comparison.low, "high": comparison.high}
        return {
            "name": self.baseline.name,
            "title": self.baseline.title,
            "score": self.score,
            "difference": rounded(interval),
            "better": self.outcome,
        }


def read_rivals(
    layout: Layout, scores: np.ndarray, scoring: Scoring, confidence: float
) -> tuple[Rival, ...]:
    """Compare the network with each baseline of ``metrics/baselines.json``.

    Args:
        layout: The project's folders.
        scores: float64 [N], the network's score of each test row.
        scoring: Of the dataset.
        confidence: Of the intervals.

    Raises:
        WorkspaceError: the file is missing, or is about other rows.
    """
    kept = paired_rows(len(scores))
    rivals = []
    for tree in _read(layout, "baselines")["baselines"]:
        baseline = Baseline.from_json(tree)
        if len(baseline.scores) != len(kept):
            raise WorkspaceError(
                f"{layout.metrics('baselines')} is about {len(baseline.scores)} test rows, "
                f"but there are {len(kept)} to compare",
                "Run the stage baselines again.",
            )
        comparison = compare_paired(scores[kept], baseline.scores, 0.0, confidence)
        rivals.append(Rival(baseline, comparison, scoring.metric))
    return tuple(rivals)


def read_folds(layout: Layout) -> dict[str, Any]:
    """``metrics/cross_validate.json``: ``folds``, and where there are any their mean and interval.

    Raises:
        WorkspaceError: the file is missing.
    """
    return _read(layout, "cross_validate")


def _read(layout: Layout, stage: str) -> dict[str, Any]:
    try:
        return read_json(layout.metrics(stage))
    except FileNotFoundError:
        raise WorkspaceError(
            f"there is no {layout.metrics(stage)}", f"Run the stage {stage} first."
        ) from None
