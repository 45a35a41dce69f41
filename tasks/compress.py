"""Export, judge the candidates on validation, measure the chosen on test, write the package."""

from prefect import task

from modelyard.artifacts import Evaluation, Layout, ModelPackage, TrainedModel, read_json
from modelyard.runs.run import Run
from tasks.stage import TASK, run_stage


@task(name="compress", **TASK)
def compress(trained: TrainedModel, evaluation: Evaluation, run: Run) -> ModelPackage:
    """Run stage compress."""
    assert trained.path.exists()
    assert evaluation.metrics
    layout = Layout(run.root)

    def found() -> str:
        metrics = read_json(layout.metrics("compress"))
        sizes = {item["name"]: item["size_bytes"] for item in metrics["candidates"]}
        chosen = metrics["chosen"]
        ratio = sizes["fp32"] / sizes[chosen]
        return f"{chosen}: {sizes[chosen] / 1e3:,.0f} kB, {ratio:.1f} x smaller"

    run_stage("compress", run, found)
    return ModelPackage(layout.package, read_json(layout.package / "manifest.json")["digest"])
