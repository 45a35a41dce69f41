"""The pipeline as Prefect's deployments run it: by schedule, by hand (UI, REST), on events.

`modelyard flow-run`, the command of their jobs, has made a worktree with the params that are asked
for, and this process works in it. The form's fields are those of `runs.request.Request`.
"""

from prefect import flow

from flows.pipeline import pipeline
from modelyard.runs.isolated import inside
from modelyard.runs.progress import listen
from modelyard.runs.request import SNAPSHOT, DataVersion, Overrides, ParamsFile, Request, Revision
from modelyard.runs.summary import Result
from tasks.page_log import log_progress


@flow(name="pipeline", persist_result=False)
def run(
    params_file: ParamsFile = "params.yaml",
    overrides: Overrides = (),
    data_version: DataVersion = None,
    revision: Revision = SNAPSHOT,
) -> Result:
    """Run the pipeline in a worktree of its own and keep the result as branch runs/ID.

    Args:
        params_file: params.yaml, or another params file of the project, as recipes/credit.yaml.
        overrides: KEY=VALUE pairs over the params file, such as train.epochs=3.
        data_version: An earlier dataset version (`modelyard data list`); empty for the newest.
        revision: snapshot, the project as it is when the run begins; or a branch, tag or commit.

    Raises:
        WorkspaceError: this is no process of a worker's job.
        ModelyardError: what a step refuses.
    """
    request = Request(
        params_file=params_file, overrides=overrides, data_version=data_version, revision=revision
    )
    with inside(), listen(log_progress(request)):
        return pipeline.fn()
