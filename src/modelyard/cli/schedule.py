"""`modelyard schedule`: what starts by itself, and switching it on and off."""

from collections.abc import Iterable

from rich.console import Console
from rich.table import Table

from modelyard.cli.runs import wide_console
from modelyard.orchestration.schedules import Starter, starters, switch
from modelyard.prefect_api import PrefectApi
from modelyard.settings import Settings


def list_command() -> None:
    """Print every deployment and what starts it."""
    with PrefectApi.of(Settings()) as api:
        wide_console().print(table(starters(api)))


def switch_command(name: str, on: bool) -> None:
    """Switch a deployment's schedules and triggers, and say when it runs next."""
    with PrefectApi.of(Settings()) as api:
        item = switch(api, name, on)
    due = f"; next run {item.next_run.astimezone():%Y-%m-%d %H:%M}" if item.next_run else ""
    Console(soft_wrap=True).print(
        f"{item.name} is {'on' if item.on else 'off'} ({item.when}){due}", highlight=False
    )


def table(items: Iterable[Starter]) -> Table:
    """As a table."""
    result = Table(box=None, padding=(0, 2, 0, 0), header_style="dim")
    for column in ("deployment", "starts", "", "next run"):
        result.add_column(column, no_wrap=True)
    for item in items:
        state = ("[green]on[/green]" if item.on else "off") if item.when else ""
        due = f"{item.next_run.astimezone():%Y-%m-%d %H:%M}" if item.next_run else ""
        result.add_row(item.name, item.when or "by hand", state, due)
    return result
