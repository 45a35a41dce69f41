"""Recording, registering, judging and promoting against a real MLflow server."""

import json
import shutil
import sys
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from modelyard.artifacts import Layout, ModelVersion
from modelyard.errors import (
    GateRefused,
    ModelyardError,
    PackageError,
    ServiceUnavailable,
    WorkspaceError,
)
from modelyard.mlflow_api import Metric, MlflowApi
from modelyard.package import PackageReader, Proof, ensure_key, verify_package
from modelyard.params import parse
from modelyard.registry import tags as names
from modelyard.registry.promote import promote, wait_live
from modelyard.registry.record import open_stream, record
from modelyard.registry.register import register
from modelyard.registry.verdict import Verdict, check_verdict
from tests.integration.registry_project import Killed, Mortal, Project, make_project, run_info
from tests.mlflow_server import mlflow_server

pytestmark = pytest.mark.server


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with mlflow_server(tmp_path_factory.mktemp("mlflow")) as address:
        yield address


@pytest.fixture
def api(url: str) -> Iterator[MlflowApi]:
    with MlflowApi(url) as client:
        yield client


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    return make_project(tmp_path / "project", wrong=3)


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


def test_gate_promotion_and_the_way_back(api: MlflowApi, layout: Layout) -> None:
    project = Project(layout, "promoted", budgets={"min_accuracy": 0.9})
    name, trusted = project.name, project.trusted
    first = project.register(api)
    with pytest.raises(GateRefused, match="no signed verdict"):
        promote(api, name, first.version, trusted)
    verdict = project.gate(api, first)
    assert verdict.passed
    found = api.get_version(name, first.version)
    assert found is not None
    assert found.aliases == ("challenger",)
    assert check_verdict(found.tags, name, first.version, first.digest, trusted) == verdict
    promote(api, name, first.version, trusted)
    assert _aliases(api, name) == {"champion": 1}
    follow(api, name, first.version)

    project.another_package(20.0)
    second = project.register(api, "key-2")
    assert second.version == 2
    verdict = project.gate(api, second)
    assert (verdict.champion_version, verdict.champion_digest) == (1, first.digest)
    assert verdict.passed
    project.another_package(30.0)
    third = project.register(api, "key-3")
    assert project.gate(api, third).champion_version == 1
    promote(api, name, second.version, trusted)
    follow(api, name, second.version)
    with pytest.raises(GateRefused, match="judged against another champion; judge it again"):
        promote(api, name, third.version, trusted)
    assert project.gate(api, third).champion_version == 2
    promote(api, name, third.version, trusted)
    promote(api, name, first.version, trusted)
    assert _aliases(api, name)["champion"] == 1


def test_a_wish_in_the_ui_with_an_outdated_verdict_is_judged_again(
    api: MlflowApi, layout: Layout
) -> None:
    """Versions 1 and 2 are judged against nothing; 1 goes live; 2 is clicked, and refused."""
    project = Project(layout, "clicked")
    first = project.register(api)
    project.gate(api, first)
    project.another_package(20.0)
    second = project.register(api, "key-2", dataset_md5="0" * 32 + ".dir")
    assert project.gate(api, second).champion_version is None
    promote(api, "clicked", 1, project.trusted)
    follow(api, "clicked", 1)
    api.set_alias("clicked", names.CHAMPION, 2)
    api.set_version_tag("clicked", 2, names.REFUSED, "judged against another champion")
    with pytest.raises(GateRefused, match="`modelyard promote 2`"):
        promote(api, "clicked", 2, project.trusted)
    again = project.gate(api, second)
    assert (again.champion_version, again.champion_digest) == (1, first.digest)
    assert "the champion was trained on another dataset version" in again.reason
    promote(api, "clicked", 2, project.trusted)
    found = api.get_version("clicked", 2)
    assert found is not None
    assert names.REFUSED not in found.tags


def test_any_registered_version_can_be_judged(api: MlflowApi, layout: Layout) -> None:
    project = Project(layout, "any")
    first = project.register(api)
    verdict = project.gate(api, first)
    project.another_package(20.0)
    project.register(api, "key-2")
    api.delete_version_tag("any", 1, names.VERDICT)
    assert project.gate(api, first) == verdict
    promote(api, "any", 1, project.trusted)
    shutil.rmtree(layout.dataset)
    api.delete_version_tag("any", 1, names.VERDICT)
    with pytest.raises(WorkspaceError, match=r"no dataset in .* to judge version 1 of any on"):
        project.gate(api, first)


def test_a_kill_between_the_verdict_and_its_signature_is_mended(
    url: str, api: MlflowApi, layout: Layout
) -> None:
    project = Project(layout, "torn")
    version = project.register(api)
    for dies_at in (0, 1):
        for key in (names.VERDICT, names.VERDICT_SIGNATURE):
            api.delete_version_tag("torn", 1, key)
        with Mortal(url, dies_at) as mortal, pytest.raises(Killed):
            project.gate(mortal, version)
        verdict = project.gate(api, version)
        assert _stored(api, project, version) == verdict
    # Where the two were written the other way round, and the kill came between them.
    api.delete_version_tag("torn", 1, names.VERDICT_SIGNATURE)
    assert project.gate(api, version) == _stored(api, project, version)
    with Mortal(url) as watched:
        project.gate(watched, version)
        assert watched.changes == ["POST /api/2.0/mlflow/registered-models/alias"]


