"""A sweep's file: which params are tried, in what order, and what makes one trial the better.

Each trial is judged on the validation split. The test split takes no part in the choice, so that
what is measured on it afterwards is no better than it will be.
"""

import math
import re
from collections.abc import Iterator
from itertools import islice, product
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import yaml
from pydantic import Discriminator, Tag, ValidationError, model_validator
from pydantic import Field as Key

from modelyard.errors import ParamsError
from modelyard.params.base import Section
from modelyard.params.load import FILE, explain, parse, with_overrides
from modelyard.params.tree import read_tree, unfit

SEARCHED = ("data", "model", "train")
"""The sections that a trial reads; what the others say comes after the choice."""
MOST_TRIALS = 10_000
_NAME = "[a-z0-9][a-z0-9_-]{0,62}"
Number = int | float


class Range(Section):
    """Numbers from ``low`` to ``high``, whole ones where both are; ``log`` spreads them by ratio.

    With ``step`` they are low, low + step, ...: a grid needs it.
    """

    low: Number
    high: Number
    log: bool = False
    step: Number | None = None

    @model_validator(mode="after")
    def _is_a_range(self) -> Self:
        if not self.low < self.high:
            raise ValueError(f"low {self.low:g} is not below high {self.high:g}")
        if self.log and self.low <= 0:
            raise ValueError(f"low {self.low:g}: a range by ratio (log) begins above 0")
        if self.step is not None and (self.log or not 0 < self.step <= self.high - self.low):
            raise ValueError("step goes without log, is above 0, and at most high - low")
        return self

    @property
    def whole(self) -> bool:
        """Whether the values are integers."""
        given = (self.low, self.high, *([] if self.step is None else [self.step]))
        return all(isinstance(value, int) for value in given)

    @property
    def steps(self) -> tuple[Number, ...]:
        """The values of a range with a step."""
        assert self.step is not None
        count = math.floor((self.high - self.low) / self.step + 1e-9) + 1
        values = (self.low + index * self.step for index in range(count))
        # Twelve digits: 0.1 + 2 x 0.1 is meant as 0.3.
        return tuple(value if self.whole else float(f"{value:.12g}") for value in values)


class Pruner(Section):
    """What ends a trial early.

    ``median``: its best score so far is worse than the median of the finished trials' at the same
    epoch, after ``warmup`` epochs, once ``startup`` trials have finished.
    """

    name: Literal["median", "none"] = "median"
    warmup: Annotated[int, Key(ge=0)] = 1
    startup: Annotated[int, Key(ge=1)] = 4


def _kind(values: Any) -> str:
    return "range" if isinstance(values, dict | Range) else "values"


Searched = Annotated[
    Annotated[Range, Tag("range")] | Annotated[tuple[Any, ...], Key(strict=False), Tag("values")],
    Discriminator(_kind),
]


