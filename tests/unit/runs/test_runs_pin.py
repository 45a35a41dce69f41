"""What a run notices of its source before it begins: DVC does not look out of the project."""

import hashlib
import os
import shutil
import zipfile
from pathlib import Path
from typing import Any

import pytest

from modelyard.errors import SourceError
from modelyard.params import DataParams, load
from modelyard.runs.pin import FILE, Seen, check_pin, look, moved_on, remember, source_state

PROJECT = Path(__file__).parents[3]
CONTENT = b"1,2,3\n"
DIGEST = hashlib.sha256(CONTENT).hexdigest()


def contract(source: str, sha256: str | None = None, **changes: Any) -> DataParams:
    return load(PROJECT).data.model_copy(update={"source": source, "sha256": sha256} | changes)


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project in which fetch has run, as far as pins are concerned."""
    monkeypatch.chdir(tmp_path)
    shutil.copy2(PROJECT / "dvc.yaml", tmp_path)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/rows.csv").write_bytes(CONTENT)
    fetched(tmp_path, "0" * 32)
    return tmp_path


def fetched(root: Path, md5: str) -> None:
    (root / "data/raw").mkdir(parents=True, exist_ok=True)
    out = f"    outs:\n    - path: data/raw\n      md5: {md5}.dir\n"
    (root / "dvc.lock").write_text(f"stages:\n  fetch:\n{out}")


@pytest.mark.parametrize("source", ["mine/rows.csv", "mine", "mine/*.csv"])
def test_an_unpinned_source_is_fetched_again_where_it_changed(root: Path, source: str) -> None:
    params, path = contract(source), root / "mine/rows.csv"
    seen = look(root, params)
    assert seen == Seen(DIGEST, outdated=True)
    remember(root, params, seen)
    assert look(root, params) == Seen(DIGEST, outdated=False)
    os.utime(path, ns=(1, 1))
    assert look(root, params) == Seen(DIGEST, outdated=False)
    path.write_bytes(CONTENT * 2)
    assert look(root, params).outdated
    path.write_bytes(CONTENT)
    assert not look(root, params).outdated
    # What dvc.lock names now is of another run.
    fetched(root, "1" * 32)
    assert look(root, params).outdated


def test_content_is_read_only_where_a_size_or_time_changed(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    params = contract("mine")
    assert source_state(root, params) == DIGEST
    monkeypatch.setattr("modelyard.runs.pin.files_sha256", lambda _: pytest.fail("read again"))
    assert source_state(root, params) == DIGEST


def test_a_damaged_record_is_as_good_as_none(root: Path) -> None:
    params = contract("mine")
    remember(root, params, look(root, params))
    for content in ("{", "[]", ""):
        (root / ".modelyard" / FILE).write_text(content)
        assert look(root, params).outdated
    (root / "dvc.lock").unlink()
    assert look(root, params).outdated


@pytest.mark.parametrize("source", ["mine/none.csv", "none/*.csv", "none/{label}.csv"])
def test_files_that_a_worktree_lacks_are_left_alone(root: Path, source: str) -> None:
    assert look(root, contract(source)) == Seen(None, outdated=False)
    shutil.rmtree(root / "data/raw")
    assert look(root, contract(source)).outdated


def test_a_database_is_always_asked_again_unless_it_is_pinned(root: Path) -> None:
    (root / "shop.db").write_bytes(b"")
    query = {"query": "SELECT 1"}
    assert look(root, contract("sqlite:///shop.db", **query)) == Seen(None, outdated=True)
    assert not look(root, contract("sqlite:///gone.db", **query)).outdated
    pinned = contract("sqlite:///shop.db", DIGEST, **query)
    assert look(root, pinned).outdated
    (root / "data/raw/_query.sql").write_text("SELECT 1")
    assert not look(root, pinned).outdated


def test_a_frozen_stage_asks_for_nothing(root: Path) -> None:
    text = (root / "dvc.yaml").read_text()
    (root / "dvc.yaml").write_text(text.replace("  fetch:\n", "  fetch:\n    frozen: true\n"))
    assert look(root, contract("mine")) == Seen(None, outdated=False)
    assert moved_on(root, contract("mine/rows.csv", "0" * 64)) is None


def test_a_pinned_source_that_moved_on_is_refused(root: Path) -> None:
    check_pin(root, contract("mine/rows.csv", DIGEST))
    for source in ("mine/rows.csv", "mine", "mine/*.csv"):
        with pytest.raises(SourceError, match=f"has sha256 {DIGEST}"):
            check_pin(root, contract(source, "0" * 64))
    (root / "mine/rows.csv").write_bytes(b"")
    with pytest.raises(SourceError, match="is empty"):
        check_pin(root, contract("mine/rows.csv", DIGEST))
    (root / "mine/rows.csv").unlink()
    check_pin(root, contract("mine/rows.csv", DIGEST))


def test_the_pin_of_a_zip_is_of_what_is_in_it(root: Path) -> None:
    with zipfile.ZipFile(root / "rows.zip", "w") as archive:
        archive.writestr("rows.csv", CONTENT)
    check_pin(root, contract("rows.zip", DIGEST))
    assert source_state(root, contract("rows.zip")) == DIGEST
    with zipfile.ZipFile(root / "rows.zip", "w") as archive:
        archive.writestr("rows.csv", CONTENT * 2)
    with pytest.raises(SourceError, match="It changed since it was pinned"):
        check_pin(root, contract("rows.zip", DIGEST))
