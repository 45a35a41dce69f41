"""Our own wishes in the audit trail, and `modelyard gate`, against a real MLflow server."""

import threading
from pathlib import Path

import pytest
import yaml

from modelyard.artifacts import Layout, write_json
from modelyard.cli.registry import gate_command
from modelyard.errors import GateRefused, PackageError, ServiceUnavailable
from modelyard.follower import audit
from modelyard.mlflow_api import MlflowApi
from modelyard.registry import tags as names
from modelyard.runs import promotion
from modelyard.runs.promotion import advance, wish
from modelyard.settings import Settings
from tests.integration.registry_project import Project, make_project
from tests.integration.registry_server import aliases, api, follow, layout  # noqa: F401
from tests.integration.worker_project import until
from tests.mlflow_server import free_port

pytestmark = pytest.mark.server


@pytest.fixture(scope="module")
def url(servers: dict[str, str]) -> str:
    return servers["MLFLOW_TRACKING_URI"]


@pytest.fixture
def settings(url: str, layout: Layout, monkeypatch: pytest.MonkeyPatch) -> Settings:
    monkeypatch.setenv("LOGNAME", "ada")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", url)
    monkeypatch.setenv("MODELYARD_STATE_DIR", str(layout.root))
    return Settings()


def trail(settings: Settings) -> list[tuple]:
    report = audit.read(settings.state_dir)
    assert report.holds
    keys = ("from", "to", "outcome", "path", "by", "verdict")
    return [tuple(entry[key] for key in keys) for entry in report.entries]


def serving(api: MlflowApi, name: str, version: int) -> threading.Thread:
    """A follower that makes a champion live."""

    def make_live() -> None:
        until(lambda: aliases(api, name).get(names.CHAMPION) == version)
        follow(api, name, version)

    thread = threading.Thread(target=make_live)
    thread.start()
    return thread


def test_what_we_wish_is_written_with_who_and_what_became_of_it(
    api: MlflowApi,
    layout: Layout,
    settings: Settings,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    project = Project(layout, "wished", mode="auto", budgets={"min_score": 0.9})
    root, params = layout.root, project.params
    first = project.register(api)
    follower = serving(api, "wished", 1)
    assert advance(root, settings, params, first).outcome == "live"
    follower.join()
    assert advance(root, settings, params, first).outcome == "unchanged"
    assert set(wish(root, settings, params, "wished", 1)) == {"champion", "live"}
    passed = "passed: within the budgets"
    assert trail(settings) == [(None, 1, "wished", "pipeline", "ada", passed)]

    project.another_package(20.0)
    second = project.register(api, "key-2")
    strict = Project(layout, "wished", mode="auto", budgets={"max_size_mb": 1e-6}).params
    for _ in range(2):
        assert advance(root, settings, strict, second).outcome == "refused"
    ((*told, verdict),) = trail(settings)[1:]
    assert told == [1, 2, "refused", "pipeline", "ada"]
    assert verdict.startswith("not passed: the file has 0.000 MB, over 1e-06")

    layout.dataset.rename(layout.dataset.with_name("away"))
    with pytest.raises(GateRefused, match="did not pass the gate"):
        wish(root, settings, params, "wished", 2)
    layout.dataset.with_name("away").rename(layout.dataset)
    assert [entry[2:5] for entry in trail(settings)[2:]] == [
        ("wished", "promote", "ada"),
        ("refused", "promote", "ada"),
    ]
    monkeypatch.setattr(promotion, "TIMEOUT", 0.1)
    with pytest.raises(ServiceUnavailable, match="was not live"):
        wish(root, settings, params, "wished", 2)
    assert aliases(api, "wished")[names.CHAMPION] == 2, "judged again, it passed"
    assert audit.find_wish(settings.state_dir, "wished", 2) == audit.Wish("promote", "ada")

    begun = {"version": 2, "since": None, "percent": 5.0, "terms": {"minutes": 10.0}}
    canary = settings.serving / "wished" / "canary.json"
    canary.parent.mkdir(parents=True)
    write_json(canary, begun)
    with pytest.raises(ServiceUnavailable, match="was not live"):
        wish(root, settings, params, "wished", 2)
    write_json(canary, begun | {"since": 1.0})
    found = advance(root, settings, params, second)
    assert found.outcome == "canary"
    assert found.reason.startswith("answers 5 % of the callers first, for 10 min")
    canary.unlink()

    project.another_package(30.0)
    project.register(api, "key-3")
    api.upload_bytes(api.version_uri("wished", 3), "package/labels.json", b'["1", "0", "2"]')
    project.another_package(40.0)
    with pytest.raises(PackageError, match=r"labels\.json"):
        wish(root, settings, params, "wished", 3)
    assert [entry[1:5] for entry in trail(settings)[-2:]] == [
        (3, "wished", "promote", "ada"),
        (3, "failed", "promote", "ada"),
    ]
    assert audit.find_wish(settings.state_dir, "wished", 3) == audit.Wish(), "it is answered"


def test_nothing_is_written_of_what_is_not_there(settings: Settings, layout: Layout) -> None:
    project = Project(layout, "nobody")
    with pytest.raises(GateRefused, match="no version 3 of nobody"):
        wish(layout.root, settings, project.params, "nobody", 3)
    away = settings.model_copy(update={"mlflow_tracking_uri": f"http://127.0.0.1:{free_port()}"})
    with pytest.raises(ServiceUnavailable):
        wish(layout.root, away, project.params, "nobody", 3)
    assert trail(settings) == []


def test_gate_on_demand_prints_the_figures_and_why(
    api: MlflowApi,
    tmp_path: Path,
    settings: Settings,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("COLUMNS", "160")
    project = Project(make_project(tmp_path / "gated", wrong=3), "gated")
    monkeypatch.chdir(project.layout.root)
    monkeypatch.setenv("MODELYARD_STATE_DIR", str(project.layout.root))
    project.register(api)

    def gate(**budgets: float) -> str:
        params = Project(project.layout, "gated", budgets=budgets).params
        tree = params.model_dump(mode="json", by_alias=True)
        Path("params.yaml").write_text(yaml.safe_dump(tree))
        try:
            gate_command("gated", 1)
        finally:
            printed = capsys.readouterr().out
        return printed

    printed = gate(min_score=0.9)
    assert "✓ passed: within the budgets" in printed
    assert "accuracy     0.9875, at least 0.96" in printed
    assert "nothing: it would be the first" in printed
    assert aliases(api, "gated") == {names.CHALLENGER: 1}
    with pytest.raises(SystemExit):
        gate(min_score=0.999, min_class_recall=0.5)
    assert aliases(api, "gated") == {}
    with pytest.raises(GateRefused, match="no version 9 of gated"):
        gate_command("gated", 9)
