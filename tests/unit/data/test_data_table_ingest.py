"""Ingest of tables: the typed dataset that good rows become, byte for byte the same each time."""

import datetime
import gzip
import re
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq
import pytest
from small_tables import FIELDS, HEADER, contract, fields, made, people, put, quarantined, rows_of
from small_tables import text as written

from modelyard.artifacts import SPLITS, Dataset, Layout, read_json
from modelyard.data import ingest_table
from modelyard.data.columns import read_split
from modelyard.data.ingest import REJECTED_REPORT, ingest
from modelyard.data.preprocessing import Preprocessing
from modelyard.errors import DataRejected, ParamsError, SourceError

BAD = {3: (0, "seventeen"), 8: (5, ""), 21: (4, "12.03.2020")}


def spoilt(num_rows: int = 60) -> list[list[str]]:
    rows = people(num_rows)
    for row, (column, value) in BAD.items():
        rows[row][column] = value
    rows[11][1] = rows[12][2] = rows[13][3] = ""
    return rows


@pytest.fixture(scope="module")
def layout(tmp_path_factory: pytest.TempPathFactory) -> Layout:
    """A project whose 60 rows, three of them bad, have been ingested."""
    root = tmp_path_factory.mktemp("table")
    made(root, spoilt(), quality=[{"metric": "rowCount", "mustBeGreaterThan": 10}])
    return Layout(root)


def outputs(layout: Layout) -> dict[str, bytes]:
    folders = ("data/dataset", "reports", "metrics")
    files = [path for name in folders for path in (layout.root / name).rglob("*") if path.is_file()]
    return {str(path.relative_to(layout.root)): path.read_bytes() for path in files}


def test_every_accepted_row_is_in_one_split_typed_as_it_was(layout: Layout) -> None:
    dataset = Dataset.read(layout.dataset)
    found = rows_of(dataset)
    assert sorted(found) == [row for row in range(60) if row not in BAD]
    for row, (age, income, city, member, joined, status) in enumerate(spoilt()):
        if row not in BAD:
            assert found[row]["age"] == int(age)
            assert found[row]["income"] == (float(income) if income else None)
            assert found[row]["city"] == (city or None)
            assert found[row]["member"] == (member == "true" if member else None)
            assert found[row]["joined"] == datetime.date.fromisoformat(joined)
            assert dataset.labels[found[row]["target"]] == status
    assert dataset.rows == {"train": 35, "validation": 11, "test": 11}
    schema = pq.read_schema(dataset.split("train"))
    types = [pa.int64(), pa.int64(), pa.float64(), pa.string(), pa.bool_(), pa.date32(), pa.int64()]
    assert schema.types == types


def test_refused_rows_are_in_quarantine_with_their_reason(layout: Layout) -> None:
    assert quarantined(Dataset.read(layout.dataset)) == [
        (3, "age", "seventeen", "is not an integer"),
        (8, "status", "", "the target is missing"),
        (21, "joined", "12.03.2020", "is no date of the form YYYY-MM-DD"),
    ]


def test_describes_itself(layout: Layout) -> None:
    described = read_json(layout.dataset / "dataset.json")
    assert described["labels"] == ["bad", "good"]
    assert described["features"] == [
        {"name": "age", "type": "integer", "minimum": 18.0, "maximum": 100.0},
        {"name": "income", "type": "number"},
        {"name": "city", "type": "category"},
        {"name": "member", "type": "boolean"},
        {"name": "joined", "type": "date"},
    ]
    assert (described["kind"], described["num_rejected"]) == ("tabular", 3)
    metrics = read_json(layout.metrics("ingest"))
    assert metrics["rows"]["read"] == 60
    assert metrics["rows"]["accepted"] == 57
    profile = read_json(layout.dataset / "profile.json")["columns"]
    assert profile["income"]["missing"] == pytest.approx(1 / 57)
    assert profile["city"]["values"][0][1] >= profile["city"]["values"][1][1]
    assert sum(profile["age"]["histogram"]) == 57
    verdicts = read_json(layout.dataset / "validation.json")
    assert verdicts["success"]
    assert {"data.quality.0", "data.schema.fields.age"} <= {
        item["origin"] for item in verdicts["expectations"]
    }


def test_the_columns_go_through_preprocessing(layout: Layout) -> None:
    dataset = Dataset.read(layout.dataset)
    columns = read_split(dataset, "validation")
    fitted = Preprocessing.read(layout.dataset / "preprocessing.json")
    features = fitted.transform(columns.features)
    assert features.shape == (11, *fitted.input_shape)
    assert np.isfinite(features).all()