def test_a_verdict_of_a_key_that_is_trusted_no_more_is_signed_again(
    api: MlflowApi, layout: Layout
) -> None:
    project = Project(layout, "rotated")
    version = project.register(api)
    project.gate(api, version)
    stranger = ensure_key(layout.root / "old", layout.root / "old/trusted")
    for key, value in _stored(api, project, version).signed_tags(stranger).items():
        api.set_version_tag("rotated", 1, key, value)
    project.gate(api, version)
    assert _stored(api, project, version).passed


def test_a_wish_that_was_refused_is_not_what_others_are_compared_with(
    api: MlflowApi, layout: Layout
) -> None:
    project = Project(layout, "refusal")
    first = project.register(api)
    project.gate(api, first)
    promote(api, "refusal", 1, project.trusted)
    follow(api, "refusal", 1)
    project.another_package(20.0)
    second = project.register(api, "key-2")
    project.gate(api, second)
    promote(api, "refusal", 2, project.trusted)
    api.set_version_tag("refusal", 2, names.REFUSED, "model.onnx is not the file of its manifest")
    with pytest.raises(GateRefused, match=r"refused: model\.onnx is not"):
        wait_live(api, "refusal", second.version, timeout=5)
    project.another_package(30.0)
    third = project.register(api, "key-3")
    assert project.gate(api, third).champion_version == 1
    promote(api, "refusal", 3, project.trusted)
    promote(api, "refusal", 3, project.trusted)
    assert _aliases(api, "refusal")["champion"] == 3


def test_waiting_ends_when_live_or_when_time_is_over(api: MlflowApi, layout: Layout) -> None:
    project = Project(layout, "waiting")
    project.gate(api, project.register(api))
    promote(api, "waiting", 1, project.trusted)
    with pytest.raises(ServiceUnavailable, match=r"was not live after 0\.1 s"):
        wait_live(api, "waiting", 1, timeout=0.1)
    timer = threading.Timer(0.3, follow, (api, "waiting", 1))
    timer.start()
    wait_live(api, "waiting", 1, timeout=20)
    timer.join()
    with pytest.raises(GateRefused, match="is gone"):
        wait_live(api, "waiting", 9, timeout=5)


def test_a_version_that_fails_its_gate_is_no_challenger(api: MlflowApi, layout: Layout) -> None:
    strict = Project(layout, "strict", budgets={"max_size_mb": 1e-6})
    version = strict.register(api)
    assert not strict.gate(api, version).passed
    assert _aliases(api, "strict") == {}
    with pytest.raises(GateRefused, match=r"did not pass the gate: .* MB, over 1e-06"):
        promote(api, "strict", version.version, strict.trusted)
    lenient = Project(layout, "strict")
    assert lenient.gate(api, version).passed
    assert _aliases(api, "strict") == {"challenger": 1}
    strict.gate(api, version)
    assert _aliases(api, "strict") == {}


def test_a_verdict_moved_from_another_version_does_not_count(
    api: MlflowApi, layout: Layout
) -> None:
    project = Project(layout, "moved")
    first = project.register(api)
    project.gate(api, first)
    project.another_package(20.0)
    second = project.register(api, "key-2")
    good = api.get_version("moved", 1)
    assert good is not None
    for key in (names.VERDICT, names.VERDICT_SIGNATURE):
        api.set_version_tag("moved", second.version, key, good.tags[key])
    with pytest.raises(GateRefused, match="carries the verdict of version 1"):
        promote(api, "moved", second.version, project.trusted)


def test_an_altered_champion_is_not_compared_with(
    api: MlflowApi, layout: Layout, tmp_path: Path
) -> None:
    project = Project(layout, "tampered")
    project.gate(api, project.register(api))
    promote(api, "tampered", 1, project.trusted)
    api.upload_bytes(api.version_uri("tampered", 1), "package/labels.json", b'["1", "0", "2"]')
    project.another_package(20.0)
    with pytest.raises(PackageError, match=r"labels\.json"):
        project.gate(api, project.register(api, "key-2"))


def test_what_does_not_exist_is_said_plainly(api: MlflowApi, layout: Layout) -> None:
    project = Project(layout, "nothing")
    missing = ModelVersion("nothing", 7, "0" * 64, "")
    with pytest.raises(GateRefused, match="no version 7"):
        project.gate(api, missing)
    with pytest.raises(GateRefused, match="no version 7"):
        promote(api, "nothing", 7, project.trusted)
    with pytest.raises(ModelyardError, match="not found"):
        api.set_alias("nothing", "champion", 7)
    assert api.get_version_by_alias("nothing", "champion") is None
    assert api.get_logged_model("m-none") is None


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


def _stored(api: MlflowApi, project: Project, version: ModelVersion) -> Verdict:
    """The verdict that the version's tags prove."""
    found = api.get_version(project.name, version.version)
    assert found is not None
    return check_verdict(found.tags, project.name, version.version, version.digest, project.trusted)


def follow(api: MlflowApi, name: str, version: int) -> None:
    """What the follower says once it serves a version."""
    api.set_version_tag(name, version, names.WAS_LIVE, "true")
    api.set_alias(name, names.LIVE, version)


def _aliases(api: MlflowApi, name: str) -> dict[str, int]:
    model = api.get_registered_model(name)
    assert model is not None
    return model.aliases
