"""Rows of a database as a Parquet file: typed, streamed, whole or not there."""

import sqlite3
from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import UUID

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from data_tables import contract
from hypothesis import given, settings
from hypothesis import strategies as st

from modelyard.artifacts import Layout
from modelyard.data import source_sql
from modelyard.data.fetch import fetch
from modelyard.data.raw import check_query, raw_sha256
from modelyard.data.typed_rows import TypedRows
from modelyard.errors import ModelyardError, ServiceUnavailable, SourceError, WorkspaceError

SOURCE = "sqlite:///shop.db"
NUMBERS = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {}) "


@pytest.fixture
def root(tmp_path: Path) -> Path:
    with sqlite3.connect(tmp_path / "shop.db") as database:
        database.execute("CREATE TABLE sales (id INTEGER, price REAL, city TEXT, note TEXT)")
        rows = [(1, 2.5, "Köln", None), (2, None, "Rome: 100%", None), (3, 4.0, None, None)]
        database.executemany("INSERT INTO sales VALUES (?, ?, ?, ?)", rows)
    return tmp_path


def bring(root: Path, query: str | None, **changes: Any) -> pa.Table:
    params = contract(**({"source": SOURCE, "sha256": None, "query": query} | changes))
    raw = fetch(Layout(root), params)
    assert raw.sha256 == raw_sha256(raw.path)
    assert sorted(path.name for path in raw.path.iterdir()) == ["_query.sql", "query.parquet"]
    check_query(raw.path, params)
    return pq.read_table(raw.path / "query.parquet")


def test_columns_keep_their_types(root: Path) -> None:
    table = bring(root, "SELECT * FROM sales ORDER BY id")
    assert table.schema.types == [pa.int64(), pa.float64(), pa.string(), pa.string()]
    assert table["city"].to_pylist() == ["Köln", "Rome: 100%", None]
    assert table["price"].to_pylist() == [2.5, None, 4.0]


def test_percent_signs_and_colons_mean_themselves(root: Path) -> None:
    query = "SELECT id, ':name %s %' AS odd FROM sales WHERE city LIKE '%: 100%'"
    assert bring(root, query).to_pylist() == [{"id": 2, "odd": ":name %s %"}]


def test_equal_rows_are_equal_bytes_and_can_be_pinned(root: Path) -> None:
    query = "SELECT * FROM sales ORDER BY id"
    layout = Layout(root)
    first = fetch(layout, contract(source=SOURCE, sha256=None, query=query)).sha256
    bring(root, query, sha256=first)
    with pytest.raises(SourceError, match=first):
        bring(root, query.replace("id", "id DESC"), sha256=first)
    with pytest.raises(SourceError, match="the rows of another"):
        check_query(layout.raw, contract(source=SOURCE, query="SELECT 1"))


