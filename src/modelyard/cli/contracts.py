"""The commands of a new dataset: `modelyard expect suggest`, `modelyard init`."""

from pathlib import Path
from typing import Annotated, Literal

import typer

Source = Annotated[
    str, typer.Argument(help="A file, folder or pattern, package:, http(s)://, s3:// or SQL.")
]
Kind = Annotated[
    Literal["tabular", "text", "image", "audio"] | None,
    typer.Option(help="Where the source does not show it."),
]
Target = Annotated[str | None, typer.Option(help="The column to learn, as the source names it.")]
Query = Annotated[str | None, typer.Option(help="What to read from a database.")]
expect = typer.Typer(no_args_is_help=True, help="Data contracts.")


@expect.command()
def suggest(
    context: typer.Context,
    source: Source,
    kind: Kind = None,
    target: Target = None,
    query: Query = None,
) -> None:
    """Propose the `data` section for a source, as YAML to edit, each guess with its evidence.

    Example: `modelyard expect suggest source/credit.csv --target status`
    """
    from modelyard.cli.expect import suggest_command

    suggest_command(source, context.obj or Path(), kind, target, query)


def init(  # noqa: PLR0913, PLR0917 - each is an option
    context: typer.Context,
    source: Source,
    kind: Kind = None,
    target: Target = None,
    query: Query = None,
    name: Annotated[str | None, typer.Option(help="Of the model; by default the source's.")] = None,
    output: Annotated[
        Path | None, typer.Option(help="The file to write; by default recipes/NAME.yaml.")
    ] = None,
    replace: Annotated[bool, typer.Option("--replace", help="Write params.yaml itself.")] = False,
    force: Annotated[bool, typer.Option("--force", help="Overwrite what is there.")] = False,
) -> None:
    """Write a params file for a new dataset: the first step with it. A file from elsewhere is copied.

    Example: `modelyard init ~/credit.csv --target status --name credit`
    """  # noqa: E501 - the help, one paragraph
    from modelyard.cli.init import init_command

    init_command(
        source,
        context.obj or Path(),
        kind=kind,
        target=target,
        query=query,
        name=name,
        output=output,
        replace=replace,
        force=force,
    )
