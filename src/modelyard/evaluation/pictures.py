"""The evaluation's pictures as PNG bytes, identical for identical numbers."""

import io
from typing import TYPE_CHECKING, Any

import numpy as np

from modelyard.evaluation.classification import ClassificationReport
from modelyard.evaluation.multi_label import MultiLabelReport

if TYPE_CHECKING:
    from matplotlib.figure import Figure

INK = "#2457a6"
SECOND = "#c2571a"
MOST_CELLS = 20
"""Classes up to which a confusion matrix has numbers in its cells."""
MOST_BARS = 30
MOST_POINTS = 2000
"""Rows up to which each is a point; of more a picture shows how many lie where."""
_SHOWN = 24


def confusion_matrix(report: ClassificationReport) -> bytes:
    """Targets against predictions, shaded by share of the target's rows, numbers are rows."""
    figure, axes = _figure(6.0, 5.4)
    labels = [_short(score.label) for score in report.classes]
    shares = [[cell / max(1, sum(row)) for cell in row] for row in report.confusion]
    image = axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    figure.colorbar(image, ax=axes, label="share of the class")
    axes.set(xlabel="predicted", ylabel="target", title="Confusion matrix")
    if len(labels) <= MOST_CELLS:
        longest = max(map(len, labels))
        axes.set_xticks(range(len(labels)), labels, rotation=90 if longest > 4 else 0)
        axes.set_yticks(range(len(labels)), labels)
        for i, row in enumerate(report.confusion):
            for j, cell in enumerate(row):
                colour = "white" if shares[i][j] > 0.5 else "black"
                if cell:
                    axes.text(j, i, str(cell), ha="center", va="center", color=colour)
    return _png(figure)


def reliability(report: ClassificationReport) -> bytes:
    """Accuracy against confidence in each bin; on the diagonal a probability means what it says."""
    figure, axes = _figure(6.0, 5.4)
    filled = [bar for bar in report.bins if bar.rows]
    width = 1 / len(report.bins)
    middles = [(bar.low + bar.high) / 2 for bar in filled]
    axes.bar(middles, [bar.accuracy for bar in filled], width * 0.94, color=INK, label="accuracy")
    axes.scatter(
        [bar.confidence for bar in filled],
        [bar.accuracy for bar in filled],
        s=[8 + 60 * bar.rows / report.rows for bar in filled],
        color=SECOND,
        zorder=3,
        label="mean confidence (size: rows)",
    )
    axes.plot([0, 1], [0, 1], color="black", linewidth=1, linestyle="--")
    ece = report.metrics["ece"].value
    axes.set(xlabel="confidence", ylabel="accuracy", title=f"Reliability, ECE {ece:.3f}")
    axes.set(xlim=(0, 1), ylim=(0, 1.02))
    figure.legend(loc="outside lower center", ncols=2, frameon=False)
    return _png(figure)


def curves(probabilities: np.ndarray, is_positive: np.ndarray, label: str) -> bytes:
    """ROC and precision-recall curve of one class over all thresholds.

    Args:
        probabilities: float [N], of the class.
        is_positive: bool [N].
        label: The class's name.
    """
    order = np.argsort(-probabilities, kind="stable")
    ends = np.flatnonzero(np.append(np.diff(probabilities[order]) != 0, True))
    hits = np.cumsum(is_positive[order])[ends]
    given = ends + 1
    positives = max(1, int(is_positive.sum()))
    negatives = max(1, len(is_positive) - positives)
    figure, axes = _figure(6.0, 5.4)
    false_rate = np.concatenate([[0.0], (given - hits) / negatives])
    recall = np.concatenate([[0.0], hits / positives])
    axes.plot(false_rate, recall, color=INK, label="ROC: true over false positive rate")
    axes.plot(hits / positives, hits / given, color=SECOND, label="precision over recall")
    axes.plot([0, 1], [0, 1], color="black", linewidth=1, linestyle="--")
    axes.set(xlim=(0, 1), ylim=(0, 1.02), title=f"Thresholds for {_short(label)}")
    axes.set(xlabel="false positive rate, or recall", ylabel="true positive rate, or precision")
    figure.legend(loc="outside lower center", ncols=2, frameon=False)
    return _png(figure)


