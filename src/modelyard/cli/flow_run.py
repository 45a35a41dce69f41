"""`modelyard flow-run`: what a worker's job is, from the flow run's form to its own worktree."""

import os
import sys
import time
from pathlib import Path

from modelyard.errors import ModelyardError, WorkspaceError
from modelyard.prefect_api import FlowRun, PrefectApi
from modelyard.settings import Settings

_PATIENCE = 30
"""Seconds in which the processes of a killed attempt leave its worktree."""


def flow_run_command() -> None:
    """Make the worktree of the flow run that the environment names, and become its process.

    What is wrong with the request is the reason of its state Failed; nothing was started then.

    Raises:
        WorkspaceError: the environment names no flow run.
    """
    flow_run_id = os.environ.get("PREFECT__FLOW_RUN_ID")
    if not flow_run_id:
        raise WorkspaceError(
            "PREFECT__FLOW_RUN_ID is not set: this command is given by a Prefect worker",
            "By hand it is `modelyard run --isolated`.",
        )
    settings = Settings()
    with PrefectApi.of(settings) as api:
        try:
            worktree, run_id = _prepare(Path().resolve(), settings, api, api.flow_run(flow_run_id))
        except ModelyardError as error:
            api.set_state(flow_run_id, "FAILED", "Failed", str(error))
            return
    _become_engine(worktree, settings, run_id)


def _prepare(root: Path, settings: Settings, api: PrefectApi, found: FlowRun) -> tuple[Path, str]:
    """The worktree and the run's id: of a retry, those of the first attempt."""
    from modelyard.runs.isolated import set_up
    from modelyard.runs.request import RUN_ID, Request
    from modelyard.runs.snapshot import REFS, exists, new_run_id

    request = Request.read(found.parameters)
    overrides, recipe = request.changes, Path(request.params_file)
    version = request.data_version
    if RUN_ID.match(found.name) and exists(root, found.name):
        run_id, commit, recipe, overrides = found.name, f"{REFS}/{found.name}", None, []
        version = None
        api.bury_steps(found.id)
        _await_free(settings, root, run_id)
    else:
        run_id, commit = new_run_id(), request.commit
        api.call("PATCH", f"/flow_runs/{found.id}", {"name": run_id})
    return set_up(root, settings, run_id, overrides, recipe, commit, version), run_id


def _await_free(settings: Settings, root: Path, run_id: str) -> None:
    """Wait until the first attempt's worktree is gone.

    Raises:
        WorkspaceError: its processes work on.
    """
    from modelyard.runs.janitor import sweep

    worktree = settings.state_dir / "worktrees" / run_id
    deadline = time.monotonic() + _PATIENCE
    while worktree.exists():
        sweep(root, settings)
        if time.monotonic() > deadline:
            raise WorkspaceError(
                f"an earlier attempt still works in {worktree}", "Wait for its end, then retry."
            )
        time.sleep(0.5)


def _become_engine(worktree: Path, settings: Settings, run_id: str) -> None:
    """Replace this process, so that who kills it or asks it to stop reaches the run itself."""
    from modelyard.runs.isolated import environment_in

    environment = environment_in(worktree, settings, run_id)
    os.chdir(worktree)
    os.execve(sys.executable, [sys.executable, "-m", "prefect.engine"], environment)  # noqa: S606
