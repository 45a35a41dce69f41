"""The evaluation's pictures as PNG bytes, identical for identical numbers."""

import io
from typing import TYPE_CHECKING, Any

from modelyard.evaluation.metrics import Report

if TYPE_CHECKING:
    from matplotlib.figure import Figure

INK = "#2457a6"
SECOND = "#c2571a"
MOST_CELLS = 20
"""Classes up to which a confusion matrix has numbers in its cells."""


def confusion_matrix(report: Report) -> bytes:
    """Targets against predictions, shaded by share of the target's rows, numbers are rows."""
    figure, axes = _figure(6.0, 5.4)
    labels = [score.label for score in report.classes]
    shares = [[cell / max(1, sum(row)) for cell in row] for row in report.confusion]
    image = axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    figure.colorbar(image, ax=axes, label="share of the class")
    axes.set(xlabel="predicted", ylabel="target", title="Confusion matrix")
    if len(labels) <= MOST_CELLS:
        axes.set_xticks(range(len(labels)), labels)
        axes.set_yticks(range(len(labels)), labels)
        for i, row in enumerate(report.confusion):
            for j, cell in enumerate(row):
                colour = "white" if shares[i][j] > 0.5 else "black"
                if cell:
                    axes.text(j, i, str(cell), ha="center", va="center", color=colour)
    return _png(figure)


def reliability(report: Report) -> bytes:
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


def history(epochs: list[dict[str, Any]], best_epoch: int) -> bytes:
    """Losses and validation accuracy by epoch, the kept epoch marked.

    Args:
        epochs: Objects of history.json.
        best_epoch: Whose weights were kept.
    """
    figure, axes = _figure(7.2, 4.2)
    numbers = [epoch["epoch"] for epoch in epochs]
    axes.plot(numbers, [epoch["train_loss"] for epoch in epochs], color=INK, label="train loss")
    losses = [epoch["validation_loss"] for epoch in epochs]
    axes.plot(numbers, losses, color=INK, linestyle="--", label="validation loss")
    axes.axvline(best_epoch, color="grey", linewidth=1, linestyle=":", label="kept epoch")
    axes.set(xlabel="epoch", ylabel="loss", title="Training")
    right = axes.twinx()
    accuracies = [epoch["validation_score"] for epoch in epochs]
    right.plot(numbers, accuracies, color=SECOND, label="validation accuracy")
    right.set(ylabel="accuracy")
    axes.xaxis.get_major_locator().set_params(integer=True)
    figure.legend(loc="outside lower center", ncols=4, frameon=False)
    return _png(figure)


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
