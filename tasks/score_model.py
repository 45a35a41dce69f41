"""The version that scores, verified."""

from pathlib import Path

from prefect import task

from modelyard.params import check_name, load
from modelyard.runs.progress import report
from modelyard.runs.score.model import Version, find_live, find_version
from modelyard.settings import Settings
from tasks.stage import TASK


@task(name="find_model", **TASK)
def find_model(root: Path, name: str | None, version: int | None) -> Version:
    """The live version of a model, or a named one.

    Raises:
        PackageError: nothing is live, or the package was altered or signed by nobody trusted.
    """
    settings, model = Settings(), check_name(name) if name else load(root).registry.name
    found = find_version(settings, model, version) if version else find_live(settings, model)
    which = "" if version else ", live"
    report("model", "done", detail=f"{model} version {found.version}{which}, {found.digest[:12]}")
    return found
