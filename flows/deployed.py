"""The pipeline as Prefect's deployments run it: by schedule, by hand (UI, REST), on events.

`modelyard flow-run`, the command of their jobs, has made a worktree with the params that are asked
for, and this process works in it. The form's fields are those of `runs.request.Request`.
"""

from prefect import flow

from flows.pipeline import pipeline
from modelyard.params.model import Count, Positive, PromoteMode, Seed, Workers
from modelyard.runs.isolated import inside
from modelyard.runs.progress import listen
from modelyard.runs.request import SNAPSHOT, DataVersion, Overrides, ParamsFile, Request, Revision
from modelyard.runs.summary import Result
from tasks.page_log import log_progress


@flow(name="pipeline", persist_result=False)
def run(  # noqa: PLR0913, PLR0917 - each is a field of the form
    params_file: ParamsFile = "params.yaml",
    seed: Seed | None = None,
    epochs: Count | None = None,
    learning_rate: Positive | None = None,
    workers: Workers | None = None,
    promote: PromoteMode | None = None,
    overrides: Overrides = (),
    data_version: DataVersion = None,
    revision: Revision = SNAPSHOT,
) -> Result:
    """Run the pipeline in a worktree of its own and keep the result as branch runs/ID.

    A field that is left empty is as in the params file.

    Args:
        params_file: params.yaml, or another params file of the project, as recipes/credit.yaml.
        seed: Of the training (train.seed).
        epochs: At most so many (train.epochs).
        learning_rate: The optimizer's (train.optimizer.lr).
        workers: Processes that train together (train.workers); they divide train.batch_size.
        promote: Whether a version that passed its gate serves at once (auto) or waits for a person.
        overrides: KEY=VALUE pairs over the params file, such as model.args.hidden=64. They win over
            the fields above.
        data_version: An earlier dataset version (`modelyard data list`); empty for the newest.
        revision: snapshot, the project as it is when the run begins; or a branch, tag or commit.

    Raises:
        WorkspaceError: this is no process of a worker's job.
        ModelyardError: what a step refuses.
    """
    request = Request(
        params_file=params_file,
        seed=seed,
        epochs=epochs,
        learning_rate=learning_rate,
        workers=workers,
        promote=promote,
        overrides=overrides,
        data_version=data_version,
        revision=revision,
    )
    with inside(), listen(log_progress(request)):
        return pipeline.fn()
