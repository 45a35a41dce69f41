"""From the stages' results to a registered version: what `register` does, in a flow or by hand."""

import logging
from pathlib import Path
from typing import TYPE_CHECKING

from modelyard.artifacts import Layout, ModelVersion
from modelyard.errors import ServiceUnavailable, WorkspaceError
from modelyard.mlflow_api import MlflowApi
from modelyard.params import Params
from modelyard.runs import lockfile
from modelyard.runs import snapshot as snapshots
from modelyard.runs.snapshot import Snapshot
from modelyard.runs.why import forecast
from modelyard.settings import Settings
from modelyard.stages import stage_key

if TYPE_CHECKING:
    from modelyard.training.context import Stream

log = logging.getLogger(__name__)


def connect(settings: Settings) -> MlflowApi:
    """A client of the MLflow server that the environment or the local services name.

    Raises:
        ServiceUnavailable: neither names one.
    """
    if url := settings.address("mlflow"):
        return MlflowApi(url)
    raise ServiceUnavailable(
        "no MLflow server is known: MLFLOW_TRACKING_URI is not set and no local one is up",
        "`modelyard up` starts one.",
    )


def open_stream(
    settings: Settings, params: Params, snapshot: Snapshot, key: str
) -> "Stream | None":
    """The MLflow run that training streams its curves to; None where MLflow is away."""
    from modelyard.registry.record import open_stream as open_run
    from modelyard.training.context import Stream

    try:
        with connect(settings) as api:
            return Stream(api.base_url, open_run(params, snapshot.run_id, key, api))
    except ServiceUnavailable as error:
        log.warning("no live curves: %s", error.message)
        return None


def publish(
    root: Path, settings: Settings, params: Params, snapshot: Snapshot, prefect_url: str | None
) -> tuple[ModelVersion, bool]:
    """Record the finished stages as an MLflow run and register the package; say whether it is new.

    Everything is a projection of the stages' outputs, so it can be done at any time after them, and
    again.

    Raises:
        ServiceUnavailable: MLflow is away.
        WorkspaceError: the stages have not been run to their end, or something that they depend
            on has changed since: the proof would name what did not make the package.
    """
    from modelyard.package.manifest import verify_manifest
    from modelyard.registry.record import record
    from modelyard.registry.register import find_version, register
    from modelyard.registry.runs import RunInfo

    recorded = lockfile.read(root)
    layout = Layout(root)
    digest = verify_manifest(layout.package)
    with connect(settings) as api:
        name = params.registry.name
        if existing := find_version(api, name, digest):
            return ModelVersion(name, existing.version, digest, existing.run_id), False
        _check_current(root)
        snapshots.keep_result(root, snapshot)
        info = RunInfo(
            run_id=snapshot.run_id,
            key=recorded.key,
            train_key=stage_key("train", root, params),
            snapshot_commit=snapshot.commit,
            snapshot_tree=snapshot.tree,
            prefect_url=prefect_url,
            raw_md5=recorded.raw_md5,
            dataset_md5=recorded.dataset_md5,
            dvc_lock_sha256=recorded.dvc_lock_sha256,
            lock_sha256=recorded.lock_sha256,
        )
        mlflow_run = record(layout, params, info, api)
        keys, trusted = settings.key_folder, settings.trusted
        return register(layout, params, info, mlflow_run, api, keys, trusted), True


def _check_current(root: Path) -> None:
    for item in forecast(root):
        if item.reasons:
            first = item.reasons[0]
            raise WorkspaceError(
                f"stage {item.stage} is not up to date ({first.kind} {first.name}: {first.state}), "
                "so the proof would not name what made the package",
                "Run the stages first: `modelyard run` or `dvc repro`.",
            )
