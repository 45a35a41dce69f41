"""`modelyard score`: rows in, predictions in Parquet out."""

from pathlib import Path

from rich.console import Console

from modelyard.cli.run import point_to_prefect
from modelyard.cli.show import Display
from modelyard.data.source import is_address
from modelyard.runs.progress import listen
from modelyard.settings import Settings


def score_command(
    source: str,
    here: Path,
    name: str | None,
    version: int | None,
    output: Path,
    *,
    start_services: bool,
) -> None:
    """Run the flow and say what came out.

    Args:
        source: What to score; a path is relative to ``here``.
        here: The folder in which the command was given.
        name: The registered model; by default that of params.yaml.
        version: By default the live one.
        output: The folder to appear.
        start_services: Whether Prefect is started where it is not up.

    Raises:
        ModelyardError: there is no model to score with, or the rows are not as its contract says.
    """
    console, settings = Console(soft_wrap=True), Settings()
    with Display(console) as display, listen(display.show):
        if start_services:
            from modelyard.cli.services import shown
            from modelyard.services import up

            up(settings, Path(), on_event=shown, awaited=["prefect"])
        point_to_prefect(settings)
        from flows.score import score

        located = source if is_address(source) else str(here / source)
        scored = score(located, name, version, str(output))
    for line in scored.unmet:
        console.print(f"[yellow]![/yellow] {line}", highlight=False)
    if scored.rows["rejected"]:
        console.print(f"rejected rows and reasons: {scored.output}/quarantine.parquet")
