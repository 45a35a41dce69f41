"""What callers see of a model's answer: scores rounded, and of the classes only the likeliest.

Precise scores of every class let a caller copy a model with far fewer questions (Tramer et al.
2016, "Stealing machine learning models via prediction APIs", section 7). The answer itself stays:
the likeliest class is still the likeliest alone, and a label above 0.5 is still above it.
"""

import numpy as np

from modelyard.serving.model import Model
from modelyard.serving.serve_settings import ServeSettings

_ABOVE = 0.5
"""From here on several labels' answer names one (see ``predictions``)."""


def disclose(model: Model, outputs: list[np.ndarray], settings: ServeSettings) -> list[np.ndarray]:
    """The outputs as callers see them.

    Args:
        model: Whose; its first output holds the scores, [rows, width].
        outputs: As the model gave them; they stay as they are.
        settings: ``decimals`` and ``top``, of which at least one is not None.

    Returns:
        Outputs of the same shapes, floats as float64: so a rounded number is written as one.
    """
    first, *others = outputs
    decimals = settings.decimals
    scores = first.astype(np.float64)
    if model.task == "regression":
        shown = scores if decimals is None else scores.round(decimals)
    else:
        several = model.task == "multi-label"
        shown = _top(scores, settings.top, several)
        if decimals is not None:
            keep = _keep_several if several else _keep_best
            shown = keep(scores, shown.round(decimals), decimals)
    return [shown, *(_rounded(values, decimals) for values in others)]


def _rounded(values: np.ndarray, decimals: int | None) -> np.ndarray:
    if decimals is None or values.dtype.kind != "f":
        return values
    return values.astype(np.float64).round(decimals)


def _top(scores: np.ndarray, top: int | None, several: bool) -> np.ndarray:
    """The ``top`` largest of each row, 0 for the others; labels that are answered keep theirs."""
    if top is None or top >= scores.shape[1]:
        return scores
    rows = np.arange(len(scores))[:, None]
    order = (-scores).argsort(axis=1, kind="stable")[:, :top]
    kept = np.zeros_like(scores)
    kept[rows, order] = scores[rows, order]
    return np.where(scores > _ABOVE, scores, kept) if several else kept


def _keep_best(scores: np.ndarray, shown: np.ndarray, decimals: int) -> np.ndarray:
    """Let the likeliest class be so alone: what rounding made equal to it goes down by a step."""
    rows, best = np.arange(len(scores)), scores.argmax(axis=1)
    step = 10.0**-decimals
    highest = shown[rows, best]
    # Of many classes even the likeliest may be rounded to 0, and nothing goes below that.
    highest[highest < step / 2] = step
    shown[rows, best] = highest
    tied = shown >= highest[:, None]
    if np.count_nonzero(tied) > len(scores):
        tied[rows, best] = False
        shown[tied] = (shown[tied] - step).round(decimals)
    return shown


def _keep_several(scores: np.ndarray, shown: np.ndarray, decimals: int) -> np.ndarray:
    """Let a label above 0.5 be above it: what rounding made 0.5 goes up by a step."""
    lost = (scores > _ABOVE) & (shown <= _ABOVE)
    shown[lost] = (shown[lost] + 10.0**-decimals).round(decimals)
    return shown