def test_batches_of_other_types_are_joined(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(source_sql, "BATCH", 100)
    cases = "CASE WHEN i < 150 THEN NULL WHEN i < 250 THEN i ELSE i + 0.5 END AS late"
    mixed = "CASE WHEN i = 333 THEN 'many' ELSE i END AS mixed"
    table = bring(root, NUMBERS.format(350) + f"SELECT i, {cases}, {mixed}, NULL AS none FROM n")
    assert table.schema.types == [pa.int64(), pa.float64(), pa.string(), pa.string()]
    assert table["late"].to_pylist()[148:151] == [None, 150.0, 151.0]
    assert table["late"].to_pylist()[-1] == 350.5
    assert table["mixed"].to_pylist()[331:334] == ["332", "many", "334"]
    assert table["none"].null_count == 350


def test_a_database_that_dies_half_way_leaves_nothing(root: Path) -> None:
    layout = Layout(root)
    bring(root, "SELECT * FROM sales")
    before = raw_sha256(layout.raw)
    # SQLite gives up at the row whose absolute value overflows.
    broken = "CASE WHEN i = 120000 THEN abs(-9223372036854775807 - 1) ELSE i END"
    with pytest.raises(ServiceUnavailable, match="broke off after 100,000 rows: integer overflow"):
        bring(root, NUMBERS.format(200_000) + f"SELECT {broken} FROM n")
    assert raw_sha256(layout.raw) == before
    assert [path.name for path in layout.raw.parent.iterdir()] == ["raw"]


@pytest.mark.parametrize(
    ("query", "changes", "expected"),
    [
        (None, {}, "data.query is not given"),
        ("SELECT 1", {"source": "shop.csv"}, "is no database"),
        ("SELECT * FROM none", {}, "no such table: none"),
        ("SELECT * FROM sales WHERE id > 9", {}, "gives an empty answer"),
        ("SELECT id, id FROM sales", {}, "gives 2 columns of the name 'id'"),
        ("DELETE FROM sales", {}, "readonly database"),
        ("SELECT x'00ff' AS b UNION ALL SELECT 1", {}, "column 'b' of data.query holds bytes"),
        ("SELECT 1", {"source": "sqlite:///none.db"}, "there is no such file"),
        ("SELECT 1", {"source": "sqlite:///../shop.db"}, "leads out of the project"),
        ("SELECT 1", {"source": "sqlite://"}, "names no SQLite file"),
        ("SELECT 1", {"source": "postgresql://ann@127.0.0.1:1/x"}, "needs the driver psycopg2"),
        ("SELECT 1", {"source": "postgresql+psycopg://ann@127.0.0.1:1/x"}, "refused"),
        ("SELECT 1", {"source": "postgresql+psycopg://ann:word@h/x"}, "has a password in it"),
        ("SELECT 1", {"source": "mysql://h/x?user=a&password=word"}, "has a password in it"),
    ],
)
def test_what_is_refused(
    root: Path, query: str | None, changes: dict[str, Any], expected: str
) -> None:
    with pytest.raises(ModelyardError, match=expected) as caught:
        bring(root, query, **changes)
    assert caught.value.remedy
    assert "word@" not in str(caught.value)
    assert not Layout(root).raw.exists()
    with sqlite3.connect(root / "shop.db") as database:
        assert database.execute("SELECT count(*) FROM sales").fetchone() == (3,)


def test_the_password_comes_from_a_file_of_its_owner(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = root / "password"
    path.write_text("hunter2secret\n")
    path.chmod(0o640)
    monkeypatch.setenv("MODELYARD_SQL_PASSWORD_FILE", str(path))
    source = {"source": "postgresql+psycopg://ann@127.0.0.1:1/x"}
    with pytest.raises(WorkspaceError, match="can be read by others"):
        bring(root, "SELECT 1", **source)
    path.chmod(0o600)
    assert source_sql._engine(Layout(root), source_sql.SqlSource(source["source"])).url.password
    with pytest.raises(SourceError, match="refused") as caught:
        bring(root, "SELECT 1", **source)
    assert "hunter2secret" not in str(caught.value)


def test_values_of_every_driver_have_a_type(tmp_path: Path) -> None:
    east = timezone(timedelta(hours=2))
    row = {
        "whole": 2**70,
        "exact": Decimal("12.50"),
        "day": date(2026, 11, 1),
        "noon": datetime(2026, 11, 1, 12),
        "there": datetime(2026, 11, 1, 12, tzinfo=east),
        "yes": True,
        "raw": memoryview(b"\x00"),
        "id": UUID(int=1),
        "tree": {"b": [1], "a": "é"},
    }
    with TypedRows(tmp_path / "rows.parquet", list(row)) as rows:
        rows.write([tuple(row.values()), (None,) * len(row)])
    table = pq.read_table(tmp_path / "rows.parquet")
    assert table.to_pylist()[0] == row | {
        "whole": 2.0**70,
        "exact": 12.5,
        "there": datetime(2026, 11, 1, 10, tzinfo=UTC),
        "raw": b"\x00",
        "id": str(UUID(int=1)),
        "tree": '{"a": "é", "b": [1]}',
    }
    assert set(table.to_pylist()[1].values()) == {None}
    assert [path.name for path in tmp_path.iterdir()] == ["rows.parquet"]


def test_a_value_is_written_alike_in_whatever_batch_it_is(tmp_path: Path) -> None:
    values: list[Any] = [1, 1.0, 2.5, True, date(2020, 1, 1), datetime(2020, 1, 1), 2**60, "x"]
    spelled = {}
    for size in (1, 3, len(values)):
        with TypedRows(tmp_path / "rows.parquet", ["v"]) as rows:
            for start in range(0, len(values), size):
                rows.write([(value,) for value in values[start : start + size]])
        spelled[size] = pq.read_table(tmp_path / "rows.parquet")["v"].to_pylist()
    assert spelled[1] == spelled[3] == spelled[len(values)]
    assert spelled[1][:4] == ["1", "1", "2.5", "True"]


SCALARS = st.one_of(
    st.none(), st.integers(-9, 9), st.floats(-9, 9, width=32), st.text("ab", max_size=3)
)


@settings(max_examples=30, deadline=None)
@given(batches=st.lists(st.lists(SCALARS, min_size=1, max_size=4), min_size=1, max_size=4))
def test_no_value_is_lost_however_the_batches_fall(
    tmp_path_factory: pytest.TempPathFactory, batches: list[list[Any]]
) -> None:
    path = tmp_path_factory.mktemp("rows") / "rows.parquet"
    with TypedRows(path, ["v"]) as rows:
        for batch in batches:
            rows.write([(value,) for value in batch])
    table, given_values = pq.read_table(path), [value for batch in batches for value in batch]
    got = table["v"].to_pylist()
    assert len(got) == len(given_values)
    for value, found in zip(given_values, got, strict=True):
        assert (found is None) == (value is None)
        if isinstance(value, str):
            assert found == value
        elif value is not None:
            assert float(found) == pytest.approx(value)
