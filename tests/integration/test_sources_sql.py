"""A real PostgreSQL server as the source: typed, streamed, read only, and whole or not there."""

import os
import pwd
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import psycopg
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from modelyard.artifacts import Layout
from modelyard.data.fetch import fetch
from modelyard.data.typed_rows import TypedRows
from modelyard.errors import ServiceUnavailable, SourceError
from modelyard.params import DataParams, load

pytestmark = [
    pytest.mark.slow,
    pytest.mark.server,
    pytest.mark.skipif(shutil.which("initdb") is None, reason="PostgreSQL is not installed"),
]

PROJECT = Path(__file__).parents[2]
WORD = "hunter2secret"


@pytest.fixture(scope="module")
def server() -> Iterator[int]:
    """The port of a server on the loopback interface that wants a password."""
    # It refuses to run as root.
    account = {"user": "postgres", "group": "postgres"} if os.geteuid() == 0 else {}
    with tempfile.TemporaryDirectory(
        prefix="modelyard-postgres-", ignore_cleanup_errors=True
    ) as at:
        word, data = Path(at) / "word", Path(at) / "data"
        word.write_text(WORD)
        if account:
            user = pwd.getpwnam("postgres")
            for path in (Path(at), word):
                os.chown(path, user.pw_uid, user.pw_gid)
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        make = ["initdb", "-D", str(data), "-U", "ann", "-A", "scram-sha-256", "-N"]
        subprocess.run(
            [*make, f"--pwfile={word}"], check=True, capture_output=True, cwd=at, **account
        )
        options = ["-c", "listen_addresses=127.0.0.1", "-c", f"unix_socket_directories={at}"]
        options += ["-p", str(port), "-c", "fsync=off"]
        process = subprocess.Popen(
            ["postgres", "-D", str(data), *options],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            cwd=at,
            **account,
        )
        try:
            for _ in range(100):
                try:
                    connect(port).close()
                    break
                except psycopg.OperationalError:
                    time.sleep(0.1)
            yield port
        finally:
            process.terminate()
            process.wait(timeout=20)


def connect(port: int) -> psycopg.Connection:
    return psycopg.connect(
        f"host=127.0.0.1 port={port} user=ann dbname=postgres", password=WORD, autocommit=True
    )


def contract(port: int, query: str) -> DataParams:
    changes = {
        "source": f"postgresql+psycopg://ann@127.0.0.1:{port}/postgres",
        "sha256": None,
        "query": query,
    }
    return load(PROJECT).data.model_copy(update=changes)


@pytest.fixture
def password(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "password"
    path.write_text(WORD + "\n")
    path.chmod(0o600)
    monkeypatch.setenv("MODELYARD_SQL_PASSWORD_FILE", str(path))
    return path


def test_rows_come_typed_and_nothing_is_written(
    server: int, password: Path, tmp_path: Path
) -> None:
    with connect(server) as database:
        database.execute("CREATE TABLE sales (id int, price numeric(9, 2), at timestamptz, t text)")
        database.execute(
            "INSERT INTO sales SELECT i, i / 4.0, '2026-11-01 12:00+02', 'a%b:c' "
            "FROM generate_series(1, 60000) AS i"
        )
        database.execute("CREATE SEQUENCE counter")
    query = "SELECT * FROM sales WHERE t LIKE '%b:c' ORDER BY id"
    raw = fetch(Layout(tmp_path), contract(server, query))
    table = pq.read_table(raw.path / "query.parquet")
    assert table.num_rows == 60_000
    assert table.schema.types == [
        pa.int64(),
        pa.float64(),
        pa.timestamp("us", tz="UTC"),
        pa.string(),
    ]
    assert table.slice(4, 1).to_pylist() == [
        {
            "id": 5,
            "price": float(Decimal("1.25")),
            "at": datetime(2026, 11, 1, 10, tzinfo=UTC),
            "t": "a%b:c",
        }
    ]
    again = fetch(Layout(tmp_path), contract(server, query))
    assert again.sha256 == raw.sha256
    with pytest.raises(SourceError, match="read-only transaction"):
        fetch(Layout(tmp_path), contract(server, "SELECT setval('counter', 99)"))


def test_a_server_that_ends_the_session_half_way_leaves_nothing(
    server: int, password: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write = TypedRows.write

    def write_then_kill(self: TypedRows, rows: Any) -> None:
        write(self, rows)
        with connect(server) as database:
            database.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                "WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()"
            )

    monkeypatch.setattr(TypedRows, "write", write_then_kill)
    query = "SELECT i FROM generate_series(1, 400000) AS i"
    with pytest.raises(ServiceUnavailable, match="broke off after 50,000 rows: ") as caught:
        fetch(Layout(tmp_path), contract(server, query))
    assert WORD not in str(caught.value)
    assert list((tmp_path / "data").iterdir()) == []


def test_a_wrong_password_is_explained_without_it(
    server: int, password: Path, tmp_path: Path
) -> None:
    password.write_text("wrong-word\n")
    with pytest.raises(SourceError, match="password authentication failed") as caught:
        fetch(Layout(tmp_path), contract(server, "SELECT 1"))
    assert "wrong-word" not in str(caught.value)
