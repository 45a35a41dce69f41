"""The manifest finds every change of a package folder, and names it."""

import json
import os
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from modelyard.errors import PackageError
from modelyard.package import verify_manifest, write_manifest
from modelyard.package.manifest import MANIFEST, check_name, list_files, read_manifest

NAMES = st.text("abcdefgh0123-_é ", min_size=1, max_size=8).map(str.strip).filter(bool)
FOLDERS = st.dictionaries(
    st.tuples(NAMES.map("d ".__add__), NAMES.map("f ".__add__)).map("/".join)
    | NAMES.map("f ".__add__),
    st.binary(max_size=50),
    min_size=1,
    max_size=5,
)


def fill(folder: Path, files: dict[str, bytes]) -> None:
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)


@settings(deadline=None)
@given(files=FOLDERS)
def test_a_written_manifest_verifies_and_names_the_files(files: dict[str, bytes]) -> None:
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        fill(folder, files)
        digest = write_manifest(folder)
        assert verify_manifest(folder) == digest
        assert read_manifest(folder)[1].keys() == files.keys()


@settings(deadline=None)
@given(files=FOLDERS, data=st.data())
def test_any_flipped_byte_is_found(files: dict[str, bytes], data: st.DataObject) -> None:
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        fill(folder, files)
        write_manifest(folder)
        name = data.draw(st.sampled_from(list_files(folder)))
        content = bytearray((folder / name).read_bytes())
        if name == MANIFEST:
            # Spaces between its values carry no meaning; any digit of a hash does.
            place = content.index(b'"sha256": "') + 11
        elif content:
            place = data.draw(st.integers(0, len(content) - 1))
        else:
            content, place = bytearray(b"0"), 0
        content[place] ^= 1
        (folder / name).write_bytes(content)
        with pytest.raises(PackageError) as caught:
            verify_manifest(folder)
        assert name in caught.value.message


def test_the_digest_depends_on_names_and_contents_alone(tmp_path: Path) -> None:
    digests = []
    for folder in (tmp_path / "one", tmp_path / "two"):
        fill(folder, {"b": b"2", "a/c": b"1"})
        digests.append(write_manifest(folder))
    fill(tmp_path / "three", {"b": b"2", "a/d": b"1"})
    assert digests[0] == digests[1] != write_manifest(tmp_path / "three")


def test_proof_and_signature_do_not_change_the_digest(tmp_path: Path) -> None:
    fill(tmp_path, {"model.onnx": b"1"})
    digest = write_manifest(tmp_path)
    fill(tmp_path, {"proof.json": b"{}", "model.sig": b"{}", "MLmodel": b""})
    assert verify_manifest(tmp_path) == digest == write_manifest(tmp_path)


def test_missing_and_extra_files_are_named(tmp_path: Path) -> None:
    fill(tmp_path, {"model.onnx": b"1", "labels.json": b"[]"})
    write_manifest(tmp_path)
    (tmp_path / "extra.py").write_bytes(b"")
    with pytest.raises(PackageError, match=r"extra\.py .* is not in its manifest"):
        verify_manifest(tmp_path)
    (tmp_path / "extra.py").unlink()
    (tmp_path / "labels.json").unlink()
    with pytest.raises(PackageError, match=r"labels\.json is missing"):
        verify_manifest(tmp_path)


@pytest.mark.parametrize("place", ["model.onnx", "sub"])
def test_links_are_refused(tmp_path: Path, place: str) -> None:
    outside, folder = tmp_path / "outside", tmp_path / "package"
    fill(outside, {"x": b"1"})
    fill(folder, {"model.onnx": b"1"})
    write_manifest(folder)
    (folder / "model.onnx").unlink()
    (folder / place).symlink_to(outside / "x" if place == "model.onnx" else outside)
    for check in (verify_manifest, write_manifest):
        with pytest.raises(PackageError, match=f"{place} .* symbolic link"):
            check(folder)


def test_a_pipe_is_refused(tmp_path: Path) -> None:
    fill(tmp_path, {"model.onnx": b"1"})
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(PackageError, match=r"pipe .* not a plain file"):
        write_manifest(tmp_path)


@pytest.mark.parametrize(
    "name", ["../a", "/etc/passwd", "a/../../b", "", ".", "a\\b", "a//b", "a\0"]
)
def test_names_that_lead_out_are_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(PackageError):
        check_name(name)
    entry = {"sha256": "0" * 64, "size": 0}
    content = {"format": 1, "digest": "", "files": {name: entry}}
    (tmp_path / MANIFEST).write_text(json.dumps(content))
    with pytest.raises(PackageError, match="not a path inside"):
        verify_manifest(tmp_path)


@pytest.mark.parametrize(
    "content",
    [
        "",
        "[]",
        "{}",
        '{"format": 2, "digest": "", "files": {}}',
        '{"format": 1, "digest": "", "files": []}',
        '{"format": 1, "digest": "", "files": {}, "more": 1}',
        '{"format": 1, "digest": "0", "files": {}}',
        '{"format": 1, "digest": "", "files": {"a": {"sha256": "", "size": true}}}',
        '{"format": 1, "digest": "", "files": {"a": {"sha256": "", "size": 1, "x": 1}}}',
        '{"format": 1, "digest": "", "files": {"proof.json": {"sha256": "", "size": 1}}}',
    ],
)
def test_a_malformed_manifest_is_refused(tmp_path: Path, content: str) -> None:
    (tmp_path / MANIFEST).write_text(content)
    with pytest.raises(PackageError, match=r"manifest\.json"):
        verify_manifest(tmp_path)


def test_an_empty_or_missing_folder_is_no_package(tmp_path: Path) -> None:
    with pytest.raises(PackageError, match="no file"):
        write_manifest(tmp_path)
    with pytest.raises(PackageError, match="no package folder"):
        write_manifest(tmp_path / "nowhere")
    with pytest.raises(PackageError, match="has no manifest"):
        verify_manifest(tmp_path)
