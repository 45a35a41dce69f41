"""The contract over rows: against a plain checker written for the test, on any text."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from data_tables import LABEL, NUM_PIXELS, contract, label_contract, put, table, text, tree
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from modelyard.data.contract import Checked, check
from modelyard.data.readers import read_batches
from modelyard.errors import DataRejected, SourceError
from modelyard.params import DataParams

CELLS = st.one_of(
    st.integers(-300, 300).map(str),
    st.sampled_from(
        ["", " 7 ", "+3", "-0", "1.0", "1e2", "x", "0x10", "٣", "256", "NaN", "9" * 30]
    ),
)


def checked(path: Path, rows: list[list[str]], params: DataParams) -> Checked:
    return check(read_batches(put(path, text(rows)), params), params)


def integer(cell: str) -> int | None:
    """What the contract calls an integer, by Python's own int on ASCII digits."""
    cell = cell.strip()
    digits = cell[1:] if cell[:1] in ("+", "-") else cell
    plain = digits.isascii() and digits.isdigit() and len(digits) < 19
    return int(cell) if plain else None


@settings(max_examples=80, deadline=None)
@given(data=st.data())
def test_accepts_exactly_the_rows_that_fulfil_it(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    rows = table(6)
    for _ in range(data.draw(st.integers(0, 4))):
        row, column = data.draw(st.integers(0, 5)), data.draw(st.integers(0, LABEL))
        rows[row][column] = data.draw(CELLS)
    rows.append(table(7)[6])
    result = checked(tmp_path_factory.mktemp("contract") / "t.csv", rows, contract())
    pixels = [[integer(cell) for cell in row[:LABEL]] for row in rows]
    labels = [integer(row[LABEL]) for row in rows]
    good = [
        index
        for index in range(len(rows))
        if all(value is not None and 0 <= value <= 255 for value in pixels[index])
        and labels[index] in (0, 1, 2, 3)
    ]
    assert result.rows.tolist() == good
    assert result.pixels.tolist() == [pixels[index] for index in good]
    assert result.scalars["label"].array.tolist() == [labels[index] for index in good]
    assert {item.row for item in result.rejections} == set(range(len(rows))) - set(good)
    assert all(item.reason and item.column for item in result.rejections)
    assert result.num_read == len(rows)


@pytest.mark.parametrize(
    ("column", "cell", "place", "reason"),
    [
        (6, "abc", "image[1,2]", "is not an integer"),
        (6, "12.5", "image[1,2]", "is not an integer"),
        (6, "", "image[1,2]", "is missing"),
        (6, "256", "image[1,2]", "is not a pixel from 0 to 255"),
        (6, "-1", "image[1,2]", "is not a pixel from 0 to 255"),
        (LABEL, "four", "label", "is not an integer"),
        (LABEL, "", "label", "the target is missing"),
        (LABEL, "-1", "label", "is below the minimum 0"),
        (LABEL, "9", "label", "is above the maximum 3"),
    ],
)
def test_a_refused_row_names_column_value_and_reason(
    tmp_path: Path, column: int, cell: str, place: str, reason: str
) -> None:
    rows = table(6)
    rows[4][column] = cell
    (item,) = checked(tmp_path / "t.csv", rows, contract()).rejections
    assert (item.row, item.column, item.value, item.reason) == (4, place, cell, reason)


def test_text_and_number_fields_enum_and_optional_values(tmp_path: Path) -> None:
    section = tree()
    section["schema"] = {
        "missingValues": ["", "?"],
        "fields": [
            section["schema"]["fields"][0],
            {"name": "label", "type": "string", "constraints": {"enum": ["cat", "dog"]}},
            {"name": "weight", "type": "number", "constraints": {"minimum": 0.5}},
        ],
    }
    params = DataParams.model_validate(section)
    pixels = table(6)
    extra = [("cat", "1.5"), ("dog", "?"), ("cow", "2"), ("cat", "0.1"), ("?", "1"), ("dog", "nan")]
    rows = [[*row[:LABEL], *cells] for row, cells in zip(pixels, extra, strict=True)]
    result = checked(tmp_path / "t.csv", rows, params)
    assert result.rows.tolist() == [0, 1]
    assert result.scalars["label"].array.tolist() == ["cat", "dog"]
    assert result.scalars["weight"].null.tolist() == [False, True]
    assert [(item.row, item.column, item.reason) for item in result.rejections] == [
        (2, "label", "is not one of cat, dog"),
        (3, "weight", "is below the minimum 0.5"),
        (4, "label", "the target is missing"),
        (5, "weight", "is not a number"),
    ]
    # An optional target may be missing: such a row is left out, and does not count as a violation.
    assert [item.allowed for item in result.rejections] == [False, False, True, False]


def test_a_required_target_that_is_missing_counts(tmp_path: Path) -> None:
    rows = table(4)
    rows[1][LABEL] = ""
    (item,) = checked(tmp_path / "t.csv", rows, contract()).rejections
    assert not item.allowed


def test_missing_target_fail_stops(tmp_path: Path) -> None:
    rows = table(4)
    rows[2][LABEL] = ""
    with pytest.raises(DataRejected, match=r"1 rows have no 'label', first row 2"):
        checked(tmp_path / "t.csv", rows, label_contract({}, missing_target="fail"))


def test_an_open_quotation_mark_stops_the_reading(tmp_path: Path) -> None:
    rows = table(8)
    rows[2][LABEL] = '"1'
    with pytest.raises(SourceError, match=r"row 2, column label: .* runs over several lines"):
        checked(tmp_path / "t.csv", rows, contract())


def test_parquet_lists_of_the_wrong_length_or_with_nulls_are_refused(tmp_path: Path) -> None:
    good = list(range(NUM_PIXELS))
    images = [good, good[:-1], None, [*good[:-1], None], [*good[:-1], 300], good]
    labels = [0.0, 1.0, 2.0, 3.0, 0.0, 1.5]
    pq.write_table(pa.table({"image": images, "label": labels}), tmp_path / "t.parquet")
    result = check(read_batches(tmp_path / "t.parquet", contract()), contract())
    assert result.rows.tolist() == [0]
    assert result.pixels.tolist() == [good]
    assert result.scalars["label"].array.dtype == np.int64
    assert [(item.row, item.column, item.reason) for item in result.rejections] == [
        (1, "image", "has 15 pixels, not 16"),
        (2, "image", "is missing"),
        (3, "image[3,3]", "is missing"),
        (4, "image[3,3]", "is not a pixel from 0 to 255"),
        (5, "label", "is not an integer"),
    ]


@pytest.mark.parametrize(
    ("kind", "constraints", "message"),
    [
        ("string", {"minimum": 1}, "minimum and maximum are for numbers"),
        ("integer", {"enum": ["1"]}, "its enum holds '1'"),
        ("string", {"enum": [1]}, "its enum holds 1"),
    ],
)
def test_constraints_must_fit_the_type(kind: str, constraints: dict, message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        label_contract(constraints, kind)
