"""`modelyard run`: services, pipeline, table, addresses, and a request that works when pasted."""

import os
import sys
from pathlib import Path
from time import perf_counter
from typing import NoReturn

from rich.console import Console

from modelyard.cli.show import Display
from modelyard.errors import ModelyardError, ServiceUnavailable
from modelyard.params import load
from modelyard.runs.progress import listen
from modelyard.settings import Settings


def run_pipeline(start_services: bool) -> None:
    """Run the flow in this folder and show what it made.

    Raises:
        ModelyardError: params.yaml is not possible, a service does not start, or a step refuses.
    """
    started = perf_counter()
    console, settings = Console(soft_wrap=True), Settings()
    load()
    with Display(console) as display, listen(display.show):
        if start_services and not settings.run_id:
            from modelyard.cli.services import shown
            from modelyard.services import up

            up(settings, Path(), on_event=shown, awaited=["prefect"])
        point_to_prefect(settings)
        from flows.pipeline import pipeline

        try:
            result = pipeline()
        except Exception as error:
            if isinstance(error, ModelyardError) or _prefect_answers():
                raise
            _leave_without_prefect(console)
    _end(console, settings, result, perf_counter() - started)
    if not _prefect_answers():
        _leave_without_prefect(console)


def _prefect_answers() -> bool:
    from modelyard.services.health import answers

    return answers(f"{os.environ['PREFECT_API_URL']}/health", timeout=2.0)


def _leave_without_prefect(console: Console) -> NoReturn:
    """End at once: Prefect's threads would go on trying to deliver their events for minutes."""
    console.print(
        f"Prefect went away during the run ({os.environ['PREFECT_API_URL']}): it has no record of"
        " its end. What the stages made is recorded; `modelyard up` brings Prefect back."
    )
    sys.stdout.flush()
    os._exit(1)


def point_to_prefect(settings: Settings) -> None:
    """Tell Prefect its server and to keep its log lines off the terminal; before it is imported."""
    address = settings.address("prefect")
    if not address:
        raise ServiceUnavailable(
            "no Prefect server is known: PREFECT_API_URL is not set and no local one is up",
            "`modelyard up` starts one; `dvc repro` runs the stages without.",
        )
    os.environ["PREFECT_API_URL"] = address
    if not _prefect_answers():
        raise ServiceUnavailable(
            f"Prefect does not answer at {address}",
            "Start that server, or unset PREFECT_API_URL; `modelyard up` starts a local one;"
            " `dvc repro` runs the stages without.",
        )
    os.environ.setdefault("PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL", "CRITICAL")
    os.environ.setdefault("PREFECT_LOGGING_INTERNAL_LEVEL", "CRITICAL")
    os.environ.setdefault("PREFECT_CLIENT_MAX_RETRIES", "2")
    os.environ.setdefault("PREFECT_FLOWS_HEARTBEAT_FREQUENCY", "30")


def _end(console: Console, settings: Settings, result, seconds: float) -> None:  # noqa: ANN001
    from modelyard.runs import summary

    console.print()
    table = summary.rows(Path(), settings.measurements, result)
    width = max(len(label) for label, _ in table)
    for label, value in table:
        console.print(f"  [dim]{label:<{width}}[/dim]  {value}", highlight=False)
    if settings.run_id:
        return
    from modelyard.cli.predict import show_first_answer

    show_first_answer(console, settings, load().registry.name)
    console.print(f"\n[dim]{seconds:.1f} s in all[/dim]")
