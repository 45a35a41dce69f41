"""The commands of the flows beside the pipeline: `modelyard sweep`, `modelyard score`."""

from pathlib import Path
from typing import Annotated

import typer

NoUp = Annotated[bool, typer.Option("--no-up", help="Use only services that are up; start none.")]


def sweep(
    context: typer.Context,
    file: Annotated[Path, typer.Argument(help="A sweep's file, such as sweeps/digits.yaml.")],
    no_up: NoUp = False,
) -> None:
    """Train with many params, judged on the validation split, and register the best as challenger. Stopped, the same command goes on.

    Example: `modelyard sweep sweeps/digits.yaml`
    """  # noqa: E501 - the help, one paragraph
    from modelyard.cli.sweep import sweep_command

    sweep_command((context.obj or Path()) / file, start_services=not no_up)


def score(
    context: typer.Context,
    source: Annotated[
        str, typer.Argument(help="A file, folder or glob in quotes, s3:// prefix or SQL address.")
    ],
    name: Annotated[str | None, typer.Option(help="The registered model.")] = None,
    version: Annotated[
        int | None, typer.Option(min=1, max=2**31 - 1, help="By default the live one.")
    ] = None,
    output: Annotated[
        Path | None, typer.Option(help="The folder to appear; by default data/scores.")
    ] = None,
    no_up: NoUp = False,
) -> None:
    """Predict rows of any number by the live model, to Parquet; rows that break its contract are set aside. Stopped, the same command goes on.

    Example: `modelyard score incoming/november.csv --output scored/november`
    """  # noqa: E501 - the help, one paragraph
    from modelyard.cli.score import score_command

    here = context.obj or Path()
    place = here / output if output else Path("data/scores")
    score_command(source, here, name, version, place, start_services=not no_up)
