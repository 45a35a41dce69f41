"""Tables that stop the run as a whole, and the odd ones that do not."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from small_tables import (
    cell,
    contract,
    fields,
    made,
    many,
    nothing_is_left,
    people,
    put,
    text,
)

from modelyard.artifacts import Layout
from modelyard.data.ingest import ingest
from modelyard.errors import DataRejected, ModelyardError, ParamsError


def newest_are_bad() -> bytes:
    rows = people()
    for index, row in enumerate(rows):
        row[4] = f"20{10 + index // 12}-{index % 12 + 1:02d}-01"
        row[5] = "bad" if index > 35 else "good"
    return text(rows)


STOPPED: dict[str, tuple[Callable[[], bytes], dict[str, Any], list[str]]] = {
    "too many rejected": (
        many(0, lambda i: "x" if i < 9 else "30"),
        {},
        ["9 of 40 rows break the contract (22.50%)", "9 x age: is not an integer (first: row 0"],
    ),
    "none left": (many(0, lambda _: "x"), {"max_rejected": 1.0}, ["none of 40 rows is left"]),
    "a missing target where all are asked for": (
        cell(7, 5, ""),
        {"missing_target": "fail"},
        ["1 rows have no 'status', first row 7", "data.missing_target is fail"],
    ),
    "one class": (many(5, lambda _: "good"), {}, ["hold 1 class of 'status' (good)"]),
    "a class with two rows": (
        many(5, lambda i: "bad" if i < 2 else "good"),
        {},
        ["class 'bad' of 'status' has 2 rows", "needs at least 5"],
    ),
    "a class that train does not have": (
        newest_are_bad,
        {"split": {"type": "datetime", "column": "joined"}},
        ["class 'bad' of 'status' has no row in train, of 4 in all"],
    ),
    "a constant column where none may be": (
        many(2, lambda _: "Lima"),
        {"clean": {"constant": "fail"}},
        ["column 'city' has the same value in all rows", "data.clean.constant is fail"],
    ),
    "repeated rows where none may be": (
        lambda: text([*people(), people()[3]]),
        {"clean": {"duplicates": "fail"}},
        ["1 rows repeat earlier ones", "data.clean.duplicates is fail"],
    ),
    "rows of the test in train": (
        lambda: text([*people(), *[[*row[:5], "good"] for row in people()[:20]]]),
        {"split__seed": 1},
        ["rows equal a row of another split in all features", "(train)", "= row"],
    ),
    "a group in two splits": (
        lambda: text(people()),
        {"leakage": {"groups": ["city"]}},
        ["3 values of the group column 'city' stand in more than one split", "'Lima': row"],
    ),
    "the target by another name": (
        many(2, lambda i: ("Oslo", "Lima")[i % 2]),
        {},
        ["the target 'status' is copied into city", "each class for one value"],
    ),
    "the target in another unit": (
        lambda: text([[*row[:2], str(1.8 * float(row[1]) + 32), *row[3:]] for row in people()]),
        {
            "schema__fields": fields(city={"type": "number"}),
            "target": "income",
            "task": "regression",
            "split__column": "income",
        },
        ["the target 'income' is copied into city", "|correlation| above 0.999999"],
    ),
    "a target that is the same in all rows": (
        many(1, lambda _: "7"),
        {"target": "income", "task": "regression", "split": {"type": "hash"}},
        ["the target 'income' has the same value in all 40 rows"],
    ),
    "a value missing in what divides the rows": (
        cell(7, 4, ""),
        {"split": {"type": "datetime", "column": "joined"}},
        ["1 rows have no 'joined', which divides them"],
    ),
    "an unknown part in a fixed split": (
        many(2, lambda i: ("train", "test", "holdout")[i % 3]),
        {"split": {"type": "fixed", "column": "city"}},
        ["'holdout' (13 rows) names no split"],
    ),
    "too few rows": (
        lambda: text(people()),
        {"quality": [{"metric": "rowCount", "mustBeGreaterThan": 40}]},
        ["expect_table_row_count_to_be_between(min_value=41)", "observed 40"],
    ),
    "too many repeated rows": (
        lambda: text([*people(), people()[3], people()[4]]),
        {
            "quality": [{"metric": "duplicateValues", "mustBeLessThan": 2}],
            "leakage": {"rows": "allow"},
        },
        ["expect_column_unique_value_count_to_be_between(column=(row), min_value=41", "40"],
    ),
    "too many missing": (
        many(2, lambda i: "" if i < 10 else ["Lima", "Oslo"][i % 2]),
        {
            "quality": [
                {"metric": "nullValues", "column": "city", "mustBeLessThan": 0.2, "unit": "share"}
            ]
        },
        ["expect_column_proportion_of_non_null_values_to_be_between", "observed 0.75"],
    ),
    "a mean": (
        lambda: text(people()),
        {
            "expectations": [
                {
                    "type": "expect_column_mean_to_be_between",
                    "kwargs": {"column": "age", "max_value": 20},
                }
            ]
        },
        ["expect_column_mean_to_be_between", "data.expectations.0", "observed 4"],
    ),
}


@pytest.mark.parametrize("name", STOPPED)
def test_stops_and_no_dataset_version_appears(tmp_path: Path, name: str) -> None:
    content, changes, expected = STOPPED[name]
    layout = put(tmp_path, content())
    (layout.dataset).mkdir(parents=True)
    with pytest.raises(DataRejected) as caught:
        ingest(layout, contract(**changes), tmp_path / "state")
    for part in expected:
        assert part in caught.value.message
    nothing_is_left(layout)
    assert "Report: state/reports/rejected.html" in caught.value.remedy
    report = (tmp_path / "state/reports/rejected.html").read_text(encoding="utf-8")
    assert "There is no dataset version" in report


def test_all_null_and_constant_columns_are_dropped_and_counted(tmp_path: Path) -> None:
    rows = people()
    for row in rows:
        row[1], row[2] = "", "Lima"
    dataset = made(tmp_path, rows)
    assert [item["name"] for item in dataset.features] == ["age", "member", "joined"]
    html = Layout(tmp_path).data_report.read_text(encoding="utf-8")
    assert "2 constant columns (income, city)" in html


def test_a_class_that_only_validation_and_test_lack_is_fine(tmp_path: Path) -> None:
    rows = people()
    for index, row in enumerate(rows):
        row[2] = "test" if index > 30 else "train"
        row[5] = "bad" if index in (0, 33) else "good"
    dataset = made(tmp_path, rows, split={"type": "fixed", "column": "city"})
    assert dataset.rows == {"train": 28, "validation": 3, "test": 9}
    assert "city" not in [item["name"] for item in dataset.features]


def test_a_hundred_thousand_categories(tmp_path: Path) -> None:
    schema = [{"name": "name", "type": "category"}, {"name": "label", "type": "integer"}]
    rows = [[f"n{index}", str(index % 2)] for index in range(100_000)]
    dataset = made(
        tmp_path,
        text(rows, "name,label"),
        schema__fields=schema,
        target="label",
        split__column="label",
    )
    assert sum(dataset.rows.values()) == 100_000
    with pytest.raises(DataRejected, match="the target 'name' has 100,000 classes"):
        made(
            tmp_path / "target",
            text(rows, "name,label"),
            schema__fields=schema,
            target="name",
            split={"type": "hash"},
        )


def test_an_impossible_expectation_is_an_error_of_params(tmp_path: Path) -> None:
    for expectation, expected in (
        (("expect_column_men_to_be_between", {"column": "age"}), "nearest: expect_column_mean"),
        (("expect_column_mean_to_be_between", {"column": "aeg"}), "nearest: 'age'"),
        (("expect_column_mean_to_be_between", {"column": "age", "minimum": 3}), "minimum"),
        (
            ("expect_column_values_to_be_between", {"column": "city", "min_value": 1}),
            "cannot be evaluated",
        ),
    ):
        kind, kwargs = expectation
        with pytest.raises(ParamsError) as caught:
            made(tmp_path, people(), expectations=[{"type": kind, "kwargs": kwargs}])
        assert expected in caught.value.message
        assert "data.expectations.0" in caught.value.message


def test_reserved_names_are_refused(tmp_path: Path) -> None:
    schema = fields(row={"type": "number", "header": "income"})
    schema = [field for field in schema if field["name"] != "income"]
    with pytest.raises(ModelyardError, match="a feature is called 'row'"):
        made(tmp_path, people(), schema__fields=schema)
