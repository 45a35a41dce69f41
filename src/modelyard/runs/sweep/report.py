"""What a sweep found, as a page: the picture, a table of the trials, the best one's params."""

from collections.abc import Iterable
from typing import Any

from modelyard.artifacts import write_atomic
from modelyard.params.sweep import SweepParams
from modelyard.runs.sweep.picture import parallel_coordinates
from modelyard.runs.sweep.study import Study
from modelyard.runs.sweep.trials import Trial
from modelyard.templates import render

PICTURE, PAGE = "trials.png", "report.html"


def write_report(study: Study) -> None:
    """Write ``trials.png`` and ``report.html`` into the study's folder."""
    picture = parallel_coordinates(study.params, study.trials, study.best)
    page = render(
        "sweep.html.j2",
        sweep=study.params,
        model=study.model,
        picture=picture,
        rows=table(study),
        best=study.best,
        states=[trial.state for trial in study.trials],
    )
    write_atomic(study.folder / PICTURE, picture)
    write_atomic(study.folder / PAGE, page.encode())


def table(study: Study) -> list[dict[str, Any]]:
    """One line a trial, the best first, those without a value last."""
    sign = -1 if study.params.direction == "maximize" else 1

    def rank(trial: Trial) -> tuple[bool, float, int]:
        value = trial.value
        return value is None, 0.0 if value is None else sign * value, trial.number

    return [
        {
            "number": trial.number,
            "state": trial.state,
            "value": "" if trial.value is None else f"{trial.value:.4f}",
            "params": [shown(trial.params[key]) for key in study.params.params],
            "epochs": len(trial.epochs),
            "seconds": f"{trial.seconds:.1f}",
            "reason": trial.reason,
        }
        for trial in sorted(study.trials, key=rank)
    ]


def markdown(study: Study) -> str:
    """The table as Markdown."""
    head = ["trial", study.params.objective, *study.params.params, "epochs", "state"]
    lines = [f"| {' | '.join(head)} |", f"|{'---|' * len(head)}"]
    for row in table(study):
        cells = [row["number"], row["value"], *row["params"], row["epochs"], row["state"]]
        lines.append(f"| {' | '.join(map(str, cells))} |")
    return "\n".join(lines)


def told(sweep: SweepParams, what: Trial | dict[str, Any]) -> str:
    """A trial, or one of its epochs, in a line."""
    if isinstance(what, dict):
        score, loss = what["validation_score"], what["validation_loss"]
        return f"epoch {what['epoch']}: validation score {score:.3f}, loss {loss:.3f}"
    names = short_names(sweep.params)
    params = ", ".join(f"{name} {shown(what.params[key])}" for key, name in names.items())
    value = f"{sweep.objective} {what.value:.4f}" if what.value is not None else what.reason
    return f"{value}; {params}"


def short_names(keys: Iterable[str]) -> dict[str, str]:
    """Each key's shortest ending that no other one has: ``lr`` of ``train.optimizer.lr``."""
    parts = {key: key.split(".") for key in keys}
    names = {}
    for key, own in parts.items():
        others = [other for known, other in parts.items() if known != key]
        endings = (own[-length:] for length in range(1, len(own) + 1))
        free = (end for end in endings if not any(other[-len(end) :] == end for other in others))
        names[key] = ".".join(next(free, own))
    return names


def shown(value: Any) -> str:
    """A value as tables have it: numbers to four digits."""
    return f"{value:.4g}" if isinstance(value, float) else str(value)
