"""What a dataset version holds, from the statistics of its files."""

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from modelyard.runs.describe import contract_changes, null_counts

TABLE = pa.table(
    {
        "photo": pa.FixedSizeListArray.from_arrays(pa.array(range(24), pa.uint8()), 2),
        "city": ["Rome", None] * 6,
        "since.seen": [None, None, 3] * 4,
    }
)
COUNTS = {"city": 6, "since.seen": 8}


@pytest.mark.parametrize("statistics", [True, False, ["city"]])
def test_missing_values_are_counted(tmp_path: Path, statistics: bool | list[str]) -> None:
    path = tmp_path / "rows.parquet"
    pq.write_table(TABLE, path, row_group_size=5, write_statistics=statistics)
    with pq.ParquetFile(path) as file:
        assert null_counts(file, list(COUNTS)) == COUNTS


def test_statistics_alone_are_enough(tmp_path: Path) -> None:
    """Where no page can be read."""
    path = tmp_path / "rows.parquet"
    pq.write_table(TABLE, path)
    content = path.read_bytes()
    footer = 8 + int.from_bytes(content[-8:-4], "little")
    path.write_bytes(b"PAR1" + bytes(len(content) - footer - 4) + content[-footer:])
    with pq.ParquetFile(path) as file:
        assert null_counts(file, list(COUNTS)) == COUNTS


def test_fields_are_compared_by_name() -> None:
    age = {"name": "Age", "type": "number", "constraints": {"minimum": 0}}
    city, height = {"name": "city", "type": "category"}, {"name": "height", "type": "number"}
    before = {"target": "city", "schema": {"rest": "drop", "fields": [age, city]}}
    older = age | {"constraints": {"minimum": 18}}
    after = {"target": "city", "schema": {"rest": "refuse", "fields": [height, older]}}
    assert contract_changes(before, after) == [
        "schema.rest: drop → refuse",
        "- schema.fields.city (category)",
        "+ schema.fields.height (number)",
        "schema.fields.Age.constraints.minimum: 0 → 18",
    ]
    turned = {"target": "city", "schema": {"rest": "drop", "fields": [city, age]}}
    assert contract_changes(before, turned) == ["schema.fields: in another order"]
    assert contract_changes(before, before) == []