def test_again_and_elsewhere_it_is_the_same_bytes(
    layout: Layout, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = outputs(layout)
    quality = [{"metric": "rowCount", "mustBeGreaterThan": 10}]
    made(tmp_path / "again", spoilt(), quality=quality)
    assert outputs(Layout(tmp_path / "again")) == before
    assert str(layout.root).encode() not in b"".join(before.values())
    # However the rows are cut into shards, and whether another process validates them.
    monkeypatch.setattr(ingest_table, "SHARD_ROWS", 7)
    made(tmp_path / "shards", spoilt(), quality=quality)
    assert outputs(Layout(tmp_path / "shards")) == before


def test_the_report_is_one_offline_file(layout: Layout) -> None:
    html = layout.data_report.read_text(encoding="utf-8")
    for part in ("rows accepted", "seventeen", "is not an integer", "<svg", "Århus", "mean"):
        assert part in html
    assert not re.search(r"https?://|<script|<link|@import", html)


def test_order_is_kept_by_all_threads(tmp_path: Path) -> None:
    num_rows = 300_000
    numbers = np.arange(num_rows)
    table = pa.table(
        {
            "number": numbers,
            "letter": pa.array(np.array(list("abcdefgh"))[numbers % 8]),
            "label": pa.array(np.array(["x", "y"])[numbers % 3 % 2]),
        }
    )
    layout = Layout(tmp_path)
    layout.raw.mkdir(parents=True)
    pa_csv.write_csv(table, layout.raw / "many.csv")
    schema = [
        {"name": "number", "type": "integer", "constraints": {"unique": True}},
        # Enough values for DuckDB to think of a join, in which the order would be lost.
        {"name": "letter", "type": "category", "constraints": {"enum": list("abcdefgh")}},
        {"name": "label", "type": "category", "constraints": {"enum": list("xyzuvw")}},
    ]
    params = contract(schema__fields=schema, target="label", split__column="label")
    dataset = ingest(layout, params)
    for split in SPLITS:
        found = pq.read_table(dataset.split(split), columns=["row", "number"])
        assert found["row"].equals(found["number"])


@pytest.mark.parametrize("ending", ["csv.gz", "tsv", "parquet", "several"])
def test_the_same_rows_from_other_formats(layout: Layout, tmp_path: Path, ending: str) -> None:
    rows = [row for index, row in enumerate(people(60))]
    plain = made(tmp_path / "plain", rows)
    root, changes = tmp_path / "other", {}
    if ending == "csv.gz":
        other = made(root, gzip.compress(written(rows)), "people.csv.gz")
    elif ending == "tsv":
        changes = {"dialect": {"delimiter": "\t"}}
        other = made(root, written(rows, delimiter="\t"), "people.tsv", **changes)
    elif ending == "parquet":
        table = pa_csv.read_csv(pa.BufferReader(written(rows)))
        place = Layout(root).raw / "people.parquet"
        place.parent.mkdir(parents=True)
        pq.write_table(table, place)
        other = ingest(Layout(root), contract())
    else:
        columns = HEADER.split(",")
        turned = [list(reversed(row)) for row in rows[25:]]
        put(root, written(turned, ",".join(reversed(columns))), "b.csv")
        other = made(root, rows[:25], "a.csv")
    assert other.digest == plain.digest


def test_without_a_header_fields_stand_in_their_order(tmp_path: Path) -> None:
    rows = people(40)
    plain = made(tmp_path / "plain", rows)
    bare = made(tmp_path / "bare", written(rows, header=None), dialect={"header": False})
    assert bare.digest == plain.digest


def test_several_shards_and_rest_infer(tmp_path: Path) -> None:
    rows = [
        [*row, str(index), f"{index}.5", "yes", "x" * (index % 5)]
        for index, row in enumerate(people(40))
    ]
    content = written(rows, HEADER + ",a number,half,sure,word")
    dataset = made(tmp_path, content, schema__rest="infer")
    types = {item["name"]: item["type"] for item in dataset.features}
    assert types == {field["name"]: field["type"] for field in FIELDS[:-1]} | {
        "a number": "integer",
        "half": "number",
        "word": "category",
    }
    metrics = read_json(Layout(tmp_path).metrics("ingest"))
    assert metrics["cleaned"]["constant"] == ["sure"]
    with pytest.raises(SourceError, match="no field names 'a number', 'half', 'sure', 'word'"):
        made(tmp_path / "refuse", content)
    dropped = made(tmp_path / "drop", content, schema__rest="drop")
    assert [item["name"] for item in dropped.features] == [field["name"] for field in FIELDS[:-1]]


def test_regression_and_multi_label_targets(tmp_path: Path) -> None:
    rows = people(60)
    regression = made(
        tmp_path / "regression", rows, target="income", task="regression", split__column="income"
    )
    assert regression.labels == ()
    assert pq.read_schema(regression.split("train")).field("target").type == pa.float64()
    expected = {row: float(item[1]) for row, item in enumerate(rows)}
    assert {row: item["target"] for row, item in rows_of(regression).items()} == expected
    for index, row in enumerate(rows):
        row[2] = ("a|b", "b", "c | a", "", "c")[index % 5]
    tags = made(
        tmp_path / "tags",
        rows,
        schema__fields=fields(city={"separator": "|"}),
        target="city",
        task="multi-label",
        split={"type": "hash"},
    )
    assert tags.labels == ("a", "b", "c")
    found = rows_of(tags)
    assert [found[row]["target"] for row in range(4)] == [
        [1, 1, 0],
        [0, 1, 0],
        [1, 0, 1],
        [0, 0, 0],
    ]


def test_pii_is_never_shown_nor_stored(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [[*row, f"secret-{index % 50}@example.org"] for index, row in enumerate(people(60))]
    rows[5][0] = "old"
    rows[7][6] = ""
    rows[9].append("secret-9@example.org")
    content = written(rows, HEADER + ",mail")
    mail = {
        "type": "string",
        "pii": True,
        "sensitive": True,
        "constraints": {"required": True, "unique": True, "pattern": ".*@.*"},
    }
    changes = {"schema__fields": fields(mail=mail), "max_rejected": 0.5}
    dataset = made(tmp_path / "tokens", content, **changes)
    found = {(row, column): (value, reason) for row, column, value, reason in quarantined(dataset)}
    assert found[7, "mail"] == ("(pii)", "is required and missing")
    assert found[9, "(row)"] == ("(pii)", "has 8 columns, not 7")
    assert found[50, "mail"] == ("(pii)", "must be unique, and is the value of an earlier row")
    assert found[5, "age"] == ("old", "is not an integer")
    everything = b"".join(
        path.read_bytes()
        for path in (tmp_path / "tokens").rglob("*")
        if path.is_file() and "data/raw" not in str(path)
    )
    assert b"secret" not in everything
    table = pq.read_table(dataset.split("train"))
    assert len(set(table["mail"].to_pylist())) == table.num_rows
    assert "secret" not in str(table["mail"].to_pylist())
    dropped = made(tmp_path / "dropped", content, **changes, pii="drop")
    assert "mail" not in pq.read_schema(dropped.split("train")).names
    rows[7][6] = "secret-7@example.org"
    grouped = made(
        tmp_path / "grouped",
        written(rows, HEADER + ",mail"),
        max_rejected=0.5,
        schema__fields=fields(mail=mail | {"constraints": {}}),
        pii="drop",
        split={"type": "group", "column": "mail", "probabilities": [0.6, 0.2, 0.2]},
        leakage__groups=["mail"],
    )
    found = rows_of(grouped)
    assert all(found[row]["split"] == found[row + 50]["split"] for row in (0, 1, 2))
    with pytest.raises(ParamsError, match="there is no column 'mail'"):
        made(
            tmp_path / "gone",
            content,
            **changes,
            pii="drop",
            expectations=[
                {"type": "expect_column_values_to_not_be_null", "kwargs": {"column": "mail"}}
            ],
        )


def test_a_folder_of_texts(tmp_path: Path) -> None:
    layout = Layout(tmp_path)
    for index in range(60):
        label = ("neg", "pos")[index % 2]
        place = layout.raw / label / f"{index:03d}.txt"
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(f"review {index} of a {label} kind, ünique\nwith lines", encoding="utf-8")
    (layout.raw / "neg" / "900.txt").write_bytes(b"\xff\xfe bad \xff")
    (layout.raw / "pos" / "901.txt").write_bytes(b"   \n")
    schema = [{"name": "text", "type": "text"}, {"name": "label", "type": "category"}]
    params = contract(
        kind="text",
        source="reviews/{label}/*.txt",
        schema__fields=schema,
        target="label",
        split__column="label",
    )
    dataset = ingest(layout, params)
    assert dataset.labels == ("neg", "pos")
    assert [item[1:] for item in quarantined(dataset)] == [
        ("text", "neg/900.txt", "is not UTF-8 text"),
        ("text", "   \n", "is required and missing"),
    ]
    found = rows_of(dataset)
    assert len(found) == 60
    assert found[0]["text"] == "review 0 of a neg kind, ünique\nwith lines"


def test_long_and_odd_texts_in_a_table(tmp_path: Path) -> None:
    texts = [f"text {index} " + "é漢" * (index * 40) for index in range(40)]
    texts[3] = "x" * 1_500_000
    texts[4] = 'line\nbreaks, "quotes" and, commas'
    rows = [
        ['"' + text.replace('"', '""') + '"', str(index % 2)] for index, text in enumerate(texts)
    ]
    schema = [{"name": "text", "type": "text"}, {"name": "label", "type": "integer"}]
    dataset = made(
        tmp_path,
        written(rows, "text,label"),
        kind="text",
        schema__fields=schema,
        target="label",
        split__column="label",
    )
    found = rows_of(dataset)
    assert [found[row]["text"] for row in range(40)] == [text.strip() for text in texts]
    assert dataset.labels == ("0", "1")


def test_rejected_data_leave_a_report_and_nothing_else(tmp_path: Path) -> None:
    rows = people(40)
    for row in rows[:12]:
        row[0] = "<b>"
    layout = put(tmp_path, rows)
    with pytest.raises(
        DataRejected, match=r"12 of 40 rows break the contract \(30.00%\)"
    ) as caught:
        ingest(layout, contract(), tmp_path / "state")
    assert "12 x age: is not an integer (first: row 0, value '<b>')" in caught.value.message
    html = (tmp_path / "state" / REJECTED_REPORT).read_text(encoding="utf-8")
    assert "&lt;b&gt;" in html
    assert outputs(layout) == {}
    assert sorted(path.name for path in (tmp_path / "data").iterdir()) == ["raw"]
