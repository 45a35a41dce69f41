"""`modelyard run --isolated`, `--recipe`, `--set`: the same run, in a worktree of its own."""

from pathlib import Path

from rich.console import Console


def run_isolated_command(
    overrides: list[str],
    recipe: Path | None,
    no_up: bool,
    revision: str | None = None,
    data_version: str | None = None,
) -> int:
    """Run in a worktree and say where the result is; return the exit status."""
    from modelyard.runs.isolated import check, run_isolated
    from modelyard.settings import Settings

    if revision is None:
        check(Path(), overrides, recipe)
    if not no_up:
        from modelyard.cli.services import shown
        from modelyard.services import up

        up(Settings(), Path(), on_event=shown)
    console = Console(soft_wrap=True)
    run_id, status = run_isolated(Path(), overrides, recipe, revision, data_version)
    if status == 0:
        console.print(
            f"result: branch [bold]runs/{run_id}[/bold] (params.yaml, dvc.lock, metrics/)"
        )
    else:
        console.print(f"run {run_id} failed; its code is kept as refs/modelyard/runs/{run_id}")
    return status
