"""`modelyard runs`: what ran, how one run went, and going on with one that stopped."""

from pathlib import Path

from rich.console import Console
from rich.table import Table

from modelyard.errors import ModelyardError, WorkspaceError
from modelyard.prefect_api import PrefectApi
from modelyard.settings import Settings

_WIDTH = 200  # characters
_STYLES = {"COMPLETED": "green", "FAILED": "red", "CRASHED": "red", "RUNNING": "cyan"}


def wide_console() -> Console:
    """A console whose tables are not cut where nobody looks at a terminal."""
    console = Console(soft_wrap=True)
    return console if console.is_terminal else Console(soft_wrap=True, width=_WIDTH)


def list_command(limit: int) -> None:
    """Print the latest runs."""
    from modelyard.runs.listing import list_runs

    console = wide_console()
    found = list_runs(Path(), Settings(), limit)
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim")
    for column in ("run", "when", "started by", "state", "step", "dataset", "version", "score"):
        table.add_column(column, no_wrap=True)
    for item in found.records:
        style = _STYLES.get(item.state_type, "default")
        state = f"[{style}]{item.state or 'unknown'}[/{style}]"
        when = f"{item.when.astimezone():%Y-%m-%d %H:%M}"
        table.add_row(
            item.run_id, when, item.how, state, item.step, item.dataset, item.version, item.score
        )
    console.print(table if found.records else "no runs yet: `modelyard run` makes one")
    for reason in found.away:
        console.print(f"[yellow]![/yellow] {reason}", highlight=False)


def show_command(run_id: str) -> None:
    """Print all that is known of one run."""
    from modelyard.runs.listing import list_runs
    from modelyard.runs.snapshot import REFS

    console = Console(soft_wrap=True)
    found = list_runs(Path(), Settings(), 1, run_id)
    (item,) = found.records
    rows = {
        "run": item.run_id,
        "when": f"{item.when.astimezone():%Y-%m-%d %H:%M:%S}",
        "started by": item.how,
        "state": item.state or "unknown",
        "step": item.step,
        "reason": item.reason,
        "dataset": item.dataset,
        "version": item.version,
        "score": item.score,
        "code": f"{REFS}/{item.run_id}",
        **item.links,
    }
    width = max(len(label) for label in rows)
    for label, text in rows.items():
        if text:
            console.print(f"[dim]{label:<{width}}[/dim]  ", end="")
            console.print(text.replace("\n", f"\n{'':<{width}}  "), highlight=False, markup=False)
    for reason in found.away:
        console.print(f"[yellow]![/yellow] {reason}", highlight=False)


def continue_command(run_id: str, no_up: bool = False) -> int:
    """Go on with a run that stopped: finished stages are not repeated; return the exit status.

    A deployment's run goes on in the worker under its own name. Any other is run again, isolated,
    from its snapshot.

    Raises:
        WorkspaceError: it is under way, or ended well.
    """
    from modelyard.cli.isolated import run_isolated_command
    from modelyard.runs.listing import BAD, list_runs
    from modelyard.runs.snapshot import REFS

    console, settings = Console(soft_wrap=True), Settings()
    found = list_runs(Path(), settings, 1, run_id)
    (item,) = found.records
    if item.state_type in ("RUNNING", "PENDING", "SCHEDULED"):
        raise WorkspaceError(
            f"run {run_id} is {item.state.lower()}",
            "If its process was killed, it turns Crashed within two minutes; then go on with it.",
        )
    if item.state_type == "COMPLETED" or (item.state == "done" and not item.state_type):
        raise WorkspaceError(
            f"run {run_id} ended well: there is nothing to go on with",
            "`modelyard run` makes another.",
        )
    if item.deployment_id and item.state_type in (*BAD, "CANCELLED"):
        with PrefectApi.of(settings) as api:
            api.retry(item.flow_run_id)
        _check_worker(settings)
        console.print(f"run {run_id} goes on in the worker: {item.links['Prefect']}")
        return 0
    return run_isolated_command([], None, no_up, revision=f"{REFS}/{run_id}")


def _check_worker(settings: Settings) -> None:
    from modelyard.services import status

    worker = next(service for service in status(settings) if service.name == "worker")
    if worker.state == "down":
        raise ModelyardError(
            "the run waits for a worker, and none is up here", "`modelyard up` starts it."
        )
