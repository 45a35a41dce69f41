"""All that the stage evaluate finds."""

from dataclasses import dataclass
from typing import Any

from modelyard.evaluation.groups import GroupTable
from modelyard.evaluation.report import Report, rounded
from modelyard.evaluation.rivals import Rival
from modelyard.evaluation.tasks import Scoring


@dataclass(frozen=True)
class Findings:
    """What is known of the trained network on the test rows.

    ``folds`` is the content of ``metrics/cross_validate.json``.
    """

    scoring: Scoring
    report: Report
    groups: tuple[GroupTable, ...]
    rivals: tuple[Rival, ...]
    folds: dict[str, Any]

    def to_json(self) -> dict[str, Any]:
        """The metrics by name at the top, beside the tables of the task."""
        tree = self.report.to_json()
        tree |= {"task": self.scoring.task, "main_metric": self.scoring.metric}
        tree["groups"] = [table.to_json() for table in self.groups]
        tree["baselines"] = [rival.to_json() for rival in self.rivals]
        return tree | {"cross_validation": rounded(self.folds)}
