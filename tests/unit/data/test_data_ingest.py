"""Ingest: the dataset version that good rows become, byte for byte the same each time, or none."""

import re
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from data_tables import LABEL, contract, label_contract, outputs, put, put_raw, table

from modelyard.artifacts import SPLITS, Dataset, Layout, read_json
from modelyard.data.columns import read_split
from modelyard.data.ingest import ingest
from modelyard.data.preprocessing import Preprocessing
from modelyard.errors import SourceError, WorkspaceError

ROW_COUNT = {"metric": "rowCount", "mustBeGreaterThan": 10}


@pytest.fixture(scope="module")
def layout(tmp_path_factory: pytest.TempPathFactory) -> Layout:
    """A project whose 60 rows, two of them bad, have been ingested."""
    rows = table(60)
    rows[7][2] = "seven"
    rows[21][LABEL] = "9"
    layout = put_raw(tmp_path_factory.mktemp("ingested"), rows)
    ingest(layout, contract(quality=[ROW_COUNT]))
    return layout


def test_every_accepted_row_is_in_one_split_as_it_was(layout: Layout) -> None:
    dataset = Dataset.read(layout.dataset)
    source = table(60)
    seen: list[int] = []
    for name in SPLITS:
        columns = read_split(dataset, name)
        assert columns.features["image"].shape == (dataset.rows[name], 4, 4)
        assert columns.features["image"].dtype == np.uint8
        assert (columns.rows.dtype, columns.targets.dtype) == (np.int64, np.int64)
        for row, image, target in zip(
            columns.rows, columns.features["image"], columns.targets, strict=True
        ):
            assert [str(pixel) for pixel in image.ravel()] == source[row][:LABEL]
            assert dataset.labels[target] == source[row][LABEL]
        assert set(columns.targets.tolist()) == {0, 1, 2, 3}
        seen += columns.rows.tolist()
    assert sorted(seen) == [row for row in range(60) if row not in (7, 21)]
    assert dataset.rows == {"train": 34, "validation": 12, "test": 12}


def test_refused_rows_are_in_quarantine_with_their_reason(layout: Layout) -> None:
    table = pq.read_table(layout.dataset / "quarantine.parquet")
    assert table.to_pylist() == [
        {"row": 7, "column": "image[0,2]", "value": "seven", "reason": "is not an integer"},
        {"row": 21, "column": "label", "value": "9", "reason": "is above the maximum 3"},
    ]


def test_describes_itself(layout: Layout) -> None:
    tree = read_json(layout.dataset / "dataset.json")
    image = {"name": "image", "type": "image", "height": 4, "width": 4, "channels": 1}
    image |= {"fit": "refuse"}
    image["fit"] = "refuse"
    assert tree["labels"] == ["0", "1", "2", "3"]
    assert tree["features"] == [image]
    assert (tree["task"], tree["target"], tree["num_rejected"]) == ("classification", "label", 2)
    assert (tree["kind"], tree["license"]) == ("image", "CC0-1.0")
    assert all(re.fullmatch("[0-9a-f]{64}", tree[key]) for key in ("digest", "source_sha256"))
    metrics = read_json(layout.metrics("ingest"))
    assert metrics["rows"] == {
        "read": 60,
        "accepted": 58,
        "rejected": 2,
        "train": 34,
        "validation": 12,
        "test": 12,
    }
    assert metrics["digest"] == tree["digest"]
    verdicts = read_json(layout.dataset / "validation.json")
    assert verdicts["success"]
    assert verdicts["passed"] == len(verdicts["expectations"]) == metrics["expectations"]["passed"]
    assert any(item["origin"] == "data.quality.0" for item in verdicts["expectations"])


def test_preprocessing_is_fitted_on_train_alone(layout: Layout) -> None:
    dataset, params = Dataset.read(layout.dataset), contract()
    fitted = Preprocessing.read(layout.dataset / "preprocessing.json")
    assert fitted == Preprocessing.fit(
        dataset.split("train"), dataset.features, params.task, params.prepare, params.clean
    )


