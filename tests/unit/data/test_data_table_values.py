"""Values at the edge of what a type holds, and written otherwise than programs do."""

import datetime
from pathlib import Path

import pytest
from small_tables import HEADER, fields, made, people, quarantined, rows_of
from small_tables import text as written

from modelyard.errors import ParamsError


def test_numbers_may_have_a_decimal_comma_and_parted_thousands(tmp_path: Path) -> None:
    rows = people(60)
    values = ["1.234,5", "1234,5", "-0,25", "7", "1,5e3", "1.5", "12.34,5", "1,2,3", ""]
    for row, text in zip(rows, values, strict=False):
        row[1] = text
    for row in rows[len(values) :]:
        row[1] = row[1].replace(".", ",")
    income = {"decimalChar": ",", "groupChar": "."}
    dataset = made(
        tmp_path,
        written(rows, delimiter=";"),
        schema__fields=fields(income=income),
        dialect={"delimiter": ";"},
        max_rejected=0.1,
    )
    found = rows_of(dataset)
    assert [found[row]["income"] for row in range(5)] == [1234.5, 1234.5, -0.25, 7, 1500]
    assert found[8]["income"] is None
    refused = [(row, value, reason) for row, _, value, reason in quarantined(dataset)]
    assert refused == [(row, values[row], "is not a number") for row in (5, 6, 7)]


def test_far_dates_are_compared_as_they_are_and_others_refused(tmp_path: Path) -> None:
    rows = people(60)
    rows[3][4], rows[4][4], rows[5][4] = "9999-12-31", "1500-01-01", "20024-01-01"
    joined = {"constraints": {"minimum": "1400-01-01"}}
    dataset = made(tmp_path, rows, schema__fields=fields(joined=joined), max_rejected=0.1)
    assert quarantined(dataset) == [
        (5, "joined", "20024-01-01", "is no date of the form YYYY-MM-DD")
    ]
    assert rows_of(dataset)[3]["joined"] == datetime.date(9999, 12, 31)


def test_numbers_beyond_the_exact_ones_are_learned(tmp_path: Path) -> None:
    rows = [[*row, str(2**62 + 2**20 * index + 1)] for index, row in enumerate(people(60))]
    schema = fields(account={"type": "integer"})
    dataset = made(
        tmp_path,
        written(rows, HEADER + ",account"),
        schema__fields=schema,
        target="account",
        task="regression",
        split={"type": "stratify", "column": "account"},
        clean={"outliers": {"policy": "reject"}},
    )
    assert rows_of(dataset)[1]["target"] == float(2**62 + 2**20)


def test_a_mean_of_texts_is_an_error_of_params(tmp_path: Path) -> None:
    kwargs = {"column": "city", "min_value": 1}
    item = {"type": "expect_column_mean_to_be_between", "kwargs": kwargs}
    with pytest.raises(ParamsError, match=r"data\.expectations\.0.* cannot be evaluated"):
        made(tmp_path, people(60), expectations=[item])
