"""`modelyard key`: shown once, listed without its secret, taken back."""

import re
from pathlib import Path

import pytest
from typer.testing import CliRunner

from modelyard.cli.app import app
from modelyard.serving import keys
from modelyard.settings import Settings


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MODELYARD_STATE_DIR", str(tmp_path))


def run(*words: str) -> str:
    done = CliRunner().invoke(app, ["key", *words], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done.output


def test_a_key_is_made_listed_and_taken_back() -> None:
    printed = run("add", "shop", "--models", "digits,credit", "--rate", "50", "--days", "90")
    assert "models digits, credit, 50 requests a second, until" in printed
    assert "From now on the server asks every caller for a key" in printed
    (text,) = re.findall(r"^my_\S+$", printed, re.MULTILINE)
    file = keys.KeyFile(Settings().state_dir / keys.FILE)
    key = file.find(text)
    assert key is not None
    assert (key.owner, key.models, key.rate) == ("shop", ("digits", "credit"), 50)
    listed = run("list")
    assert key.id in listed
    assert text not in listed
    assert "From now on" not in run("add", "bank")
    run("remove", key.id)
    assert key.id not in run("list")


def test_the_command_line_has_a_key_of_its_own_from_the_first_on() -> None:
    run("add", "shop")
    own = Settings().own_api_key
    assert own.stat().st_mode & 0o777 == 0o600
    key = keys.KeyFile(Settings().state_dir / keys.FILE).find(own.read_text())
    assert key is not None
    assert key.opens("digits")
