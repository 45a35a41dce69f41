"""`modelyard key`, as the command line sees it."""

from typing import Annotated

import typer

key = typer.Typer(no_args_is_help=True, help="Make, list and take back keys of the model server.")


@key.command()
def add(
    owner: Annotated[str, typer.Argument(help="Who gets it, such as a service or a team.")],
    models: Annotated[str, typer.Option(help="Names with commas between, or * for all.")] = "*",
    rate: Annotated[
        float | None, typer.Option(min=0.001, help="Requests a second; without it no bound.")
    ] = None,
    days: Annotated[
        int | None, typer.Option(min=1, max=36500, help="Until when; without it for ever.")
    ] = None,
) -> None:
    """Make a key and print it, once; from the first one on the server asks every caller for one.

    Example: `modelyard key add shop --models digits --rate 50 --days 90`
    """
    from modelyard.cli.api_keys import add_command

    add_command(owner, models, rate, days)


@key.command(name="list")
def list_() -> None:
    """Show every key but its secret.

    Example: `modelyard key list`
    """
    from modelyard.cli.api_keys import list_command

    list_command()


@key.command()
def remove(
    key_id: Annotated[str, typer.Argument(metavar="KEY", help="As `modelyard key list` shows.")],
) -> None:
    """Take a key back; servers refuse it within a second.

    Example: `modelyard key remove 1a2b3c4d`
    """
    from modelyard.cli.api_keys import remove_command

    remove_command(key_id)
