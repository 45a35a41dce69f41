"""A Debian package as a source: a real one is built here; only its download is replaced."""

import shutil
import subprocess
from pathlib import Path

import pytest
from data_tables import contract

from modelyard.artifacts import Layout
from modelyard.cli.expect import in_project
from modelyard.data import source_debian
from modelyard.data.fetch import fetch
from modelyard.data.source import DebianSource, parse_source
from modelyard.data.suggest.gathered import gathered
from modelyard.errors import SourceError
from modelyard.runs.score.job import _place

SOURCE = "debian:tiny-data==1.0-1/usr/share/tiny/{label}/*.txt"


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    if shutil.which("dpkg-deb") is None:
        pytest.skip("no Debian tools")
    tree = tmp_path / "tree"
    for name in ("a/1", "b/2"):
        path = tree / f"usr/share/tiny/{name}.txt"
        path.parent.mkdir(parents=True)
        path.write_text(name)
    (tree / "usr/share/tiny/a/link.txt").symlink_to("/etc/hostname")
    (tree / "DEBIAN").mkdir()
    (tree / "DEBIAN/control").write_text(
        "Package: tiny-data\nVersion: 1.0-1\nArchitecture: all\n"
        "Maintainer: nobody <nobody@localhost>\nDescription: two texts\n"
    )
    path = tmp_path / "tiny.deb"
    subprocess.run(["dpkg-deb", "--build", tree, path], check=True, capture_output=True)
    monkeypatch.setattr(source_debian, "_download", lambda *_: path)
    return path


def test_files_come_by_pattern_and_links_do_not(package: Path, tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=r"data\.sha256 is null.*somebody else's") as caught:
        fetch(Layout(tmp_path / "root"), contract(source=SOURCE, sha256=None))
    digest = caught.value.remedy.rpartition(" ")[2]
    raw = fetch(Layout(tmp_path / "root"), contract(source=SOURCE, sha256=digest))
    found = {str(path.relative_to(raw.path)): path.read_text() for path in raw.path.rglob("*.txt")}
    assert found == {"a/1.txt": "a/1", "b/2.txt": "b/2"}


def test_a_path_that_is_not_there_names_the_nearest(package: Path, tmp_path: Path) -> None:
    source = DebianSource("tiny-data", "1.0-1", "usr/share/tiny/a/3.txt")
    with pytest.raises(SourceError, match=r"holds no file") as caught:
        source_debian.bring_debian(source, tmp_path)
    assert "usr/share/tiny/a/1.txt" in caught.value.remedy


def test_a_machine_without_the_tools_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(SourceError, match="apt-get is not on this machine"):
        source_debian.bring_debian(DebianSource("tiny-data", "1.0-1", "usr"), tmp_path)


@pytest.mark.parametrize(
    "text", ["debian:tiny", "debian:tiny==1", "debian:tiny==1/../x", "debian:-o==1/x"]
)
def test_an_incomplete_source_is_refused(text: str) -> None:
    with pytest.raises(SourceError, match="is not debian:NAME==VERSION/path/inside"):
        parse_source(text)


def test_a_package_is_looked_at_before_there_is_a_contract(package: Path, tmp_path: Path) -> None:
    with gathered(Layout(tmp_path), SOURCE, None) as files:
        assert sorted(files.paths) == ["a/1.txt", "b/2.txt"]
        assert files.placeholders == ("label",)
    assert in_project(SOURCE, tmp_path, tmp_path) == SOURCE
    assert _place(tmp_path, SOURCE) == (tmp_path, SOURCE)


def test_a_whole_source_is_taken_apart() -> None:
    source = parse_source("debian:klettres-data==4:22.12.3-1/usr/share/klettres/{a}/*.ogg")
    assert source == DebianSource("klettres-data", "4:22.12.3-1", "usr/share/klettres/{a}/*.ogg")
    assert source.requirement == "klettres-data=4:22.12.3-1"
