"""A package becomes a model version: proof and signature added, stored, linked to its run.

A version comes into being in one request, after its files are complete and with all its tags: a
kill at any moment leaves either no version or a whole one. What it leaves of the files is a logged
model that says PENDING, which the next call deletes.
"""

import logging
import shutil
import tempfile
from pathlib import Path

from modelyard.artifacts import Dataset, Layout, ModelVersion, read_json
from modelyard.errors import ModelyardError
from modelyard.mlflow_api import LoggedModel, Metric, MlflowApi, RegisteredVersion
from modelyard.package import (
    PackageReader,
    Proof,
    ensure_key,
    sign_folder,
    verify_manifest,
    verify_package,
)
from modelyard.package.manifest import read_manifest
from modelyard.params import Params
from modelyard.registry import tags as names
from modelyard.registry.flatten import flat_metrics
from modelyard.registry.mlmodel import PACKAGE, write_model_files, write_package_mlmodel
from modelyard.registry.record import dataset_input
from modelyard.registry.runs import RunInfo

READY = "LOGGED_MODEL_READY"
_MAX_DESCRIPTION = 5000

_log = logging.getLogger(__name__)


def register(
    layout: Layout,
    params: Params,
    run: RunInfo,
    mlflow_run_id: str,
    api: MlflowApi,
    keys: Path,
    trusted: Path,
) -> ModelVersion:
    """Register the package in ``layout.package``, or return the version that has its digest.

    Args:
        layout: Where the stages' results lie.
        params: The resolved parameters of the run.
        run: Its identity, for the proof.
        mlflow_run_id: The MLflow run to link to, from ``record``.
        api: The MLflow server.
        keys: Folder of the signing key, made at first use.
        trusted: Folder of the public keys that are trusted.

    Raises:
        PackageError: the package is incomplete or was altered.
        ServiceUnavailable: MLflow is away.
    """
    digest, _ = read_manifest(layout.package)
    name = params.registry.name
    if (found := find_version(api, name, digest)) is not None:
        return ModelVersion(name, found.version, digest, found.run_id)
    api.ensure_registered_model(name)
    model = _logged_model(api, mlflow_run_id, name, digest)
    if model.status != READY:
        with tempfile.TemporaryDirectory(prefix="modelyard-") as temporary:
            folder = Path(temporary)
            proof = _proof(layout, params, run, _champion_digest(api, name))
            _build(folder, layout.package, proof, ensure_key(keys, trusted))
            verify_package(folder / PACKAGE, trusted)
            write_model_files(
                folder, PackageReader.open(folder / PACKAGE), model.model_id, mlflow_run_id
            )
            api.upload_folder(model.artifact_uri, folder)
        api.finalize_logged_model(model.model_id)
    _link(layout, params, run, api, model, mlflow_run_id)
    version = _create_version(layout, name, digest, run, api, model)
    _log.info("registered %s as version %d of %s", digest[:12], version.version, name)
    return ModelVersion(name, version.version, digest, mlflow_run_id)


def find_version(api: MlflowApi, name: str, digest: str) -> RegisteredVersion | None:
    """The oldest complete version with this digest, or None."""
    found = api.search_versions(name, {names.DIGEST: digest})
    ready = [version for version in found if version.status == "READY"]
    return ready[-1] if ready else None


def _logged_model(api: MlflowApi, run_id: str, name: str, digest: str) -> LoggedModel:
    """A complete logged model of this digest that a killed call left, else a new one."""
    run = api.get_run(run_id)
    if run is None:
        raise ModelyardError(f"MLflow has no run {run_id}", "Record the run again.")
    for model in api.search_logged_models(run.experiment_id, run_id):
        if model.tags.get(names.DIGEST) != digest:
            continue
        if model.status == READY:
            return model
        api.delete_logged_model(model.model_id)
    return api.create_logged_model(
        run.experiment_id, name, run_id, params={}, tags={names.DIGEST: digest}
    )


def _build(folder: Path, package: Path, proof: Proof, key: Path) -> None:
    """Copy the package to ``folder/package``, add proof and MLmodel, and sign it."""
    target = folder / PACKAGE
    shutil.copytree(package, target, symlinks=True)
    digest = verify_manifest(target)
    assert digest == proof.package_digest, (digest, proof.package_digest)
    proof.write(target)
    write_package_mlmodel(target)
    sign_folder(target, key)


def _proof(layout: Layout, params: Params, run: RunInfo, parent: str | None) -> Proof:
    digest, _ = read_manifest(layout.package)
    dataset = Dataset.read(layout.dataset)
    evaluation = read_json(layout.package / "evaluation.json")
    return Proof(
        run_id=run.run_id,
        snapshot_commit=run.snapshot_commit,
        snapshot_tree=run.snapshot_tree,
        raw_md5=run.raw_md5,
        raw_sha256=read_json(layout.dataset / "dataset.json")["source_sha256"],
        dataset_md5=run.dataset_md5,
        dataset_digest=dataset.digest,
        validation_digest=dataset.validation_digest,
        params=params.model_dump(mode="json", by_alias=True),
        lock_sha256=run.lock_sha256,
        dvc_lock_sha256=run.dvc_lock_sha256,
        metrics=evaluation["shipped"],
        parent=parent,
        chosen=evaluation["chosen"],
        package_digest=digest,
    )


def _champion_digest(api: MlflowApi, name: str) -> str | None:
    champion = api.get_version_by_alias(name, names.CHAMPION)
    return champion.tags.get(names.DIGEST) if champion else None


def _link(
    layout: Layout,
    params: Params,
    run: RunInfo,
    api: MlflowApi,
    model: LoggedModel,
    mlflow_run_id: str,
) -> None:
    """Say that the run made the model, and log the shipped file's test metrics on both."""
    tracked = api.get_run(mlflow_run_id)
    assert tracked is not None, mlflow_run_id
    dataset = dataset_input(layout, params, run)
    shipped = read_json(layout.package / "evaluation.json")["shipped"]
    metrics = [
        Metric(
            key,
            value,
            tracked.start_ms,
            model_id=model.model_id,
            dataset_name=dataset.name,
            dataset_digest=dataset.digest,
        )
        for key, value in flat_metrics(shipped, "test").items()
    ]
    if model.model_id not in tracked.model_ids:
        api.log_output(mlflow_run_id, model.model_id)
    api.log_batch(mlflow_run_id, metrics=metrics)


def _create_version(
    layout: Layout, name: str, digest: str, run: RunInfo, api: MlflowApi, model: LoggedModel
) -> RegisteredVersion:
    """Create the version; where two processes do so at once, both return the older."""
    card = (layout.package / "MODEL_CARD.md").read_text(encoding="utf-8")
    made = api.create_version(
        name,
        source=f"models:/{model.model_id}",
        run_id=model.source_run_id,
        model_id=model.model_id,
        description=card[:_MAX_DESCRIPTION],
        tags={
            names.DIGEST: digest,
            names.RUN: run.run_id,
            names.SNAPSHOT: run.snapshot_commit,
            names.DATASET: run.dataset_md5,
        },
    )
    oldest = find_version(api, name, digest)
    if oldest is None or oldest.version == made.version:
        return made
    api.delete_version(name, made.version)
    return oldest
