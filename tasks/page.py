"""A run's page in Prefect: its name is the run's id, its tags what it ended with."""

import logging

from modelyard.runs.run import Run

log = logging.getLogger(__name__)


def name_page(run: Run) -> None:
    """Call the Prefect run by the run's id, by which git and MLflow know it as well."""
    from prefect.context import FlowRunContext

    context = FlowRunContext.get()
    if context is None or context.flow_run is None or context.flow_run.name == run.snapshot.run_id:
        return
    try:
        context.client.update_flow_run(  # pyright: ignore[reportAttributeAccessIssue]
            context.flow_run.id, name=run.snapshot.run_id
        )
    except Exception as error:
        # The name is for people; a run does not depend on it.
        log.warning("the Prefect run keeps its name: %s", error)


def tag_page(tags: list[str]) -> None:
    """Add tags to the Prefect run."""
    from prefect.context import FlowRunContext

    if (context := FlowRunContext.get()) and context.flow_run:
        context.client.update_flow_run(  # pyright: ignore[reportAttributeAccessIssue]
            context.flow_run.id, tags=sorted({*context.flow_run.tags, *tags})
        )
