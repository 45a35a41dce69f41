"""Recording, registering, judging and promoting against a real MLflow server."""

import json
import sys
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from modelyard.artifacts import Layout
from modelyard.errors import (
    PackageError,
)
from modelyard.mlflow_api import Metric, MlflowApi
from modelyard.package import PackageReader, Proof, verify_package
from modelyard.params import parse
from modelyard.registry import tags as names
from modelyard.registry.record import open_stream, record
from modelyard.registry.register import register
from tests.integration.registry_project import Killed, Mortal, Project, run_info
from tests.integration.registry_server import aliases, api, follow, layout, stored, url  # noqa: F401

pytestmark = pytest.mark.server


def test_a_run_holds_the_stages_results(api: MlflowApi, layout: Layout) -> None:
    project = Project(layout, "recorded")
    run = api.get_run(project.record(api))
    assert run is not None
    assert run.status == "FINISHED"
    assert run.params["train.optimizer.name"] == project.params.train.optimizer.name
    assert run.metrics["evaluate/accuracy"] == 1 - 3 / 240
    history = api.metric_history(run.run_id, "train_loss")
    assert [(point.step, point.value) for point in history] == [(1, 1.0), (2, 0.5), (3, 1 / 3)]
    files = {file.path for file in api.list_artifacts(run.artifact_uri)}
    assert files >= {"evaluation/confusion.png", "evaluation/report.html", "data.html"}
    assert run.tags[names.SNAPSHOT] == "a" * 40
    assert run.tags[names.PREFECT_URL].endswith("/flow-run/1")
    assert "# Tiny digits" in run.tags["mlflow.note.content"]
    (dataset,) = run.datasets
    assert dataset["digest"] == run_info().dataset_md5
    assert json.loads(dataset["profile"])["rejected"] == 2


def test_recording_again_changes_nothing(api: MlflowApi, url: str, layout: Layout) -> None:
    project = Project(layout, "again")
    first = project.record(api)
    before = api.get_run(first)
    with Mortal(url) as watched:
        assert project.record(watched) == first
        assert watched.changes == []
    assert api.get_run(first) == before
    assert project.record(api, "key-2") != first


def test_a_kill_at_any_moment_of_recording_leaves_one_run(url: str, layout: Layout) -> None:
    with Mortal(url) as calm:
        whole = Project(layout, "whole").record(calm)
        expected = calm.get_run(whole)
        assert expected is not None
        for moment in calm.moments:
            project = Project(layout, f"record-{moment}")
            with Mortal(url, moment) as mortal, pytest.raises(Killed):
                project.record(mortal)
            with MlflowApi(url) as api:
                found = api.get_run(project.record(api))
                assert found is not None
                assert found.metrics == expected.metrics
                assert found.params | {"registry.name": "whole"} == expected.params
                assert len(api.search_runs(found.experiment_id, {})) == 1
                assert len(api.metric_history(found.run_id, "train_loss")) == 3


def test_streamed_curves_are_taken_over(api: MlflowApi, layout: Layout) -> None:
    project = Project(layout, "streamed")
    info = run_info()
    streamed = open_stream(project.params, "run-1", info.train_key, api)
    assert open_stream(project.params, "run-2", info.train_key, api) == streamed
    api.log_batch(streamed, [Metric("train_loss", 1.0, 123, 1), Metric("step_loss", 2.0, 123, 7)])
    assert project.record(api) == streamed
    history = api.metric_history(streamed, "train_loss")
    assert sorted(point.step for point in history) == [1, 2, 3]
    assert project.record(api, "other results") != streamed


