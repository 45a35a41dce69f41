"""Gate, wish and the way back, against a real MLflow server."""

import shutil
import threading
from pathlib import Path

import pytest

from modelyard.artifacts import Layout, ModelVersion
from modelyard.errors import (
    GateRefused,
    ModelyardError,
    PackageError,
    ServiceUnavailable,
    WorkspaceError,
)
from modelyard.mlflow_api import MlflowApi
from modelyard.package import ensure_key
from modelyard.registry import tags as names
from modelyard.registry.promote import promote, wait_live
from modelyard.registry.verdict import check_verdict
from tests.integration.registry_project import Killed, Mortal, Project
from tests.integration.registry_server import aliases, api, follow, layout, stored, url  # noqa: F401

pytestmark = pytest.mark.server


def test_gate_promotion_and_the_way_back(api: MlflowApi, layout: Layout) -> None:
    project = Project(layout, "promoted", budgets={"min_score": 0.9})
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
    assert aliases(api, name) == {"champion": 1}
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
    assert aliases(api, name)["champion"] == 1


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
        assert stored(api, project, version) == verdict
    # Where the two were written the other way round, and the kill came between them.
    api.delete_version_tag("torn", 1, names.VERDICT_SIGNATURE)
    assert project.gate(api, version) == stored(api, project, version)
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
    for key, value in stored(api, project, version).signed_tags(stranger).items():
        api.set_version_tag("rotated", 1, key, value)
    project.gate(api, version)
    assert stored(api, project, version).passed


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
    assert aliases(api, "refusal")["champion"] == 3


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
    assert aliases(api, "strict") == {}
    with pytest.raises(GateRefused, match=r"did not pass the gate: .* MB, over 1e-06"):
        promote(api, "strict", version.version, strict.trusted)
    lenient = Project(layout, "strict")
    assert lenient.gate(api, version).passed
    assert aliases(api, "strict") == {"challenger": 1}
    strict.gate(api, version)
    assert aliases(api, "strict") == {}


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
