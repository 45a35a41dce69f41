"""The commands, each with an example; heavy modules are imported by the command that needs them."""

import gc
import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from modelyard.cli import failures
from modelyard.errors import ModelyardError, WorkspaceError

app = typer.Typer(
    name="modelyard",
    help="Raw data to a served, compressed model, with the proof of every step.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
)


def _from_here(context: typer.Context, path: Path | None) -> Path | None:
    """The file that a path names in the folder where the command was given."""
    if path is None:
        return None
    file = (context.obj or Path()) / path
    if not file.is_file():
        raise ModelyardError(f"there is no file {path}", "Check the path that is given.")
    return file


def _model(name: str | None) -> str | None:
    """A name given on the command line, if a model can have it."""
    if name is None:
        return None
    from modelyard.params import check_name

    return check_name(name)


Version = Annotated[int, typer.Argument(min=1, max=2**31 - 1, help="The version to make champion.")]
Set = Annotated[
    list[str] | None,
    typer.Option(
        "--set", metavar="KEY=VALUE", help="Override a param; the run is then isolated. Repeatable."
    ),
]


@app.callback()
def _options(
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False,
) -> None:
    if debug:
        os.environ["MODELYARD_DEBUG"] = "1"


def main() -> None:
    """Run a command in the project's folder.

    An error ends as one message with its remedy and status 1.
    """
    with failures.explained():
        here = Path.cwd()
        root = _project(here)
        os.chdir(root)
        sys.path[:0] = [path for path in (str(root / "src"), str(root)) if path not in sys.path]
        status = app(prog_name="modelyard", standalone_mode=False, obj=here)
        # The collector would walk torch's and ONNX's object graphs for seconds before the process
        # may end.
        gc.freeze()
        sys.exit(status)


def _project(here: Path) -> Path:
    """The nearest folder upwards that holds dvc.yaml; help is given anywhere."""
    for path in (here, *here.parents):
        if (path / "dvc.yaml").exists():
            return path
    if len(sys.argv) < 2 or "--help" in sys.argv:
        return here
    raise WorkspaceError(
        f"{here} is no Modelyard project: there is no dvc.yaml in it or above",
        "Change to the project's folder and give the command there.",
    )


def _model_name() -> str:
    from modelyard.params import load

    return load().registry.name


@app.command()
def run(
    isolated: Annotated[
        bool, typer.Option("--isolated", help="Work in a worktree of the code as it is now.")
    ] = False,
    recipe: Annotated[
        Path | None,
        typer.Option(
            callback=_from_here, help="A params file to use in place of params.yaml; isolated."
        ),
    ] = None,
    override: Set = None,
    no_up: Annotated[
        bool, typer.Option("--no-up", help="Use only services that are up; start none.")
    ] = False,
) -> None:
    """Run the pipeline: raw data to a live model. Starts the local services if they are not up.

    Example: `modelyard run --set train.epochs=3 --set model.factory=mlp --set model.args={}`
    """
    if isolated or recipe or override:
        from modelyard.cli.isolated import run_isolated_command

        raise typer.Exit(run_isolated_command(override or [], recipe, no_up))
    from modelyard.cli.run import run_pipeline

    run_pipeline(start_services=not no_up)


@app.command()
def up() -> None:
    """Start the local services that are not up: Prefect, MLflow, follower, model server.

    Example: `modelyard up`
    """
    from modelyard.cli.services import up_command

    up_command()


@app.command()
def down() -> None:
    """Stop the services that `up` started, and nothing else.

    Example: `modelyard down`
    """
    from modelyard.cli.services import down_command

    down_command()


@app.command()
def status() -> None:
    """Show the services, what is live, and what waits to be registered.

    Example: `modelyard status`
    """
    from modelyard.cli.services import status_command

    status_command()


@app.command()
def stage(name: Annotated[str, typer.Argument(help="A stage of dvc.yaml.")]) -> None:
    """Run the function of one stage, as dvc.yaml does. `dvc repro` is the way to run it when needed alone.

    Example: `modelyard stage ingest`
    """  # noqa: E501 - the help, one paragraph
    from modelyard.settings import Settings
    from modelyard.stages import Execution, execute

    execute(name, Path(), Execution(Settings()))


@app.command()
def why(
    name: Annotated[str | None, typer.Argument(metavar="[STAGE]", help="One stage.")] = None,
) -> None:
    """Say for each stage whether it would run again, and because of which file, param or code.

    Example: `modelyard why train`
    """
    from modelyard.cli.show import why_command

    why_command(name)


@app.command()
def register() -> None:
    """Register what the stages left, for instance after `dvc repro`, or after a run with MLflow away.

    Example: `modelyard register`
    """  # noqa: E501 - the help, one paragraph
    from modelyard.cli.registry import register_command

    register_command()


@app.command()
def promote(
    version: Version,
    name: Annotated[str | None, typer.Option(callback=_model, help="The registered model.")] = None,
) -> None:
    """Wish a version to be champion, and wait until it is live or refused with the reason.

    Example: `modelyard promote 2`
    """
    from modelyard.cli.registry import promote_command

    promote_command(name or _model_name(), version)


@app.command()
def rollback(
    name: Annotated[str | None, typer.Option(callback=_model, help="The registered model.")] = None,
    reason: Annotated[str, typer.Option(help="Why, for the audit log.")] = "by hand",
) -> None:
    """Serve the version that was live before, at once, with MLflow up or down.

    Example: `modelyard rollback --reason "odd answers since noon"`
    """
    from modelyard.cli.registry import rollback_command

    rollback_command(name or _model_name(), reason)


@app.command()
def predict(
    context: typer.Context,
    file: Annotated[
        Path | None,
        typer.Argument(
            help='A picture, or JSON {"rows": [...]}; by default the live package\'s example.',
        ),
    ] = None,
    name: Annotated[str | None, typer.Option(callback=_model, help="The model.")] = None,
) -> None:
    """Ask the live model.

    Example: `modelyard predict digit.png`
    """
    from modelyard.cli.predict import predict_command

    located = _from_here(context, file)
    predict_command(located, name or _model_name(), shown=str(file))


@app.command()
def verify(
    target: Annotated[str, typer.Argument(help="NAME@ALIAS or NAME/VERSION.")],
) -> None:
    """Recompute the proof of a registered version, link by link.

    Example: `modelyard verify digits@live`
    """
    from modelyard.cli.registry import verify_command

    verify_command(target)


@app.command()
def doctor() -> None:
    """Look for what would make a run fail here: versions, space, keys, ports, services.

    Example: `modelyard doctor`
    """
    from modelyard.cli.services import doctor_command

    doctor_command()