class SweepParams(Section):
    """The whole file.

    ``params`` gives, by the path of a key of params.yaml, a list of values or a range. ``grid``
    tries every combination, the last key fastest; ``optuna`` as many ``trials`` as are asked for,
    each proposed from those before (TPE). ``parallel`` trials share the machine's cores.
    """

    name: Annotated[str, Key(pattern=f"^{_NAME}$")]
    params: Annotated[dict[str, Searched], Key(min_length=1)]
    method: Literal["grid", "optuna"] = "optuna"
    trials: Annotated[int, Key(ge=1, le=MOST_TRIALS)] | None = None
    objective: Literal["score", "loss"] = "score"
    parallel: Annotated[int, Key(ge=1, le=64)] = 1
    pruner: Pruner = Pruner()
    seed: Annotated[int, Key(ge=0, lt=2**32)] = 0

    @model_validator(mode="after")
    def _keys_are_searched(self) -> Self:
        for key, values in self.params.items():
            if key.partition(".")[0] not in SEARCHED:
                raise ValueError(
                    f"params.{key}: a trial ends with its training and reads nothing of this; "
                    f"possible: keys of {', '.join(SEARCHED)}"
                )
            if self.objective == "loss" and key.startswith("train.loss"):
                raise ValueError(
                    f"params.{key}: losses of different kinds do not compare; set objective: score"
                )
            if not isinstance(values, Range) and len(values) < 1:
                raise ValueError(f"params.{key}: give at least one value")
        return self

    @model_validator(mode="after")
    def _method_has_what_it_needs(self) -> Self:
        if self.method == "optuna" and self.trials is None:
            raise ValueError("method optuna needs a number of trials")
        if self.method == "grid":
            if self.trials is not None:
                raise ValueError("method grid tries every combination: leave trials out")
            for key, values in self.params.items():
                if isinstance(values, Range) and values.step is None:
                    raise ValueError(f"params.{key}: a grid needs a list of values, or a step")
            if self.num_trials > MOST_TRIALS:
                raise ValueError(
                    f"the grid has {self.num_trials:,} combinations, at most {MOST_TRIALS:,} are "
                    "tried; use method: optuna"
                )
        return self

    @property
    def num_trials(self) -> int:
        """How many trials make the sweep complete."""
        if self.trials is not None:
            return self.trials
        return math.prod(len(values) for values in self._values().values())

    @property
    def direction(self) -> Literal["maximize", "minimize"]:
        """What is better."""
        return "maximize" if self.objective == "score" else "minimize"

    def grid(self) -> Iterator[dict[str, Any]]:
        """Every combination, in order."""
        values = self._values()
        return (dict(zip(values, chosen, strict=True)) for chosen in product(*values.values()))

    def _values(self) -> dict[str, tuple[Any, ...]]:
        return {
            key: values.steps if isinstance(values, Range) else values
            for key, values in self.params.items()
        }


def read_sweep(path: Path, base: dict[str, Any]) -> SweepParams:
    """Read a sweep's file and check every value that it names against ``base``.

    Args:
        path: The file.
        base: The parsed params.yaml that trials start from.

    Raises:
        ParamsError: the file is missing or not one of a sweep, or a value is not possible, not
            even together with any value of another key.
    """
    tree = read_tree(path)
    faults = list(unfit(tree))
    try:
        if faults:
            raise ParamsError("\n".join(faults), f"Correct {path.name}.")
        sweep = SweepParams.model_validate(tree)
    except ValidationError as error:
        lines = [explain(_placed(dict(item)), SweepParams) for item in error.errors()]
        text = "\n".join(lines).replace(f"{FILE}: ", "")
        raise ParamsError(f"{path.name}: {text}", f"Correct {path.name}.") from None
    for key, values in sweep.params.items():
        ends = (values.low, values.high) if isinstance(values, Range) else values
        for value in ends:
            _check(sweep, key, value, base, path)
    return sweep


def as_overrides(params: dict[str, Any]) -> list[str]:
    """The params of a trial as ``key.path=value``, the value in YAML on one line."""
    return [f"{key}={_text(value)}" for key, value in params.items()]


def _text(value: Any) -> str:
    text = yaml.safe_dump([value], default_flow_style=True, width=math.inf, allow_unicode=True)
    return re.sub(r"^\[|\]\n$", "", text)


def _placed(item: dict[str, Any]) -> dict[str, Any]:
    """A pydantic error without the part of its place that says which of two kinds was read."""
    place = item["loc"]
    return {**item, "loc": (*place[:2], *place[3:]) if place[:1] == ("params",) else place}


def _check(sweep: SweepParams, key: str, value: Any, base: dict[str, Any], path: Path) -> None:
    """Refuse a value that fits neither params.yaml as it is nor with a value of another key."""
    first: ParamsError | None = None
    others = (
        {other: item}
        for other, values in sweep.params.items()
        if other != key
        for item in ((values.low, values.high) if isinstance(values, Range) else values)
    )
    for companion in ({}, *islice(others, 100)):
        try:
            parse(with_overrides(base, as_overrides({key: value, **companion})))
        except ParamsError as error:
            first = first or error
        else:
            return
    assert first is not None
    raise ParamsError(f"{path.name}: params.{key}: {first.message}", f"Correct {path.name}.")
