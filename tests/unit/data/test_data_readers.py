"""Reading packed tables: what is read, what is set aside, and what stops the reading."""

import gzip
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from data_tables import NUM_PIXELS, contract, put, table, text, tree
from hypothesis import given, settings
from hypothesis import strategies as st

from modelyard.data.readers import read_batches
from modelyard.errors import SourceError
from modelyard.params import DataParams

HEADER = [f"p{index}" for index in range(NUM_PIXELS)] + ["label"]
WITH_HEADER = {"dialect": {"delimiter": ",", "header": True}}


def read(path: Path, params: DataParams) -> tuple[list[int], list[str], list[int]]:
    """Row numbers, labels, and the numbers of the rows set aside."""
    batches = list(read_batches(path, params))
    rows = [int(row) for batch in batches for row in batch.rows]
    labels = [
        str(value)
        for batch in batches
        if batch.columns
        for value in batch.columns["label"][0].to_pylist()
    ]
    return rows, labels, [item.row for batch in batches for item in batch.rejections]


@pytest.mark.parametrize("name", ["t.csv", "t.csv.gz", "t.tsv", "T.CSV"])
def test_reads_every_row_in_order(tmp_path: Path, name: str) -> None:
    rows = table(10)
    delimiter = "\t" if ".tsv" in name else ","
    content = text(rows, delimiter)
    path = put(tmp_path / name, gzip.compress(content) if name.endswith(".gz") else content)
    params = contract(dialect={"delimiter": delimiter, "header": False})
    assert read(path, params) == (list(range(10)), [row[-1] for row in rows], [])


def test_a_byte_order_mark_windows_line_ends_and_empty_lines_are_harmless(tmp_path: Path) -> None:
    content = b"\xef\xbb\xbf" + text(table(4)).replace(b"\n", b"\r\n") + b"\r\n\r\n"
    path = put(tmp_path / "t.csv", content)
    assert read(path, contract()) == ([0, 1, 2, 3], ["0", "1", "2", "3"], [])


@settings(max_examples=60, deadline=None)
@given(st.lists(st.sampled_from(["good", "short", "long"]), min_size=1, max_size=30))
def test_ragged_rows_are_set_aside_and_the_others_keep_their_numbers(
    tmp_path_factory: pytest.TempPathFactory, kinds: list[str]
) -> None:
    kinds = [*kinds, "good"] if "good" not in kinds[:20] else kinds
    kinds = kinds if "good" in kinds[:20] else ["good", *kinds]
    change = {
        "good": lambda row: row,
        "short": lambda row: row[1:],
        "long": lambda row: [*row, "7"],
    }
    rows = [change[kind](row) for kind, row in zip(kinds, table(len(kinds)), strict=True)]
    path = put(tmp_path_factory.mktemp("ragged") / "t.csv", text(rows))
    good = [index for index, kind in enumerate(kinds) if kind == "good"]
    bad = [index for index, kind in enumerate(kinds) if kind != "good"]
    assert read(path, contract()) == (good, [str(index % 4) for index in good], bad)


def test_a_ragged_row_says_what_it_has(tmp_path: Path) -> None:
    rows = table(5)
    rows[3] = rows[3][:-1]
    (batch,) = read_batches(put(tmp_path / "t.csv", text(rows)), contract())
    assert [(item.row, item.reason) for item in batch.rejections] == [(3, "has 16 columns, not 17")]


def test_a_ragged_row_with_personal_data_is_not_shown(tmp_path: Path) -> None:
    section = tree()
    section["schema"]["fields"][1] |= {"pii": True, "constraints": {}}
    section |= {"target": "site", "split": {"type": "hash"}}
    section["schema"]["fields"].append({"name": "site", "type": "string"})
    rows = [[*row, "a"] for row in table(5)]
    rows[3] = rows[3][:-1]
    path = put(tmp_path / "t.csv", text(rows))
    (batch,) = read_batches(path, DataParams.model_validate(section))
    assert [(item.row, item.value) for item in batch.rejections] == [(3, "(pii)")]


def test_a_header_finds_the_fields_by_name_and_gives_the_image_the_rest(tmp_path: Path) -> None:
    rows = [["label", *HEADER[:-1]]] + [[row[-1], *row[:-1]] for row in table(4)]
    (batch,) = read_batches(put(tmp_path / "t.csv", text(rows)), contract(**WITH_HEADER))
    assert batch.columns["label"][0].to_pylist() == ["0", "1", "2", "3"]
    assert [column.to_pylist()[2] for column in batch.columns["image"]] == table(4)[2][:-1]
    assert batch.rows.tolist() == [0, 1, 2, 3]


def test_ragged_rows_are_numbered_after_the_header(tmp_path: Path) -> None:
    rows = [HEADER, *table(4)]
    rows[2] = rows[2][:-1]
    path = put(tmp_path / "t.csv", text(rows))
    assert read(path, contract(**WITH_HEADER)) == ([0, 2, 3], ["0", "2", "3"], [1])


def test_the_dialect_names_encoding_quotes_and_lines_to_skip(tmp_path: Path) -> None:
    section = tree(dialect={"header": False, "encoding": "utf-16", "quoteChar": "'", "skipRows": 2})
    section["schema"]["fields"][1]["type"] = "string"
    section["schema"]["fields"][1]["constraints"] = {}
    params = DataParams.model_validate(section)
    rows = [[*row[:-1], "'größe, klein'"] for row in table(3)]
    rows[1] = rows[1][1:]
    content = "written by a scale\n1\n".encode("utf-16") + text(rows).decode().encode("utf-16-le")
    path = put(tmp_path / "t.csv", content)
    assert read(path, params) == ([0, 2], ["größe, klein"] * 2, [1])
    latin = params.model_copy(
        update={
            "dialect": params.dialect.model_copy(update={"encoding": "latin-1", "skip_rows": 0})
        }
    )
    put(path, text(rows).decode().encode("latin-1"))
    assert read(path, latin) == ([0, 2], ["größe, klein"] * 2, [1])


