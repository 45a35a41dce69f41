"""The evaluation as a page to read: ``report.html`` and its pictures."""

from pathlib import Path
from typing import Any

import numpy as np

from modelyard.artifacts import Dataset, TrainedModel, read_json
from modelyard.evaluation import pictures
from modelyard.evaluation.classification import ClassificationReport
from modelyard.evaluation.findings import Findings
from modelyard.evaluation.groups import FEW_ROWS
from modelyard.evaluation.metrics import FIGURES, TILES, TITLES
from modelyard.evaluation.multi_label import MultiLabelReport
from modelyard.evaluation.report import show
from modelyard.evaluation.rivals import Rival
from modelyard.models import trained as trained_folder
from modelyard.templates import render


def write(
    folder: Path,
    findings: Findings,
    dataset: Dataset,
    trained: TrainedModel,
    answers: np.ndarray,
    targets: np.ndarray,
) -> None:
    """Write ``report.html`` and one PNG a picture.

    Args:
        folder: Where to.
        findings: What the page shows.
        dataset: That the test rows are of.
        trained: The trained network's folder.
        answers: Probabilities float [N, K], or predictions float [N, 1].
        targets: int64 [N], uint8 [N, K], or float64 [N].
    """
    description = trained_folder.describe(trained)
    history = read_json(trained.path / trained_folder.HISTORY)
    images = {
        **_pictures(findings, dataset, answers, targets),
        "history": pictures.history(history, description.best_epoch, findings.scoring.metric),
    }
    for name, image in images.items():
        (folder / f"{name}.png").write_bytes(image)
    page = render(
        "evaluation.html.j2",
        findings=findings,
        report=findings.report,
        task=dataset.task,
        metric=findings.scoring.metric,
        dataset=dataset,
        target=_names(read_json(dataset.path / "dataset.json")["target"]),
        model=description,
        images=images,
        names=TITLES | FIGURES,
        tiles=TILES[dataset.task],
        few_rows=FEW_ROWS,
        standing=standing(findings.rivals),
        show=show,
    )
    (folder / "report.html").write_text(page, encoding="utf-8")


def standing(rivals: tuple[Rival, ...]) -> tuple[str, str]:
    """How the network stands to the baselines in one sentence, and whether that is good news.

    The first is ``ok``, ``note`` or ``bad``, a class of the page.
    """
    ahead = [rival.baseline.title for rival in rivals if rival.outcome == "baseline"]
    behind = [rival.baseline.title for rival in rivals if rival.outcome == "network"]
    even = [rival.baseline.title for rival in rivals if rival.outcome == "open"]
    if ahead:
        verb = "does" if len(ahead) == 1 else "do"
        return "bad", f"The network loses: {_listed(ahead)} {verb} better on the same test rows."
    if even:
        rest = f" It is better than {_listed(behind)}." if behind else ""
        return "note", (
            f"On these test rows the network is not shown to differ from {_listed(even)}.{rest}"
        )
    return "ok", f"The network is better than {_listed(behind)} on the same test rows."


def _listed(names: list[str]) -> str:
    return " and ".join(names)


def _names(target: Any) -> str:
    return target if isinstance(target, str) else ", ".join(target)


def _pictures(
    findings: Findings, dataset: Dataset, answers: np.ndarray, targets: np.ndarray
) -> dict[str, bytes]:
    """The pictures of the task, in the order in which the page shows them."""
    report = findings.report
    if isinstance(report, ClassificationReport):
        images = {
            "confusion_matrix": pictures.confusion_matrix(report),
            "reliability": pictures.reliability(report),
        }
        if len(dataset.labels) == 2:
            images["curves"] = pictures.curves(answers[:, 1], targets == 1, dataset.labels[1])
    elif isinstance(report, MultiLabelReport):
        images = {"labels": pictures.labels(report)}
    else:
        predicted = answers[:, 0].astype(np.float64)
        images = {
            "predictions": pictures.predictions(predicted, targets),
            "residuals": pictures.residuals(predicted, targets),
        }
    return images
