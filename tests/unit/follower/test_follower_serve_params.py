"""`serve` of params.yaml on its way to the serving folder."""

import json
import logging
import os
from pathlib import Path

import pytest

from modelyard.follower.serve_params import FILE, ServeFiles
from modelyard.params import read_tree

PARAMS = Path(__file__).parents[3] / "params.yaml"


def write(path: Path, name: str, serve: str) -> Path:
    text = PARAMS.read_text().replace("\n  name: digits\n", f"\n  name: {name}\n")
    assert f"name: {name}" in text
    before = path.stat().st_mtime_ns if path.exists() else 0
    path.write_text(f"{text}\nserve: {serve}\n")
    os.utime(path, ns=(before + 1, before + 1))
    return path


def test_a_model_is_served_as_its_own_file_says_and_others_as_the_first(tmp_path: Path) -> None:
    files = ServeFiles(
        (
            write(tmp_path / "a.yaml", "apples", "{disclose: {decimals: 3}}"),
            write(tmp_path / "b.yaml", "pears", "{shadow: {percent: 5}}"),
        )
    )
    pears, apples, stranger = (files.of(name) for name in ("pears", "apples", "plums"))
    assert pears.shadow is not None
    assert pears.shadow.percent == 5
    assert pears.disclose is None
    assert apples.disclose is not None
    assert apples.disclose.decimals == 3
    assert stranger == apples


def test_without_a_file_nothing_special_holds() -> None:
    assert ServeFiles().of("m").model_dump() == {
        "canary": None,
        "shadow": None,
        "disclose": None,
        "log": None,
    }


def test_a_change_arrives_and_an_impossible_one_does_not(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = write(tmp_path / "params.yaml", "m", "{canary: {percent: 5, minutes: 1}}")
    files, folder = ServeFiles((path,)), tmp_path / "m"
    files.write(folder, "m")
    assert not folder.exists()
    folder.mkdir()
    files.write(folder, "m")
    assert json.loads((folder / FILE).read_text())["canary"]["percent"] == 5
    written = (folder / FILE).stat().st_mtime_ns
    files.write(folder, "m")
    assert (folder / FILE).stat().st_mtime_ns == written

    write(path, "m", "{canary: {percent: 500}}")
    with caplog.at_level(logging.ERROR):
        files.write(folder, "m")
        files.write(folder, "m")
    assert json.loads((folder / FILE).read_text())["canary"]["percent"] == 5
    assert len(caplog.messages) == 1
    assert "serve.canary.percent" in caplog.text

    write(path, "m", "{canary: {percent: 50}}")
    files.write(folder, "m")
    assert json.loads((folder / FILE).read_text())["canary"]["percent"] == 50
    path.unlink()
    assert files.of("m").canary is not None


def test_a_file_that_was_read_half_written_is_read_again(tmp_path: Path) -> None:
    """The clock of files moves every 4 ms: both states may have the same time."""
    path = write(tmp_path / "params.yaml", "m", "{canary: {percent: 5}}")
    whole, time = path.read_text(), path.stat().st_mtime_ns
    path.write_text(whole[:700])
    os.utime(path, ns=(time, time))
    files = ServeFiles((path,))
    assert files.of("m").canary is None
    path.write_text(whole)
    os.utime(path, ns=(time, time))
    assert files.of("m").canary is not None


def test_the_committed_params_are_read(tmp_path: Path) -> None:
    name = read_tree(PARAMS)["registry"]["name"]
    assert ServeFiles((PARAMS,)).of(name).canary is None
