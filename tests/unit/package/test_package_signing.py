"""Only what a trusted key signed passes, in every file of it."""

import base64
import json
import shutil
import stat
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pytest

from modelyard.errors import PackageError
from modelyard.package import (
    ensure_key,
    sign_bytes,
    sign_folder,
    verify_bytes,
    verify_folder,
    verify_manifest,
    verify_package,
    write_manifest,
)

FILES = {
    "model.onnx": b"weights",
    "labels.json": b"[]",
    "sub/data.bin": b"\0\1",
    "proof.json": b"{}",
    ".gitignore": b"*.tmp",
}


@dataclass(frozen=True)
class Signed:
    folder: Path
    keys: Path
    trusted: Path


@pytest.fixture
def signed(tmp_path: Path) -> Signed:
    folder, keys, trusted = tmp_path / "package", tmp_path / "keys", tmp_path / "keys/trusted"
    for name, content in FILES.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    write_manifest(folder)
    sign_folder(folder, ensure_key(keys, trusted))
    return Signed(folder, keys, trusted)


def flip(path: Path, place: int = 0) -> None:
    content = bytearray(path.read_bytes())
    content[place] ^= 1
    path.write_bytes(content)


def test_what_was_signed_verifies_wherever_it_lies(signed: Signed, tmp_path: Path) -> None:
    moved = tmp_path / "elsewhere" / "copy"
    shutil.copytree(signed.folder, moved)
    assert verify_package(moved, signed.trusted) == write_manifest(moved)


@pytest.mark.parametrize("name", [*FILES, "manifest.json"])
def test_a_flipped_byte_is_found_in_every_file(signed: Signed, name: str) -> None:
    flip(signed.folder / name)
    with pytest.raises(PackageError) as caught:
        verify_folder(signed.folder, signed.trusted)
    assert name in caught.value.message
    with pytest.raises(PackageError):
        verify_package(signed.folder, signed.trusted)


def test_a_file_changed_together_with_its_manifest_is_found(signed: Signed) -> None:
    flip(signed.folder / "model.onnx")
    write_manifest(signed.folder)
    verify_manifest(signed.folder)
    with pytest.raises(PackageError, match=r"model\.onnx"):
        verify_package(signed.folder, signed.trusted)


def test_a_right_signature_over_a_wrong_manifest_is_refused(signed: Signed) -> None:
    flip(signed.folder / "model.onnx")
    sign_folder(signed.folder, ensure_key(signed.keys, signed.trusted))
    verify_folder(signed.folder, signed.trusted)
    with pytest.raises(PackageError, match=r"model\.onnx .* manifest"):
        verify_package(signed.folder, signed.trusted)


def test_extra_and_missing_files_are_named(signed: Signed) -> None:
    (signed.folder / ".gitattributes").write_bytes(b"")
    with pytest.raises(PackageError, match=r"\.gitattributes"):
        verify_folder(signed.folder, signed.trusted)
    (signed.folder / ".gitattributes").unlink()
    (signed.folder / "labels.json").unlink()
    with pytest.raises(PackageError, match=r"labels\.json"):
        verify_folder(signed.folder, signed.trusted)


def test_links_are_refused(signed: Signed, tmp_path: Path) -> None:
    (tmp_path / "labels").write_bytes(FILES["labels.json"])
    (signed.folder / "labels.json").unlink()
    (signed.folder / "labels.json").symlink_to(tmp_path / "labels")
    for check in (verify_folder, lambda folder, key: sign_folder(folder, signed.keys / "x")):
        with pytest.raises(PackageError, match=r"labels\.json .* symbolic link"):
            check(signed.folder, signed.trusted)


def test_a_key_that_is_not_trusted_does_not_count(signed: Signed, tmp_path: Path) -> None:
    stranger = ensure_key(tmp_path / "other", tmp_path / "other/trusted")
    sign_folder(signed.folder, stranger)
    with pytest.raises(PackageError, match="not in"):
        verify_package(signed.folder, signed.trusted)
    for path in (tmp_path / "other/trusted").iterdir():
        shutil.copy(path, signed.trusted)
    verify_package(signed.folder, signed.trusted)