def labels(report: MultiLabelReport) -> bytes:
    """Precision, recall and F1 of each label; of many those with most rows."""
    chosen = sorted(report.classes, key=lambda score: -score.support)[:MOST_BARS]
    figure, axes = _figure(7.2, 1.4 + 0.34 * len(chosen))
    places = np.arange(len(chosen))
    axes.barh(places, [score.f1 for score in chosen], 0.7, color=INK, label="F1")
    for name, mark in (("precision", "|"), ("recall", "o")):
        values = [getattr(score, name) for score in chosen]
        axes.scatter(values, places, marker=mark, s=60, color=SECOND, zorder=3, label=name)
    axes.set_yticks(places, [f"{_short(score.label)} ({score.support})" for score in chosen])
    axes.invert_yaxis()
    axes.set(xlim=(0, 1.02), title="Labels (rows with the label)")
    figure.legend(loc="outside lower center", ncols=3, frameon=False)
    return _png(figure)


def predictions(predicted: np.ndarray, targets: np.ndarray) -> bytes:
    """Prediction against target, float [N] both; on the diagonal they are equal."""
    figure, axes = _figure(6.0, 5.4)
    _cloud(figure, axes, targets, predicted)
    ends = [float(min(targets.min(), predicted.min())), float(max(targets.max(), predicted.max()))]
    axes.plot(ends, ends, color="black", linewidth=1, linestyle="--")
    axes.set(xlabel="target", ylabel="prediction", title="Predictions")
    return _png(figure)


def residuals(predicted: np.ndarray, targets: np.ndarray) -> bytes:
    """Error against prediction, float [N] both; a slope or a funnel is missed structure."""
    figure, axes = _figure(6.0, 5.4)
    _cloud(figure, axes, predicted, predicted - targets)
    axes.axhline(0, color="black", linewidth=1, linestyle="--")
    axes.set(xlabel="prediction", ylabel="prediction - target", title="Errors")
    return _png(figure)


def history(epochs: list[dict[str, Any]], best_epoch: int, metric: str) -> bytes:
    """Losses and the validation score by epoch, the kept epoch marked.

    Args:
        epochs: Objects of history.json.
        best_epoch: Whose weights were kept.
        metric: What the score is called.
    """
    figure, axes = _figure(7.2, 4.2)
    numbers = [epoch["epoch"] for epoch in epochs]
    # One epoch is no line.
    mark = "o" if len(epochs) == 1 else None
    losses = [epoch["train_loss"] for epoch in epochs]
    axes.plot(numbers, losses, color=INK, marker=mark, label="train loss")
    losses = [epoch["validation_loss"] for epoch in epochs]
    axes.plot(numbers, losses, "--", color=INK, marker=mark, label="validation loss")
    axes.axvline(best_epoch, color="grey", linewidth=1, linestyle=":", label="kept epoch")
    axes.set(xlabel="epoch", ylabel="loss", title="Training")
    right = axes.twinx()
    scores = [epoch["validation_score"] for epoch in epochs]
    right.plot(numbers, scores, color=SECOND, marker=mark, label=f"validation {metric}")
    right.set(ylabel=metric)
    axes.xaxis.get_major_locator().set_params(integer=True)
    figure.legend(loc="outside lower center", ncols=4, frameon=False)
    return _png(figure)


def _cloud(figure: "Figure", axes: Any, across: np.ndarray, up: np.ndarray) -> None:
    if len(across) <= MOST_POINTS:
        axes.scatter(across, up, s=14, color=INK, alpha=0.5, linewidths=0)
        return
    cells = axes.hexbin(across, up, gridsize=40, cmap="Blues", bins="log", mincnt=1)
    figure.colorbar(cells, ax=axes, label="rows")


def _short(text: str) -> str:
    # A dollar begins a formula.
    shown = text if len(text) <= _SHOWN else f"{text[: _SHOWN - 1]}…"
    return shown.replace("$", r"\$")


def _figure(width: float, height: float) -> tuple["Figure", Any]:
    """A figure outside pyplot, which would keep it and pick a window system."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), dpi=100, layout="constrained")
    FigureCanvasAgg(figure)
    return figure, figure.add_subplot()


def _png(figure: "Figure") -> bytes:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", metadata={"Software": None})
    return buffer.getvalue()
