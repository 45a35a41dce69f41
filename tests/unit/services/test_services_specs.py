"""The process file: what is in it, and what is refused."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelyard.errors import WorkspaceError
from modelyard.services import planning, specs
from modelyard.services.supervisor import SERVICES
from modelyard.settings import Settings

ROOT = Path(__file__).parents[3]


def write(root: Path, text: str) -> Path:
    path = root / specs.SERVICES_YAML
    path.parent.mkdir(parents=True)
    path.write_text(text)
    return root


def test_the_projects_file_names_every_service_and_only_real_settings() -> None:
    loaded = specs.load(ROOT)

    assert tuple(loaded) == SERVICES
    for spec in loaded.values():
        assert {spec.port, spec.external} - {None} <= set(Settings.model_fields)
        assert spec.command[0] == "{python}"
        assert spec.command[1] == "-m"
        # Everybody on the machine can read a command; MLflow's address may hold a password.
        assert not [word for word in spec.command if "{mlflow}" in word or "{prefect}" in word]


def test_a_missing_file_is_named() -> None:
    with pytest.raises(WorkspaceError, match=r"nowhere/infra/local/services.yaml is missing"):
        specs.load(Path("nowhere"))


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("services: {a: {command: [x], prot: 1}}", "services.a.prot"),
        ("services: {a: {command: []}}", "services.a.command"),
        ("services: {a: {}}", "services.a.command"),
        ("services: {A-b: {command: [x]}}", "services.A-b"),
        ("[]", "not \\[\\]"),
        ("services: {a: [", "is not YAML"),
    ],
)
def test_a_wrong_key_is_refused_by_its_path(tmp_path: Path, text: str, named: str) -> None:
    with pytest.raises(WorkspaceError, match=named):
        specs.load(write(tmp_path, text))


def test_an_unknown_placeholder_is_refused_with_the_nearest() -> None:
    with pytest.raises(WorkspaceError, match=r"mlflow.command[\s\S]*Did you mean \{port\}"):
        specs.fill("--port={prot}", {"port": "1", "state": "/s"}, "mlflow.command")


@pytest.mark.parametrize("text", ["{", "}", "{}", "{0}", "{port.x}", "{port[0]"])
def test_a_stray_brace_is_refused(text: str) -> None:
    with pytest.raises(WorkspaceError, match="cannot be filled in"):
        specs.fill(text, {"port": "1"}, "x")


@given(before=st.text(), value=st.text(), after=st.text())
def test_only_placeholders_change(before: str, value: str, after: str) -> None:
    def escape(text: str) -> str:
        return text.replace("{", "{{").replace("}", "}}")

    filled = specs.fill(f"{escape(before)}{{port}}{escape(after)}", {"port": value}, "x")

    assert filled == before + value + after


def test_the_model_server_has_as_many_processes_as_the_environment_says(tmp_path: Path) -> None:
    settings = Settings(state_dir=tmp_path, serving_workers=3)
    plans = planning.plan(settings, ROOT, specs.load(ROOT), {}, {})
    command = plans["serving"].entry.command
    assert command[command.index("--workers") + 1] == "3"