def test_two_recorders_at_once_do_not_take_the_same_streamed_run(url: str, layout: Layout) -> None:
    project = Project(layout, "rivals")
    with MlflowApi(url) as api:
        streamed = open_stream(project.params, "run", "one training", api)
    start = threading.Barrier(2)
    found: dict[str, str] = {}

    def work(key: str, max_drop: float) -> None:
        compress = project.params.compress.model_copy(update={"max_drop": max_drop})
        own = project.params.model_copy(update={"compress": compress})
        with MlflowApi(url) as api:
            start.wait(20)
            found[key] = record(layout, own, run_info(key, train_key="one training"), api)

    threads = [threading.Thread(target=work, args=(f"key-{i}", i / 10)) for i in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert set(found) == {"key-0", "key-1"}
    assert streamed in found.values()
    with MlflowApi(url) as api:
        for key, run_id in found.items():
            run = api.get_run(run_id)
            assert run is not None
            assert run.tags[names.RECORDED] == key
            assert run.params["compress.max_drop"] == str(int(key[-1]) / 10)


def test_a_version_is_complete_signed_and_linked(
    api: MlflowApi, layout: Layout, tmp_path: Path
) -> None:
    project = Project(layout, "complete")
    version = project.register(api)
    found = api.get_version("complete", version.version)
    assert found is not None
    assert found.status == "READY"
    assert found.tags == {
        names.DIGEST: version.digest,
        names.RUN: "run-1",
        names.SNAPSHOT: "a" * 40,
        names.DATASET: run_info().dataset_md5,
    }
    assert found.description.startswith("# Tiny digits")
    api.download_version("complete", version.version, tmp_path / "copy", "package")
    assert verify_package(tmp_path / "copy", project.trusted) == version.digest
    assert PackageReader.open(tmp_path / "copy").labels == ("0", "1", "2")
    proof = Proof.read(tmp_path / "copy")
    assert parse(proof.params) == project.params
    assert (proof.package_digest, proof.chosen, proof.parent) == (version.digest, "fp32", None)
    assert proof.raw_sha256 == project.params.data.sha256
    (model,) = api.search_logged_models(api.ensure_experiment("complete"), version.run_id)
    assert model.status == "LOGGED_MODEL_READY"


def test_registering_again_is_one_request_and_no_import(url: str, layout: Layout) -> None:
    project = Project(layout, "quick")
    with Mortal(url) as api:
        version = project.register(api)
        api.changes.clear()
        run = run_info("elsewhere", run_id="run-9")
        again = register(
            layout, project.params, run, version.run_id, api, project.keys, project.trusted
        )
        assert again == version
        assert api.changes == []
    assert "mlflow.onnx" not in sys.modules


def test_a_kill_at_any_moment_of_registering_leaves_one_version(
    url: str, layout: Layout, tmp_path: Path
) -> None:
    with Mortal(url) as calm:
        undisturbed = Project(layout, "undisturbed")
        undisturbed.record(calm)
        calm.changes.clear()
        undisturbed.register(calm)
    for moment in calm.moments:
        project = Project(layout, f"register-{moment}")
        with MlflowApi(url) as api:
            project.record(api)
            with Mortal(url, moment) as mortal, pytest.raises(Killed):
                project.register(mortal)
            assert api.search_versions(project.name) == []
            version = project.register(api)
            assert [item.version for item in api.search_versions(project.name)] == [1]
            api.download_version(project.name, 1, tmp_path / project.name, "package")
            assert verify_package(tmp_path / project.name, project.trusted) == version.digest
            experiment = api.ensure_experiment(project.name)
            models = api.search_logged_models(experiment, version.run_id)
            assert [model.status for model in models] == ["LOGGED_MODEL_READY"]


def test_an_altered_package_is_not_registered(api: MlflowApi, layout: Layout) -> None:
    project = Project(layout, "altered")
    (layout.package / "labels.json").write_text("[]")
    with pytest.raises(PackageError, match=r"labels\.json"):
        project.register(api)
    assert api.search_versions("altered") == []


def test_mlflow_loads_the_version_and_shows_its_links(
    url: str, api: MlflowApi, layout: Layout, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_ALLOW_PICKLE_DESERIALIZATION", "false")
    version = Project(layout, "loadable").register(api)
    import mlflow
    import mlflow.onnx
    import numpy as np
    from onnx import ModelProto

    mlflow.set_tracking_uri(url)
    mlflow.set_registry_uri(url)
    address = f"models:/loadable/{version.version}"
    assert isinstance(mlflow.onnx.load_model(address), ModelProto)
    image = np.zeros((2, 4, 4), dtype=np.uint8)
    image[:, 0, 1] = 255
    model = mlflow.pyfunc.load_model(address)
    answer: Any = model.predict({"image": image})
    assert answer["probabilities"].argmax(axis=1).tolist() == [1, 1]
    example: Any = model.predict(model.input_example)
    assert example["probabilities"].shape == (1, 3)
    assert [spec.name for spec in model.metadata.get_input_schema()] == ["image"]
    with pytest.raises(mlflow.MlflowException, match="schema"):
        model.predict({"image": image.astype(np.float64) + 0.5})
    info = mlflow.models.get_model_info(address)
    assert info.run_id == version.run_id
    logged = mlflow.get_logged_model(info.model_id)
    metrics = {metric.key: metric for metric in logged.metrics or []}
    assert metrics["test/accuracy"].value == 1 - 3 / 240
    assert metrics["test/accuracy"].dataset_digest == run_info().dataset_md5
    run = mlflow.get_run(version.run_id)
    assert [output.model_id for output in run.outputs.model_outputs] == [info.model_id]
    source = mlflow.data.get_source(run.inputs.dataset_inputs[0])
    assert source.to_dict()["tags"]["raw_md5"] == run_info().raw_md5


def test_paging_and_aliases(api: MlflowApi) -> None:
    for index in range(3):
        api.ensure_registered_model(f"page-{index}")
    listed = {model.name for model in api.search_registered_models()}
    assert listed >= {"page-0", "page-1", "page-2"}
    api.delete_alias("page-0", "nobody")
    points = [Metric("m", float(step), 1, step) for step in range(1700)]
    run = api.create_run(api.ensure_experiment("pages"), "pages", 1, {})
    many = {f"p{index}": "v" for index in range(230)}
    api.log_batch(run.run_id, points, many, many)
    found = api.get_run(run.run_id)
    assert found is not None
    assert found.params == many
    assert found.tags.items() >= many.items()
    assert len(api.metric_history(run.run_id, "m")) == 1700
    assert replace(found, params={}).name == "pages"
