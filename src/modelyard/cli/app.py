"""The commands, each with an example; heavy modules are imported by the command that needs them."""

import gc
import os
import sys
from pathlib import Path
from typing import Annotated, Literal

import typer

from modelyard.cli import contracts, failures, flows
from modelyard.cli import data as data_commands
from modelyard.cli.key import key
from modelyard.errors import ModelyardError, WorkspaceError

_BINDINGS = ("duckdb", "_duckdb")

app = typer.Typer(
    name="modelyard",
    help="Raw data to a served, compressed model, with the proof of every step.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
)
app.add_typer(data_commands.app)


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
        # DuckDB's binding calls what the collector never reaches a leak, in forty lines.
        if names := [name for name in sys.modules if name.partition(".")[0] in _BINDINGS]:
            for name in names:
                del sys.modules[name]
            gc.collect()
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
    data: Annotated[
        str | None,
        typer.Option(
            metavar="VERSION", help="Learn from this dataset version (`modelyard data list`)."
        ),
    ] = None,
    no_up: Annotated[
        bool, typer.Option("--no-up", help="Use only services that are up; start none.")
    ] = False,
) -> None:
    """Run the pipeline: raw data to a live model. Starts the local services if they are not up.

    Example: `modelyard run --set train.epochs=3 --set model.factory=mlp --set model.args={}`
    """
    if isolated or recipe or override or data:
        from modelyard.cli.isolated import run_isolated_command

        raise typer.Exit(run_isolated_command(override or [], recipe, no_up, data_version=data))
    from modelyard.cli.run import run_pipeline

    run_pipeline(start_services=not no_up)


@app.command()
def up() -> None:
    """Start the local services that are not up: Prefect, MLflow, follower, model server, worker.

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
    """Show the services, what is live, the last runs, the schedules, and what waits for a person.

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
def gate(
    name: Annotated[str, typer.Argument(callback=_model, help="The registered model.")],
    version: Annotated[int, typer.Argument(min=1, max=2**31 - 1, help="The version to judge.")],
) -> None:
    """Judge a registered version against the champion and the budgets, and say why it passes or not.

    Example: `modelyard gate digits 2`
    """  # noqa: E501 - the help, one paragraph
    from modelyard.cli.registry import gate_command

    gate_command(name, version)


@app.command()
def log(
    name: Annotated[
        str | None,
        typer.Argument(callback=_model, help="The registered model; by default this project's."),
    ] = None,
    verify: Annotated[
        bool, typer.Option("--verify", help="Exit with status 1 where the chain is broken.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Show who promoted what, by which path and what became of it, and whether that was altered.

    Example: `modelyard log digits --verify`
    """
    from modelyard.cli.registry import log_command

    log_command(name or _model_name(), verify, as_json)


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
            help='A picture, .wav, .txt, or rows as .csv or JSON {"rows": [...]}; by default the '
            "live package's example.",
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
def rebuild(
    name: Annotated[str, typer.Argument(callback=_model, help="The registered model.")],
    version: Annotated[int, typer.Argument(min=1, max=2**31 - 1, help="The version to make.")],
) -> None:
    """Run the snapshot of a registered version again and compare data, weights and model byte for byte.

    Example: `modelyard rebuild digits 2`
    """  # noqa: E501 - the help, one paragraph
    from modelyard.cli.registry import rebuild_command

    rebuild_command(name, version)


@app.command()
def doctor() -> None:
    """Look for what would make a run fail here: versions, space, keys, ports, services.

    Example: `modelyard doctor`
    """
    from modelyard.cli.services import doctor_command

    doctor_command()


@app.command()
def runs(
    action: Annotated[
        Literal["list", "show", "continue"], typer.Argument(help="What to do.")
    ] = "list",
    run_id: Annotated[str | None, typer.Argument(metavar="[ID]", help="Of one run.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=200, help="How many to list.")] = 20,
    no_up: Annotated[
        bool, typer.Option("--no-up", help="Use only services that are up; start none.")
    ] = False,
) -> None:
    """List the last runs, show one, or go on with one that failed or was killed.

    Example: `modelyard runs continue 20260105-060000-1f2e`
    """
    from modelyard.cli import runs as commands

    if action == "list":
        commands.list_command(limit)
        return
    if run_id is None:
        raise ModelyardError(f"runs {action} needs a run's id", "`modelyard runs` lists them.")
    if action == "show":
        commands.show_command(run_id)
    else:
        raise typer.Exit(commands.continue_command(run_id, no_up))


@app.command()
def schedule(
    action: Annotated[Literal["list", "on", "off"], typer.Argument(help="What to do.")] = "list",
    name: Annotated[
        str | None, typer.Argument(metavar="[NAME]", help="A deployment of prefect.yaml.")
    ] = None,
) -> None:
    """List what starts by itself, or switch a deployment's schedules and triggers on or off.

    Example: `modelyard schedule on pipeline-nightly`
    """
    from modelyard.cli import schedule as commands

    if action == "list":
        commands.list_command()
        return
    if name is None:
        raise ModelyardError(
            f"schedule {action} needs a deployment's name", "`modelyard schedule` lists them."
        )
    commands.switch_command(name, action == "on")


@app.command(name="flow-run")
def flow_run() -> None:
    """Run the flow run that PREFECT__FLOW_RUN_ID names, in a worktree: the command of a worker's job.

    Example: `modelyard flow-run`
    """  # noqa: E501 - the help, one paragraph
    from modelyard.cli.flow_run import flow_run_command

    flow_run_command()


app.add_typer(contracts.expect, name="expect")
app.add_typer(key, name="key")
app.command()(contracts.init)
app.command()(flows.sweep)
app.command()(flows.score)
