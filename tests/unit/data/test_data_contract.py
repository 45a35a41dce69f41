"""The contract over rows: against a plain checker written for the test, on any text."""

from datetime import datetime
from pathlib import Path
from typing import Any

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
from modelyard.data.scalars import Column, check_scalars
from modelyard.data.values import to_integers, to_numbers
from modelyard.errors import DataRejected, ParamsError, SourceError
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
    plain = digits.isascii() and digits.isdigit() and -(2**63) <= int(cell) < 2**63
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
    assert result.payload.tolist() == [pixels[index] for index in good]
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
    assert result.payload.tolist() == [good]
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


def texts(**fields: list[str | None]) -> dict[str, Any]:
    return {name: pa.array(values, pa.string()) for name, values in fields.items()}


def scalars_of(
    fields: list[dict[str, Any]], columns: dict[str, Any], **changes: Any
) -> tuple[dict[str, Column], list[tuple[int, str, str]]]:
    """Check scalar fields beside an image; return columns and (row, field, reason)."""
    section = tree(**changes)
    section["schema"]["fields"] = [section["schema"]["fields"][0], *fields]
    params = DataParams.model_validate(section)
    rows = np.arange(len(next(iter(columns.values()))))
    checked, found = check_scalars(columns, rows, params)
    return checked, [(item.row, item.column, item.reason) for item in found]


LABELLED = {"name": "label", "type": "string"}


def test_every_type_is_stored_as_its_own() -> None:
    fields = [
        LABELLED,
        {"name": "flag", "type": "boolean", "trueValues": ["ja"], "falseValues": ["nein"]},
        {"name": "day", "type": "date", "format": "%d.%m.%Y"},
        {"name": "time", "type": "datetime"},
    ]
    columns = texts(
        label=[" a ", "a", "b"],
        flag=["ja", "", "vielleicht"],
        day=["01.02.2020", "2020-02-01", ""],
        time=["2020-02-01T12:00:00+02:00", "2020-02-01", "noon"],
    )
    checked, found = scalars_of(fields, columns)
    assert checked["label"].array.tolist() == ["a", "a", "b"]
    assert checked["flag"].array.dtype == bool
    assert checked["flag"].array[0]
    assert checked["flag"].null.tolist() == [False, True, False]
    assert checked["day"].array[0] == np.datetime64("2020-02-01")
    assert checked["time"].array[:2].tolist() == [
        datetime(2020, 2, 1, 10),
        datetime(2020, 2, 1),
    ]
    assert found == [
        (2, "flag", "is neither true (ja) nor false (nein)"),
        (1, "day", "is no date of the form %d.%m.%Y"),
        (2, "time", "is no time of the form YYYY-MM-DDThh:mm:ss"),
    ]


@pytest.mark.parametrize(
    ("kind", "constraints", "values", "reasons"),
    [
        ("string", {"minLength": 2}, ["ab", "a", "é"], {1: "is shorter than 2", 2: "is shorter"}),
        ("string", {"maxLength": 2}, ["ab", "abc"], {1: "is longer than 2 characters"}),
        ("category", {"pattern": "[a-z]+"}, ["ab", "a1"], {1: "does not match [a-z]+"}),
        ("date", {"minimum": "2020-01-01"}, ["2020-01-01", "2019-12-31"], {1: "is below the mini"}),
        ("datetime", {"maximum": "2020-01-01"}, ["2020-01-01T00:00:01"], {0: "is above the maxi"}),
        ("boolean", {"enum": ["yes"]}, ["true", "no"], {1: "is not one of yes"}),
        ("date", {"enum": ["2020-01-01"]}, ["2020-01-01", "2020-01-02"], {1: "is not one of"}),
        (
            "number",
            {"required": True},
            ["1", "", "1e400"],
            {1: "is required", 2: "is not a number"},
        ),
    ],
)
def test_every_constraint_is_asked_of_every_value(
    kind: str, constraints: dict[str, Any], values: list[str | None], reasons: dict[int, str]
) -> None:
    fields = [LABELLED, {"name": "x", "type": kind, "constraints": constraints}]
    _, found = scalars_of(fields, texts(label=["a"] * len(values), x=values))
    assert [(row, name) for row, name, _ in found] == [(row, "x") for row in reasons]
    for (_, _, reason), start in zip(found, reasons.values(), strict=True):
        assert reason.startswith(start)


