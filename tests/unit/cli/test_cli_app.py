"""Where a command runs, which file a path names, and what is refused before anything starts."""

from pathlib import Path
from typing import Any

import pytest

from modelyard.cli import isolated, predict


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    calls: list[Any] = []

    def record(file: Path | None, name: str, shown: str) -> None:
        calls.append((file, name, shown))

    monkeypatch.setattr(predict, "predict_command", record)
    return calls


@pytest.mark.parametrize("command", ["status", "down", "doctor", "register"])
def test_no_command_runs_outside_a_project(
    command: str, invoke: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert invoke(command, cwd=tmp_path) == 1
    message = capsys.readouterr().err
    assert "is no Modelyard project: there is no dvc.yaml" in message
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("words", [["--help"], ["status", "--help"]])
def test_help_is_given_anywhere(
    words: list[str], invoke: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert invoke(*words, cwd=tmp_path) == 0
    assert "Usage" in capsys.readouterr().out


def test_a_file_is_that_of_the_folder_where_the_command_is_given(
    invoke: Any, project: Path, asked: list[Any]
) -> None:
    here = project / "deep" / "er"
    (here / "d.png").write_bytes(b"x")
    assert invoke("predict", "d.png", cwd=here) == 0
    assert asked == [(here / "d.png", "digits", "d.png")]
    assert Path.cwd() == project


def test_a_missing_file_is_named_as_it_was_given(
    invoke: Any, project: Path, asked: list[Any], capsys: pytest.CaptureFixture[str]
) -> None:
    assert invoke("predict", "../d.png", cwd=project / "deep") == 1
    assert "there is no file ../d.png" in capsys.readouterr().err
    assert not asked


def test_a_recipe_is_that_of_the_folder_where_the_command_is_given(
    invoke: Any, project: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    recipes: list[Path | None] = []

    def record(
        overrides: list[str], recipe: Path | None, no_up: bool, data_version: str | None
    ) -> int:
        assert (overrides, no_up, data_version) == ([], True, None)
        recipes.append(recipe)
        return 0

    monkeypatch.setattr(isolated, "run_isolated_command", record)
    (project / "x.yaml").write_text("")
    assert invoke("run", "--no-up", "--recipe", "../x.yaml", cwd=project / "deep") == 0
    (recipe,) = recipes
    assert recipe is not None
    assert recipe.resolve() == project / "x.yaml"
    assert invoke("run", "--no-up", "--recipe", "../y.yaml", cwd=project / "deep") == 1
    assert "there is no file ../y.yaml" in capsys.readouterr().err
    assert len(recipes) == 1


@pytest.mark.parametrize("name", ["a b", "é", "a\nb", "../x"])
@pytest.mark.parametrize("command", [["predict"], ["promote", "1"], ["rollback"]])
def test_a_name_that_no_model_has_is_refused(
    command: list[str],
    name: str,
    invoke: Any,
    project: Path,
    asked: list[Any],
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert invoke(*command, "--name", name, cwd=project) == 1
    message = capsys.readouterr().err
    assert f"{name!r} is no name of a model" in message
    assert "defect" not in message
    assert not asked


@pytest.mark.parametrize("version", ["99999999999999999999", "0", "2147483648"])
def test_a_version_out_of_bounds_is_a_usage_error(
    version: str, invoke: Any, project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert invoke("promote", version, cwd=project) == 2
    assert "Invalid value for" in capsys.readouterr().err
