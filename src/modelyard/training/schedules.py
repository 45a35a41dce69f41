"""The learning rate as a pure function of the step: no state of a scheduler to save."""

import math

from modelyard.params import Schedule

# One cycle as in torch.optim.lr_scheduler.OneCycleLR: rise from a 25th, end at a 10,000th of that.
_RISE, _START, _END = 0.3, 1 / 25, 1 / 25 / 1e4


def learning_rate(
    schedule: Schedule, peak: float, step: int, total_steps: int, steps_per_epoch: int
) -> float:
    """The learning rate of global step ``step`` (from 0).

    ``one_cycle`` (Smith, Super-Convergence, 2017) rises for ``warmup`` of all steps, 0.3 if it is
    not given, and leaves momentum alone; the others rise linearly for ``warmup`` and then follow
    their name.
    """
    if schedule.name == "one_cycle":
        rise = max(1, round((schedule.warmup or _RISE) * total_steps))
        if step < rise:
            return _cosine(peak * _START, peak, step / rise)
        return _cosine(peak, peak * _END, (step - rise) / max(1, total_steps - 1 - rise))
    warmup = round(schedule.warmup * total_steps)
    if step < warmup:
        return peak * (step + 1) / (warmup + 1)
    if schedule.name == "cosine":
        return _cosine(peak, 0.0, (step - warmup) / max(1, total_steps - warmup))
    if schedule.name == "step":
        return peak * schedule.gamma ** (step // steps_per_epoch // schedule.step_epochs)
    return peak


def _cosine(start: float, end: float, share: float) -> float:
    return end + (start - end) * (1 + math.cos(math.pi * min(1.0, share))) / 2
