"""Rows that break the contract of a table: each is quarantined with its reason."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from small_tables import (
    cell,
    contract,
    fields,
    made,
    people,
    quarantined,
    rows_of,
    text,
)

from modelyard.artifacts import Layout
from modelyard.data.ingest import ingest
from modelyard.errors import ParamsError

QUARANTINED: dict[str, tuple[Callable[[], bytes], dict[str, Any], tuple[str, str, str]]] = {
    "a word": (cell(7, 0, "twenty"), {}, ("age", "twenty", "is not an integer")),
    "a fraction": (cell(7, 0, "20.5"), {}, ("age", "20.5", "is not an integer")),
    "hexadecimal": (cell(7, 0, "0x1F"), {}, ("age", "0x1F", "is not an integer")),
    "an underscore": (cell(7, 1, "1_000"), {}, ("income", "1_000", "is not a number")),
    "not a number": (cell(7, 1, "NaN"), {}, ("income", "NaN", "is not a number")),
    "infinity": (cell(7, 1, "-inf"), {}, ("income", "-inf", "is not a number")),
    "too large a number": (cell(7, 1, "1e999"), {}, ("income", "1e999", "is not a number")),
    "beyond 64 bits": (
        cell(7, 0, "9223372036854775808"),
        {},
        ("age", "9223372036854775808", "is not an integer"),
    ),
    "below the minimum": (cell(7, 0, "17"), {}, ("age", "17", "is below the minimum 18")),
    "above the maximum": (cell(7, 0, "101"), {}, ("age", "101", "is above the maximum 100")),
    "not in the enum": (cell(7, 5, "ugly"), {}, ("status", "ugly", "is not one of good, bad")),
    "neither true nor false": (
        cell(7, 3, "perhaps"),
        {},
        (
            "member",
            "perhaps",
            "is neither true (true, True, 1, yes) nor false (false, False, 0, no)",
        ),
    ),
    "a date of another form": (
        cell(7, 4, "03/04/2020"),
        {},
        ("joined", "03/04/2020", "is no date of the form YYYY-MM-DD"),
    ),
    "a date that there was not": (
        cell(7, 4, "2023-02-29"),
        {},
        ("joined", "2023-02-29", "is no date of the form YYYY-MM-DD"),
    ),
    "a target that is missing": (cell(7, 5, ""), {}, ("status", "", "the target is missing")),
    "too few columns": (
        lambda: text([row if i != 7 else row[:4] for i, row in enumerate(people())]),
        {},
        ("(row)", "41,346.75,Lima,true", "has 4 columns, not 6"),
    ),
    "too many columns": (
        lambda: text([row if i != 7 else [*row, "?"] for i, row in enumerate(people())]),
        {},
        ("(row)", "41,346.75,Lima,true,2016-05-10,bad,?", "has 7 columns, not 6"),
    ),
    "a quotation mark within": (
        cell(7, 2, '"Li"ma'),
        {},
        ("(row)", '41,346.75,"Li"ma,true,2016-05-10,bad', "has a quotation mark within a value"),
    ),
    "required and missing": (
        cell(7, 2, ""),
        {"schema__fields": fields(city={"constraints": {"required": True}})},
        ("city", "", "is required and missing"),
    ),
    "another pattern": (
        cell(7, 2, "Lima 7"),
        {"schema__fields": fields(city={"constraints": {"pattern": r"\w+"}})},
        ("city", "Lima 7", r"does not match \w+"),
    ),
    "too long": (
        cell(7, 2, "Llanfairpwllgwyngyll"),
        {"schema__fields": fields(city={"constraints": {"maxLength": 12}})},
        ("city", "Llanfairpwllgwyngyll", "is longer than 12 characters"),
    ),
    "a value that is not unique": (
        lambda: cell(7, 1, people()[2][1])(),
        {"schema__fields": fields(income={"constraints": {"unique": True}})},
        ("income", "323.25", "must be unique, and is the value of an earlier row"),
    ),
    "an expectation on rows": (
        cell(7, 1, "-5"),
        {
            "expectations": [
                {
                    "type": "expect_column_values_to_be_between",
                    "kwargs": {"column": "income", "min_value": 0},
                }
            ]
        },
        (
            "income",
            "-5.0",
            "breaks expect_column_values_to_be_between (column income, min_value 0)",
        ),
    ),
    "an outlier": (
        cell(7, 1, "1e9"),
        {"clean": {"outliers": {"policy": "reject"}}},
        ("income", "1000000000.0", "is an outlier"),
    ),
    "a repeated row": (
        lambda: text([row if i != 7 else people()[3] for i, row in enumerate(people())]),
        {"clean": {"duplicates": "drop"}},
        ("(row)", "", "repeats an earlier row"),
    ),
}


@pytest.mark.parametrize("name", QUARANTINED)
def test_a_row_is_quarantined_with_its_reason(tmp_path: Path, name: str) -> None:
    content, changes, (column, value, reason) = QUARANTINED[name]
    dataset = made(tmp_path, content(), **changes)
    ((row, *found),) = quarantined(dataset)
    assert (row, *found[:2]) == (7, column, value)
    assert found[2].startswith(reason)
    assert sorted(rows_of(dataset)) == [index for index in range(40) if index != 7]


def test_dates_and_times_of_a_declared_form(tmp_path: Path) -> None:
    rows = people()
    for row in rows:
        row[4] = ".".join(reversed(row[4].split("-")))
        row[2] = f"2020-01-02T03:04:{row[0]}+02:00"
    rows[3][4] = "2020-03-04"
    schema = fields(
        joined={"format": "%d.%m.%Y", "constraints": {"minimum": "2000-01-01"}},
        city={"type": "datetime"},
        age={"constraints": {"maximum": 59}},
    )
    dataset = made(tmp_path, rows, schema__fields=schema, max_rejected=0.9)
    found = rows_of(dataset)
    assert (3, "joined", "2020-03-04", "is no date of the form %d.%m.%Y") in quarantined(dataset)
    assert found[0]["joined"].isoformat() == people()[0][4]
    assert found[0]["city"].isoformat() == f"2020-01-02T01:04:{rows[0][0]}"
    with pytest.raises(ParamsError, match=r"joined: format '%d.%q' cannot be used"):
        made(tmp_path / "bad", rows, schema__fields=fields(joined={"format": "%d.%q"}))


def test_parquet_types_are_taken_as_what_they_say(tmp_path: Path) -> None:
    table = pa.table(
        {
            "age": pa.array([20.0, 30.5, None, float("nan"), *[40.0] * 36]),
            "income": pa.array([float("inf"), *range(39)], pa.float32()),
            "city": pa.array(["a\0b", *map(str, range(39))]),
            "member": pa.array([0.0, 1.0] * 20),
            "joined": pa.array(
                [1_600_000_000_000_000 // 86_400_000_000 * 86_400_000_000] * 40
            ).cast(pa.timestamp("us")),
            "status": pa.array(["good", "bad"] * 20).dictionary_encode(),
        }
    )
    layout = Layout(tmp_path)
    layout.raw.mkdir(parents=True)
    pq.write_table(table, layout.raw / "people.parquet")
    dataset = ingest(layout, contract(leakage={"target": "allow"}))
    assert quarantined(dataset) == [
        (0, "city", "a\0b", "holds a null byte"),
        (0, "income", "inf", "is not a number"),
        (1, "age", "30.5", "is not an integer"),
    ]
    found = rows_of(dataset)
    assert (found[2]["age"], found[3]["age"], found[4]["age"]) == (None, None, 40)
    assert (found[4]["city"], found[4]["member"], found[5]["member"]) == ("3", False, True)
