"""`modelyard sweep`: a line for each trial, then a table, the report and the challenger."""

import os
from pathlib import Path

from rich.console import Console
from rich.table import Table

from modelyard.cli.run import point_to_prefect
from modelyard.cli.show import Display
from modelyard.runs.progress import listen
from modelyard.runs.sweep.report import PAGE, short_names, table
from modelyard.runs.sweep.study import Study
from modelyard.settings import Settings

_MOST_ROWS = 20


def sweep_command(file: Path, start_services: bool) -> None:
    """Run the flow of a sweep and show what it found.

    Raises:
        ModelyardError: the file is not possible, a service does not start, or no trial finished.
    """
    console, settings = Console(soft_wrap=True), Settings()
    study = Study(Path(), file, settings)
    known = [trial for trial in study.trials if trial.state != "running"]
    if known:
        console.print(f"{len(known)} of {study.params.num_trials} trials are done already")
    with Display(console) as display, listen(display.show):
        if start_services:
            from modelyard.cli.services import shown
            from modelyard.services import up

            up(settings, Path(), on_event=shown, awaited=["prefect", "mlflow"])
        point_to_prefect(settings)
        from flows.sweep import sweep

        found = sweep(str(file))
    _show(console, Study(Path(), file, settings))
    if found.version is not None:
        passed = "challenger" in found.aliases
        console.print(
            f"\n{study.model} version {found.version} "
            + ("passed its gate" if passed else "did not pass its gate")
            + (f"; `modelyard promote {found.version}` makes it champion" if passed else ""),
            highlight=False,
        )


def _show(console: Console, study: Study) -> None:
    keys = short_names(study.params.params).values()
    lines = Table("trial", study.params.objective, *keys, "epochs", "state", box=None)
    rows = table(study)
    for row in rows[:_MOST_ROWS]:
        cells = [row["number"], row["value"], *row["params"], row["epochs"], row["state"]]
        lines.add_row(*map(str, cells))
    console.print()
    console.print(lines)
    if len(rows) > _MOST_ROWS:
        console.print(f"and {len(rows) - _MOST_ROWS} more")
    place = os.path.relpath(study.folder / PAGE)
    console.print(f"\nreport: {place}", highlight=False)