def test_again_and_elsewhere_it_is_the_same_bytes(layout: Layout, tmp_path: Path) -> None:
    elsewhere = Layout(tmp_path / "another/place")
    (raw,) = layout.raw.iterdir()
    put(elsewhere.raw / raw.name, raw.read_bytes())
    put(elsewhere.dataset / "left_over.parquet", b"old")
    before = outputs(layout)
    ingest(elsewhere, contract(quality=[ROW_COUNT]))
    assert outputs(elsewhere) == before
    assert str(layout.root).encode() not in b"".join(before.values())


def test_what_is_learned_from_changes_the_digest(layout: Layout, tmp_path: Path) -> None:
    (raw,) = layout.raw.iterdir()
    put(tmp_path / "data/raw/digits.csv", raw.read_bytes())
    section = {"column": "label", "probabilities": [0.6, 0.2, 0.2], "seed": 1}
    other = ingest(Layout(tmp_path), contract(split=section))
    assert other.digest != Dataset.read(layout.dataset).digest


def test_the_report_is_one_offline_file(layout: Layout) -> None:
    html = layout.data_report.read_text(encoding="utf-8")
    for part in ("rows accepted", "expect_table_row_count_to_be_between", "image[0,2]", "seven"):
        assert part in html
    assert html.count("data:image/png;base64,") == 4
    assert not re.search(r"https?://|<script|<link|@import", html)


def test_text_from_the_data_is_escaped_in_the_report(tmp_path: Path) -> None:
    rows = table(40)
    rows[3][LABEL] = "<img src=x>"
    layout = put_raw(tmp_path, rows)
    ingest(layout, contract())
    html = layout.data_report.read_text(encoding="utf-8")
    assert "<img src=x>" not in html
    assert "&lt;img src=x&gt;" in html


def test_without_a_fetched_file_it_says_to_fetch(tmp_path: Path) -> None:
    put(Layout(tmp_path).dataset / "left_over.parquet", b"old")
    with pytest.raises(SourceError, match="holds nothing") as caught:
        ingest(Layout(tmp_path), contract())
    assert "fetch" in caught.value.remedy
    assert outputs(Layout(tmp_path)) == {}


def test_a_full_disk_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    layout = put_raw(tmp_path, table(40))

    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("modelyard.data.ingest.write_json", full)
    with pytest.raises(WorkspaceError, match="no space left"):
        ingest(layout, contract())
    assert outputs(layout) == {}
    assert sorted(path.name for path in (tmp_path / "data").iterdir()) == ["raw"]


def test_colour_images_have_three_channels(tmp_path: Path) -> None:
    fields = [
        {"name": "image", "type": "image", "height": 2, "width": 2, "channels": 3},
        {"name": "label", "type": "string"},
    ]
    rows = [[*row[:12], "ab"[index % 2]] for index, row in enumerate(table(20))]
    layout = put_raw(tmp_path, rows)
    dataset = ingest(layout, contract(schema={"fields": fields}))
    assert dataset.labels == ("a", "b")
    assert read_split(dataset, "test").features["image"].shape == (4, 2, 2, 3)
    assert layout.data_report.exists()


def test_integer_classes_are_in_the_order_of_numbers(tmp_path: Path) -> None:
    rows = [[*row[:LABEL], str(2 + 8 * (index % 2))] for index, row in enumerate(table(20))]
    dataset = ingest(put_raw(tmp_path, rows), label_contract({}))
    assert dataset.labels == ("2", "10")


def test_a_damaged_split_is_named(layout: Layout, tmp_path: Path) -> None:
    for path in layout.dataset.iterdir():
        put(tmp_path / path.name, path.read_bytes())
    dataset = Dataset.read(tmp_path)
    (tmp_path / "test.parquet").write_bytes((tmp_path / "train.parquet").read_bytes())
    with pytest.raises(WorkspaceError, match=r"test.parquet has 34 rows, dataset.json says 12"):
        read_split(dataset, "test")
    (tmp_path / "train.parquet").write_bytes(b"PAR1")
    with pytest.raises(WorkspaceError, match=r"train.parquet of the dataset cannot be read"):
        read_split(dataset, "train")