def utf16(rows: list[list[str]]) -> bytes:
    return text(rows).decode().encode("utf-16")


REFUSED: list[tuple[str, dict[str, Any], bytes, list[str]]] = [
    ("t.csv", {}, b"", ["t.csv holds no rows"]),
    ("t.csv", {}, b"\n\n\n", ["t.csv holds no rows"]),
    ("t.csv", WITH_HEADER, text([HEADER]), ["no rows after its header"]),
    ("t.csv", {}, text(table(5), ";"), ["row 0 has 1 columns", "semicolon", "delimiter: ';'"]),
    ("t.csv", {}, text(table(5), "\t"), ["at a tab it has 17"]),
    ("t.csv", {}, text([row[3:] for row in table(5)]), ["14 columns, the schema needs 17"]),
    ("t.csv", {}, text([HEADER, *table(5)]), ["holds names (p0", "data.dialect.header: true"]),
    ("t.csv", WITH_HEADER, text(table(5)), ["holds numbers", "data.dialect.header: false"]),
    (
        "t.csv",
        WITH_HEADER,
        text([[*HEADER[:-1], "Label"], *table(5)]),
        ["there is no column 'label'", "Did you mean 'Label'?"],
    ),
    (
        "t.csv",
        WITH_HEADER,
        text([[*HEADER[:-2], "label", "label"], *table(5)]),
        ["2 columns are called 'label'"],
    ),
    (
        "t.csv",
        WITH_HEADER,
        text([[*HEADER, "extra"]] + [[*row, "1"] for row in table(5)]),
        ["17 columns are left for the image", "4 x 4 x 1 = 16"],
    ),
    (
        "t.csv",
        {},
        utf16(table(5)),
        ["is UTF-16 text, not UTF-8", "Set data.dialect.encoding: utf-16"],
    ),
    ("t.csv", {}, gzip.compress(text(table(5))), ["t.csv is gzipped", ".gz"]),
    ("t.csv.gz", {}, text(table(5)), ["no gzip file"]),
    ("t.csv.gz", {}, gzip.compress(text(table(900)))[:-900], ["cut off"]),
    ("t.xlsx", {}, b"PK", ["files of this kind are not read", ".csv.gz"]),
    ("t.parquet", {}, b"not parquet at all", ["cannot be read as Parquet"]),
]


@pytest.mark.parametrize(("name", "changes", "content", "expected"), REFUSED)
def test_refuses_and_says_what_to_change(
    tmp_path: Path, name: str, changes: dict[str, Any], content: bytes, expected: list[str]
) -> None:
    path = put(tmp_path / name, content)
    with pytest.raises(SourceError) as caught:
        list(read_batches(path, contract(**changes)))
    for part in (name, *expected):
        assert part in str(caught.value)
    assert caught.value.remedy


def test_a_bad_byte_is_placed_by_row_and_column(tmp_path: Path) -> None:
    rows = table(4000)
    rows[3210][5] = "\x01"
    path = put(tmp_path / "t.csv", text(rows).replace(b"\x01", b"\xff"))
    with pytest.raises(SourceError, match="row 3210, column 5 is not UTF-8 text"):
        list(read_batches(path, contract()))


def test_parquet_holds_the_image_as_a_list_or_as_columns(tmp_path: Path) -> None:
    pixels = np.arange(3 * NUM_PIXELS, dtype=np.uint8).reshape(3, NUM_PIXELS)
    as_list = pa.table({"label": [2, 0, 1], "image": pixels.tolist()})
    columns = {f"p{index}": pixels[:, index] for index in range(NUM_PIXELS)}
    as_columns = pa.table({"label": [2, 0, 1], **columns})
    for name, written in (("list.parquet", as_list), ("columns.parquet", as_columns)):
        pq.write_table(written, tmp_path / name)
        (batch,) = read_batches(tmp_path / name, contract())
        assert batch.columns["label"][0].to_pylist() == [2, 0, 1]
        assert len(batch.columns["image"]) == (1 if name.startswith("list") else NUM_PIXELS)
        assert batch.rows.tolist() == [0, 1, 2]


def test_parquet_refuses_other_columns_and_no_rows(tmp_path: Path) -> None:
    image = [[0] * NUM_PIXELS]
    pq.write_table(pa.table({"image": image, "label": [1], "x": [1]}), tmp_path / "extra.parquet")
    with pytest.raises(SourceError, match="the column 'x' is no field"):
        list(read_batches(tmp_path / "extra.parquet", contract()))
    pq.write_table(pa.table({"image": image, "label": [1]}).slice(0, 0), tmp_path / "no.parquet")
    with pytest.raises(SourceError, match="holds no rows"):
        list(read_batches(tmp_path / "no.parquet", contract()))
    pq.write_table(pa.table({"image": ["a"], "label": [1]}), tmp_path / "text.parquet")
    with pytest.raises(SourceError, match="holds string, not lists of pixels"):
        list(read_batches(tmp_path / "text.parquet", contract()))


def test_missing_values_do_not_hide_a_header(tmp_path: Path) -> None:
    section = tree()
    section["schema"]["missingValues"] = ["?"]
    rows = [["?"] * (NUM_PIXELS + 1), *table(4)]
    path = put(tmp_path / "t.csv", text(rows))
    assert read(path, DataParams.model_validate(section))[0] == [0, 1, 2, 3, 4]
