"""Functions of the team: those of the project that is asked, whatever was imported before."""

import sys
from pathlib import Path

from modelyard.custom_code import import_function


def project(root: Path, says: str) -> Path:
    (root / "custom").mkdir(parents=True)
    (root / "custom/__init__.py").touch()
    (root / "custom/own.py").write_text(f"def say():\n    return {says!r}\n")
    return root


def test_two_projects_in_one_process(tmp_path: Path) -> None:
    places = {name: project(tmp_path / name, name) for name in ("one", "two")}
    for name in ("one", "two", "one"):
        assert import_function("custom.own:say", places[name], "key")() == name


def test_what_is_installed_stays_as_it_is(tmp_path: Path) -> None:
    import json

    assert import_function("json:loads", project(tmp_path, "x"), "key") is json.loads
    assert sys.modules["json"] is json
