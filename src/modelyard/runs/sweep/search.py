"""What to try next and when to give a trial up, as functions of the trials before.

Optuna's study is built anew for each question, and seeded by the trial's number: nothing of it is
stored, and a sweep that was killed proposes what it would have proposed.
"""

import json
from collections.abc import Sequence
from itertools import islice
from typing import TYPE_CHECKING, Any

from modelyard.params.sweep import Range, SweepParams
from modelyard.runs.sweep.trials import Trial

if TYPE_CHECKING:
    from optuna import Study
    from optuna.distributions import BaseDistribution


def propose(sweep: SweepParams, trials: Sequence[Trial]) -> dict[str, Any] | None:
    """The params of the next trial by their paths; None when there are enough.

    By grid: the next combination. By Optuna: the tree-structured Parzen estimator (Bergstra et al.,
    "Algorithms for hyper-parameter optimization", NeurIPS 2011), ten random ones first; trials
    under way count as bad ones, so that those beside each other differ.
    """
    number = len(trials)
    if number >= sweep.num_trials:
        return None
    if sweep.method == "grid":
        return next(islice(sweep.grid(), number, None))
    study = _study(sweep, trials, number)
    asked = study.ask(_distributions(sweep))
    return {key: _value(sweep.params[key], asked.params[key]) for key in sweep.params}


def is_hopeless(sweep: SweepParams, trials: Sequence[Trial], trial: Trial) -> bool:
    """Whether the pruner gives up a trial under way, by what its epochs have reached.

    The median rule of Golovin et al., "Google Vizier", KDD 2017, section 3.5.2.
    """
    if sweep.pruner.name == "none" or not trial.epochs:
        return False
    from optuna.trial import TrialState, create_trial

    others = [other for other in trials if other.number != trial.number]
    study = _study(sweep, others, trial.number)
    reached = {epoch - 1: value for epoch, value in trial.reached(sweep.objective).items()}
    frozen = create_trial(state=TrialState.RUNNING, intermediate_values=reached)
    return study.pruner.prune(study, frozen)


def best_of(sweep: SweepParams, trials: Sequence[Trial]) -> Trial | None:
    """The finished trial with the best value, the earliest of equals; None where none finished."""
    finished = [trial for trial in trials if trial.state == "done"]
    sign = 1 if sweep.direction == "maximize" else -1
    return max(finished, key=lambda trial: sign * trial.worth, default=None)


def _study(sweep: SweepParams, trials: Sequence[Trial], number: int) -> "Study":
    import numpy as np
    import optuna

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    seed = int(np.random.SeedSequence([sweep.seed, number]).generate_state(1)[0])
    startup, warmup = sweep.pruner.startup, sweep.pruner.warmup
    study = optuna.create_study(
        direction=sweep.direction,
        sampler=optuna.samplers.TPESampler(seed=seed),
        pruner=optuna.pruners.MedianPruner(startup, warmup),
    )
    for trial in trials:
        study.add_trial(_frozen(sweep, trial))
    return study


def _frozen(sweep: SweepParams, trial: Trial) -> Any:
    from optuna.trial import TrialState, create_trial

    states = {
        "running": TrialState.RUNNING,
        "done": TrialState.COMPLETE,
        "pruned": TrialState.PRUNED,
        "failed": TrialState.FAIL,
    }
    given = {}
    if sweep.method == "optuna":
        given = {
            "params": {key: _choice(sweep.params[key], trial.params[key]) for key in sweep.params},
            "distributions": _distributions(sweep),
        }
    return create_trial(
        state=states[trial.state],
        value=trial.value if trial.state == "done" else None,
        intermediate_values={
            epoch - 1: value for epoch, value in trial.reached(sweep.objective).items()
        },
        **given,
    )


def _distributions(sweep: SweepParams) -> "dict[str, BaseDistribution]":
    from optuna.distributions import (
        CategoricalDistribution,
        FloatDistribution,
        IntDistribution,
    )

    found: dict[str, BaseDistribution] = {}
    for key, values in sweep.params.items():
        if not isinstance(values, Range):
            found[key] = CategoricalDistribution([_choice(values, value) for value in values])
        elif values.whole:
            step = 1 if values.step is None else int(values.step)
            found[key] = IntDistribution(int(values.low), int(values.high), values.log, step)
        else:
            found[key] = FloatDistribution(values.low, values.high, values.log, values.step)
    return found


def _choice(values: Range | tuple[Any, ...], value: Any) -> Any:
    """A value as Optuna takes it: what is listed may be a list itself, so it goes as its JSON."""
    return value if isinstance(values, Range) else json.dumps(value)


def _value(values: Range | tuple[Any, ...], choice: Any) -> Any:
    return choice if isinstance(values, Range) else json.loads(choice)