def test_a_stranger_cannot_pass_under_a_trusted_keys_name(signed: Signed, tmp_path: Path) -> None:
    path = signed.folder / "model.sig"
    ours = json.loads(path.read_text())
    sign_folder(signed.folder, ensure_key(tmp_path / "other", tmp_path / "other/trusted"))
    theirs = json.loads(path.read_text())
    theirs["verificationMaterial"] = ours["verificationMaterial"]
    path.write_text(json.dumps(theirs))
    with pytest.raises(PackageError, match="does not hold"):
        verify_package(signed.folder, signed.trusted)


@pytest.mark.parametrize("part", ["payload", "sig"])
def test_a_changed_statement_or_signature_does_not_hold(signed: Signed, part: str) -> None:
    path = signed.folder / "model.sig"
    bundle = json.loads(path.read_text())
    envelope = bundle["dsseEnvelope"]
    place = envelope if part == "payload" else envelope["signatures"][0]
    raw = bytearray(base64.b64decode(place[part]))
    raw[len(raw) // 2] ^= 1
    place[part] = base64.b64encode(raw).decode()
    path.write_text(json.dumps(bundle))
    with pytest.raises(PackageError, match="does not hold"):
        verify_package(signed.folder, signed.trusted)


@pytest.mark.parametrize("content", ["", "{}", "[]", '{"verificationMaterial": {"publicKey": {}}}'])
def test_a_signature_that_names_no_key_is_refused(signed: Signed, content: str) -> None:
    (signed.folder / "model.sig").write_text(content)
    with pytest.raises(PackageError, match="names its key"):
        verify_folder(signed.folder, signed.trusted)


def test_without_signature_or_trusted_key_nothing_passes(signed: Signed, tmp_path: Path) -> None:
    with pytest.raises(PackageError, match="no trusted key"):
        verify_folder(signed.folder, tmp_path / "nowhere")
    (signed.folder / "model.sig").unlink()
    with pytest.raises(PackageError, match=r"has no model\.sig"):
        verify_folder(signed.folder, signed.trusted)


def test_the_key_is_private_and_made_once(tmp_path: Path) -> None:
    keys, trusted = tmp_path / "keys", tmp_path / "trusted"
    with ThreadPoolExecutor(8) as pool:
        made = set(pool.map(lambda _: ensure_key(keys, trusted).read_bytes(), range(8)))
    assert len(made) == 1
    assert len(list(trusted.glob("*.pem"))) == 1
    assert stat.S_IMODE(keys.stat().st_mode) == 0o700
    assert stat.S_IMODE(ensure_key(keys, trusted).stat().st_mode) == 0o600
    assert b"PRIVATE" not in next(trusted.iterdir()).read_bytes()


def test_a_key_taken_out_of_the_trusted_folder_stays_revoked(signed: Signed) -> None:
    for path in signed.trusted.glob("*.pem"):
        path.unlink()
    ensure_key(signed.keys, signed.trusted)
    with pytest.raises(PackageError, match="no trusted key"):
        verify_package(signed.folder, signed.trusted)


def test_a_key_that_others_can_read_is_refused(signed: Signed) -> None:
    (signed.keys / "signing.pem").chmod(0o640)
    with pytest.raises(PackageError, match="read by others") as caught:
        ensure_key(signed.keys, signed.trusted)
    assert "chmod 600" in caught.value.remedy


@pytest.mark.parametrize("content", [b"", b"no key", b"-----BEGIN PUBLIC KEY-----\n"])
def test_a_broken_key_is_named(signed: Signed, content: bytes) -> None:
    (signed.trusted / "broken.pem").write_bytes(content)
    with pytest.raises(PackageError, match=r"broken\.pem"):
        verify_folder(signed.folder, signed.trusted)
    (signed.keys / "signing.pem").write_bytes(content)
    with pytest.raises(PackageError, match=r"signing\.pem"):
        sign_folder(signed.folder, signed.keys / "signing.pem")


def test_signed_bytes(signed: Signed, tmp_path: Path) -> None:
    key = ensure_key(signed.keys, signed.trusted)
    signature = sign_bytes(b"words", key)
    ensure_key(tmp_path / "second", signed.trusted)
    verify_bytes(b"words", signature, signed.trusted)
    stranger = ensure_key(tmp_path / "other", tmp_path / "other/trusted")
    for data, wrong in (
        (b"Words", signature),
        (b"words", "no base64!"),
        (b"words", ""),
        (b"words", sign_bytes(b"words", stranger)),
    ):
        with pytest.raises(PackageError):
            verify_bytes(data, wrong, signed.trusted)