def test_a_bound_that_is_no_date_is_a_mistake_of_the_contract() -> None:
    fields = [LABELLED, {"name": "x", "type": "date", "constraints": {"minimum": "soon"}}]
    with pytest.raises(ParamsError, match=r"fields\.x: its bound 'soon' is no date"):
        scalars_of(fields, texts(label=["a"], x=["2020-01-01"]))


def test_space_around_texts_is_kept_where_it_is_not_trimmed() -> None:
    columns = texts(label=[" a ", "  ", "b"])
    checked, _ = scalars_of([LABELLED], columns, clean={"trim": False})
    assert checked["label"].array.tolist() == [" a ", "", "b"]
    assert checked["label"].null.tolist() == [False, True, False]


def test_a_unique_field_keeps_the_first_row_of_a_value(tmp_path: Path) -> None:
    section = tree()
    key = {"name": "key", "type": "integer", "constraints": {"unique": True}}
    section["schema"]["fields"].append(key)
    params = DataParams.model_validate(section)
    rows = [[*row, value] for row, value in zip(table(5), ["7", "8", "", "7", ""], strict=True)]
    result = checked(tmp_path / "t.csv", rows, params)
    assert result.rows.tolist() == [0, 1, 2, 4]
    assert [(item.row, item.column, item.value, item.reason) for item in result.rejections] == [
        (3, "key", "7", "must be unique, and is the value of row 0")
    ]


def test_repeated_rows_of_a_table_are_dropped_by_their_pixels_and_target(tmp_path: Path) -> None:
    rows = table(4)
    rows += [list(rows[1]), [*rows[2][:LABEL], "3"]]
    assert len(checked(tmp_path / "t.csv", rows, contract()).rows) == 6
    result = checked(tmp_path / "t.csv", rows, contract(clean={"duplicates": "drop"}))
    assert result.rows.tolist() == [0, 1, 2, 3, 5]
    assert [(item.row, item.allowed) for item in result.rejections] == [(4, True)]


INTEGERS = st.one_of(CELLS, st.integers(-(2**70), 2**70).map(str), st.sampled_from(["?", " ? "]))
NUMBERS = st.one_of(INTEGERS, st.floats().map(repr), st.sampled_from(["1_0", ".5", "5.", "1e999"]))


@settings(max_examples=150, deadline=None)
@given(values=st.lists(st.none() | NUMBERS, max_size=8))
def test_columns_are_parsed_as_their_values_one_by_one(values: list[str | None]) -> None:
    column, missing = pa.array(values, pa.string()), ("", "?")
    for convert in (to_integers, to_numbers):
        whole = convert(column, missing)
        for index in range(len(values)):
            # Alone and as an object of another type the value takes the slow way.
            (single,) = convert(column.slice(index, 1).cast(pa.large_string()), missing).array
            assert whole.array[index] == single
    problems = {item.index: item for item in to_integers(column, missing).problems}
    for index, value in enumerate(values):
        gone = value is None or value.strip() in missing
        expected = None if gone else integer(value or "")
        assert (index in problems) == (expected is None)
        assert index not in problems or problems[index].missing == gone


@pytest.mark.parametrize(
    ("array", "expected", "bad"),
    [
        (pa.array([1, None, -3], pa.int8()), [1, 0, -3], [1]),
        (pa.array([2**63, 5], pa.uint64()), [0, 5], [0]),
        (pa.array([1.0, 2.5, float("nan"), float("inf")]), [1, 0, 0, 0], [1, 2, 3]),
        (pa.array([True, False]), [0, 0], [0, 1]),
    ],
)
def test_stored_numbers_are_integers_where_they_are(
    array: Any, expected: list[int], bad: list[int]
) -> None:
    values = to_integers(array, ("",))
    assert values.array.tolist() == expected
    assert [item.index for item in values.problems] == bad
