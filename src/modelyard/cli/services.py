"""`modelyard up`, `down`, `status`, `doctor`."""

from pathlib import Path

from rich.console import Console
from rich.table import Table

from modelyard.errors import ServiceUnavailable, WorkspaceError
from modelyard.orchestration.worker import FAULT
from modelyard.services import ServiceEvent
from modelyard.settings import Settings

_RUNS = 20
_SHOWN = 5


def shown(event: ServiceEvent) -> None:
    """Print a line for each service that starts, is ready, or takes another port."""
    Console(soft_wrap=True).print(f"[dim]{event.name:<10} {event.message}[/dim]", highlight=False)


def up_command() -> None:
    """Start what is not up, and print the addresses."""
    from modelyard.services import up

    settings = Settings()
    up(settings, Path(), on_event=shown)
    status_command()


def down_command() -> None:
    """Stop what `up` started."""
    from modelyard.services import down

    stopped = down(Settings())
    Console().print(f"stopped: {', '.join(stopped)}" if stopped else "nothing was up")


def status_command() -> None:
    """Print the services, the live models and the runs that wait."""
    from modelyard.services import status

    console, settings = Console(soft_wrap=True), Settings()
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim")
    for column in ("service", "state", "address", "pid", "memory"):
        table.add_column(column)
    for service in status(settings):
        memory = f"{service.memory_mb:,.0f} MB" if service.memory_mb else ""
        table.add_row(
            service.name, service.state, service.url or "", str(service.pid or ""), memory
        )
    console.print(table)
    fault = settings.state_dir / "worker" / FAULT
    if fault.exists():
        console.print(f"[yellow]![/yellow] {fault.read_text(encoding='utf-8')}", highlight=False)
    for line in live_models(settings):
        console.print(line, highlight=False)
    _print_runs(console, settings)


def _print_runs(console: Console, settings: Settings) -> None:
    """The last runs, what is switched on, and what waits for a person, as far as servers answer."""
    from modelyard.orchestration.schedules import starters
    from modelyard.prefect_api import PrefectApi
    from modelyard.runs.listing import list_runs
    from modelyard.runs.pending import pending

    try:
        found = list_runs(Path(), settings, _RUNS)
    except WorkspaceError as error:
        console.print(f"runs: {error.message}", highlight=False)
        return
    for item in found.records[:_SHOWN]:
        words = [item.state or "unknown", item.step, item.version, item.score, item.how]
        console.print(f"run: {item.run_id} {', '.join(filter(None, words))}", highlight=False)
    try:
        with PrefectApi.of(settings) as api:
            items = starters(api)
    except ServiceUnavailable:
        items = []
    on = [item.name for item in items if item.on]
    if items:
        count = sum(bool(item.when) for item in items)
        console.print(f"schedules: {', '.join(on) or 'none'} on, of {count}", highlight=False)
    for line in pending(settings, found.records):
        console.print(f"[yellow]waits:[/yellow] {line}", highlight=False)
    for reason in found.away:
        console.print(f"[yellow]![/yellow] {reason}", highlight=False)


def live_models(settings: Settings) -> list[str]:
    """A line for each model that serves from this folder."""
    from modelyard.artifacts import read_json

    lines = []
    for pointer in sorted(settings.serving.glob("*/live.json")):
        live = read_json(pointer)
        pinned = " (pinned by a rollback)" if live.get("pinned") else ""
        lines.append(
            f"live: {live['name']} version {live['version']}, digest {live['digest'][:12]}{pinned}"
        )
        for beside, words in (("canary", "{percent:g} % of its callers"), ("shadow", "unseen")):
            if (path := pointer.with_name(f"{beside}.json")).exists():
                found = read_json(path)
                lines.append(f"{beside}: version {found['version']}, {words.format(**found)}")
    return lines or ["live: no model yet"]


def doctor_command() -> None:
    """Print each finding with its remedy; fail when one is bad."""
    from modelyard.services.doctor import examine

    console = Console(soft_wrap=True)
    findings = examine(Path(), Settings())
    for finding in findings:
        mark = "[green]✓[/green]" if finding.ok else "[red]✗[/red]"
        console.print(f"{mark} [bold]{finding.name:<14}[/bold] {finding.detail}", highlight=False)
        if not finding.ok and finding.remedy:
            console.print(f"    [cyan]{finding.remedy}[/cyan]", highlight=False)
    if not all(finding.ok for finding in findings):
        raise SystemExit(1)
