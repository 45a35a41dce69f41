"""`modelyard key`: who may ask the model server."""

import math

from rich.console import Console
from rich.table import Table

from modelyard.artifacts import write_atomic
from modelyard.cli.runs import wide_console
from modelyard.errors import ParamsError
from modelyard.params import check_name
from modelyard.serving import keys
from modelyard.settings import Settings


def add_command(owner: str, models: str, rate: float | None, days: int | None) -> None:
    """Make a key and print it, once."""
    names = tuple(name.strip() for name in models.split(",") if name.strip())
    if not names:
        raise ParamsError("--models names no model", "Give names, or * for all.")
    for name in names:
        if name != keys.ALL:
            check_name(name)
    if not owner.strip():
        raise ParamsError("the key's owner has no name", "Give one: `modelyard key add shop`.")
    if rate is not None and not math.isfinite(rate):
        raise ParamsError(f"--rate is {rate:g}", "Leave it out for a key without a bound.")
    settings = Settings()
    path = settings.state_dir / keys.FILE
    if first := not path.exists():
        own, _ = keys.add(path, "this project's command line", (keys.ALL,), None, None)
        write_atomic(settings.own_api_key, own.encode(), mode=0o600)
    text, key = keys.add(path, owner, names, rate, days)
    console = Console(stderr=True, soft_wrap=True, highlight=False)
    console.print(f"key {key.id} for {owner}: {_scope(key)}. It is shown this once:")
    Console(soft_wrap=True, highlight=False, markup=False).print(text)
    if first:
        console.print("From now on the server asks every caller for a key.")


def list_command() -> None:
    """Print every key but its secret."""
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim")
    for column in ("key", "owner", "models", "rate", "made", "until"):
        table.add_column(column, no_wrap=True)
    for key in keys.read(Settings().state_dir / keys.FILE).values():
        until = (key.expires or "")[:10] + (" (over)" if key.is_expired else "")
        rate = "" if key.rate is None else f"{key.rate:g}/s"
        table.add_row(key.id, key.owner, ", ".join(key.models), rate, key.created[:10], until)
    wide_console().print(table)


def remove_command(key_id: str) -> None:
    """Take a key back."""
    key = keys.remove(Settings().state_dir / keys.FILE, key_id)
    Console(soft_wrap=True, highlight=False).print(f"key {key.id} of {key.owner} is refused now")


def _scope(key: keys.ApiKey) -> str:
    models = "all models" if keys.ALL in key.models else f"models {', '.join(key.models)}"
    rate = f", {key.rate:g} requests a second" if key.rate else ""
    return models + rate + (f", until {key.expires[:10]}" if key.expires else "")
