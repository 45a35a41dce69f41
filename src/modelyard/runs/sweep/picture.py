"""The trials of a sweep as parallel coordinates: an axis a key, the objective last, a line a trial.

After Inselberg, "The plane with parallel coordinates", The Visual Computer 1 (1985). PNG bytes that
are identical for identical trials.
"""

import io
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from modelyard.params.sweep import Range, SweepParams
from modelyard.runs.sweep.trials import Trial

PALE = "#b9c0cb"
MOST_TICKS = 12
_LONGEST = 18


@dataclass(frozen=True)
class Axis:
    """Where the values of a key stand between 0 and 1, and what is written there."""

    name: str
    ticks: tuple[tuple[float, str], ...]
    low: float
    high: float
    log: bool
    listed: tuple[Any, ...] | None

    def place(self, value: Any) -> float:
        """The height of a value on this axis."""
        if self.listed is not None:
            return _even(self.listed.index(value), len(self.listed))
        if self.high == self.low:
            return 0.5
        low, high, value = (self._scaled(item) for item in (self.low, self.high, float(value)))
        return (value - low) / (high - low)

    def _scaled(self, value: float) -> float:
        return math.log(value) if self.log else value


def parallel_coordinates(sweep: SweepParams, trials: Sequence[Trial], best: Trial | None) -> bytes:
    """Draw the trials that reached anything; pruned ones are pale, the best is thick."""
    from matplotlib import colormaps
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    drawn = [(trial, reached) for trial in trials if (reached := _reached(sweep, trial))]
    axes_of = [key_axis(key, values) for key, values in sweep.params.items()]
    axes_of.append(_objective_axis(sweep, [reached[0] for _, reached in drawn]))
    figure = Figure(figsize=(max(6.0, 2.0 * len(axes_of)), 4.6), dpi=100, layout="constrained")
    FigureCanvasAgg(figure)  # outside pyplot, which would keep it and pick a window system
    axes = figure.add_subplot()
    ranks = _ranks(sweep, [trial for trial, _ in drawn if trial.state == "done"])
    for trial, (value,) in sorted(drawn, key=lambda item: -ranks.get(item[0].number, math.inf)):
        heights = [axis.place(trial.params[axis.name]) for axis in axes_of[:-1]]
        heights.append(axes_of[-1].place(value))
        done = trial.state == "done"
        axes.plot(
            range(len(axes_of)),
            heights,
            color=colormaps["viridis"](0.9 * ranks[trial.number]) if done else PALE,
            linewidth=3.0 if trial == best else 1.3,
            linestyle="-" if done else ":",
        )
    for position, axis in enumerate(axes_of):
        axes.axvline(position, color="black", linewidth=0.8)
        for height, text in axis.ticks:
            axes.annotate(
                text,
                (position, height),
                (5, 0),
                textcoords="offset points",
                fontsize=8,
                va="center",
                bbox={"boxstyle": "square,pad=0.1", "facecolor": "white", "edgecolor": "none"},
            )
    names = [axis.name.replace(".", ".\n", axis.name.count(".") - 1) for axis in axes_of]
    axes.set_xticks(range(len(axes_of)), names, fontsize=8)
    axes.set(ylim=(-0.05, 1.05), xlim=(-0.1, len(axes_of) - 0.6), title=f"Sweep {sweep.name}")
    axes.yaxis.set_visible(False)
    axes.spines[:].set_visible(False)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", metadata={"Software": None})
    return buffer.getvalue()


def key_axis(key: str, values: Range | tuple[Any, ...]) -> Axis:
    """The axis of a key."""
    if isinstance(values, Range) and values.step is not None:
        values = values.steps
    if isinstance(values, Range):
        low, high = float(values.low), float(values.high)
        middle = math.sqrt(low * high) if values.log else (low + high) / 2
        ticks = ((0.0, f"{low:g}"), (0.5, f"{middle:.3g}"), (1.0, f"{high:g}"))
        return Axis(key, ticks, low, high, values.log, None)
    every = math.ceil(len(values) / MOST_TICKS)
    ticks = tuple(
        (_even(index, len(values)), _short(value))
        for index, value in enumerate(values)
        if index % every == 0
    )
    return Axis(key, ticks, 0.0, 1.0, False, values)


def _objective_axis(sweep: SweepParams, values: list[float]) -> Axis:
    low, high = (min(values), max(values)) if values else (0.0, 1.0)
    ticks = ((0.0, f"{low:.4g}"), (1.0, f"{high:.4g}")) if low < high else ((0.5, f"{low:.4g}"),)
    return Axis(f"validation {sweep.objective}", ticks, low, high, False, None)


def _ranks(sweep: SweepParams, done: list[Trial]) -> dict[int, float]:
    """By number, where a finished trial stands between the best, 0, and the worst, 1."""
    sign = -1 if sweep.direction == "maximize" else 1
    order = sorted(done, key=lambda trial: (sign * trial.worth, trial.number))
    return {trial.number: index / max(1, len(order) - 1) for index, trial in enumerate(order)}


def _reached(sweep: SweepParams, trial: Trial) -> tuple[float] | None:
    """The value of a finished trial, the last of a pruned one; None where there is none."""
    if trial.value is not None:
        return (trial.value,)
    if trial.state == "pruned" and trial.epochs:
        reached = trial.reached(sweep.objective)
        return (reached[max(reached)],)
    return None


def _even(index: int, count: int) -> float:
    return index / (count - 1) if count > 1 else 0.5


def _short(value: Any) -> str:
    text = str(value)
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 1]}…"
