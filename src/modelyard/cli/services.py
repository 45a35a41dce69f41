"""`modelyard up`, `down`, `status`, `doctor`."""

from pathlib import Path

from rich.console import Console
from rich.table import Table

from modelyard.services import ServiceEvent
from modelyard.settings import Settings


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
    for line in live_models(settings):
        console.print(line, highlight=False)


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
