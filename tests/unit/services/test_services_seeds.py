"""Seeds: copied when there is nothing to overwrite, whole, and of the installed version only."""

import sqlite3
from pathlib import Path

import pytest

from modelyard.services import seeds
from modelyard.services.specs import Seed

SEED = Seed(package="pyyaml", files=("a.db", "memo.toml"))


@pytest.fixture(autouse=True)
def _prefix(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.prefix", str(tmp_path / "prefix"))


def make(folder: Path) -> sqlite3.Connection:
    """What a service leaves: a database with a row that is still in its journal, and a note."""
    folder.mkdir()
    database = sqlite3.connect(folder / "a.db")
    database.execute("PRAGMA journal_mode=WAL")
    database.execute("CREATE TABLE t (x)")
    database.execute("INSERT INTO t VALUES (7)")
    database.commit()
    (folder / "memo.toml").write_text("memo")
    return database


def rows(path: Path) -> list[tuple[int]]:
    database = sqlite3.connect(path)
    try:
        return database.execute("SELECT x FROM t").fetchall()
    finally:
        database.close()


def test_without_a_seed_nothing_is_planted(tmp_path: Path) -> None:
    assert not seeds.plant(SEED, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_seed_is_the_whole_database(tmp_path: Path) -> None:
    database = make(tmp_path / "made")
    into = tmp_path / "into"
    into.mkdir()

    kept = seeds.keep(SEED, tmp_path / "made")
    database.close()

    assert kept == seeds.folder(SEED)
    assert seeds.plant(SEED, into)
    assert sorted(path.name for path in into.iterdir()) == ["a.db", "memo.toml"]
    assert rows(into / "a.db") == [(7,)]
    assert {path.stat().st_mode & 0o777 for path in into.iterdir()} == {0o600}


def test_a_database_that_is_there_stays(tmp_path: Path) -> None:
    make(tmp_path / "made").close()
    seeds.keep(SEED, tmp_path / "made")
    into = tmp_path / "into"
    into.mkdir()
    (into / "a.db").write_bytes(b"mine")

    assert not seeds.plant(SEED, into)
    assert (into / "a.db").read_bytes() == b"mine"


def test_a_seed_of_another_version_is_not_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make(tmp_path / "made").close()
    seeds.keep(SEED, tmp_path / "made")
    into = tmp_path / "into"
    into.mkdir()
    monkeypatch.setattr(seeds, "version", lambda name: "0.0.1")

    assert not seeds.plant(SEED, into)
