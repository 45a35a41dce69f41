"""Tables that are not what the contract says: each outcome as stated, and nothing half-written."""

import gzip
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from small_tables import HEADER, contract, fields, made, people, put, quarantined, rows_of, text

from modelyard.artifacts import Layout
from modelyard.data.ingest import ingest
from modelyard.errors import DataRejected, ModelyardError, ParamsError, SourceError

Rows = list[list[str]]


def cell(row: int, column: int, value: str) -> Callable[[], bytes]:
    def content() -> bytes:
        rows = people()
        rows[row][column] = value
        return text(rows)

    return content


def many(column: int, values: Callable[[int], str]) -> Callable[[], bytes]:
    def content() -> bytes:
        rows = people()
        for index, row in enumerate(rows):
            row[column] = values(index)
        return text(rows)

    return content


def renamed() -> bytes:
    return text(people(), HEADER.replace("income", "incomes"))


def newest_are_bad() -> bytes:
    rows = people()
    for index, row in enumerate(rows):
        row[4] = f"20{10 + index // 12}-{index % 12 + 1:02d}-01"
        row[5] = "bad" if index > 35 else "good"
    return text(rows)


SOURCE: dict[str, tuple[Callable[[], bytes], dict[str, Any], list[str]]] = {
    "empty file": (lambda: b"", {}, ["people.csv is empty"]),
    "a header alone": (lambda: HEADER.encode() + b"\n", {}, ["holds no rows after its header"]),
    "wrong delimiter": (
        lambda: text(people(), delimiter=";"),
        {},
        ["there is no column 'age'", "Split at a semicolon", "set data.dialect.delimiter: ';'"],
    ),
    "wrong delimiter without a header": (
        lambda: text(people(), None, "|"),
        {"dialect": {"header": False}},
        ["row 0 has 1 columns, the schema names 6", "set data.dialect.delimiter: '|'"],
    ),
    "a header that is not declared": (
        lambda: text(people()),
        {"dialect": {"header": False}},
        ["the first row holds names (age, income, city, ...)", "set data.dialect.header: true"],
    ),
    "no header where one is declared": (
        lambda: text([[str(index), str(index)] for index in range(30)], None),
        {},
        ["the first row holds numbers", "set data.dialect.header: false"],
    ),
    "wrong encoding": (
        lambda: text(people()).decode().encode("latin-1"),
        {},
        ["people.csv: line", "is not UTF-8 text (byte 0xc5)", "data.dialect.encoding"],
    ),
    "wrong encoding after the first lines": (
        lambda: text(people(8000)) + b"20,1.5,\xc5rhus,true,2020-01-01,good\n",
        {},
        ["row 8000, column 'city' is not UTF-8 text"],
    ),
    "utf-16 that is not declared": (
        lambda: text(people()).decode().encode("utf-16"),
        {},
        ["is UTF-16 text, not UTF-8", "Set data.dialect.encoding: utf-16"],
    ),
    "null bytes": (
        lambda: text(people()).replace(b"Lima", b"Li\0ma"),
        {},
        ["holds null bytes", "Save the file as UTF-8"],
    ),
    "a column is missing": (
        lambda: text([row[:1] + row[2:] for row in people()], HEADER.replace(",income", "")),
        {},
        ["there is no column 'income'; its columns: 'age', 'city'"],
    ),
    "a column is renamed": (
        renamed,
        {},
        ["there is no column 'income'", "Did you mean 'incomes'?", "header: 'incomes'"],
    ),
    "a column stands there twice": (
        lambda: text([[*row, row[1]] for row in people()], HEADER + ",income"),
        {},
        ["2 columns are called 'income'", "Rename all but one"],
    ),
    "a column too many": (
        lambda: text([[*row, "x"] for row in people()], HEADER + ",note"),
        {},
        ["no field names 'note'", "data.schema.rest: drop"],
    ),
    "a quotation mark that is not closed": (
        lambda: text(people()).replace(b"Lima", b'"Lima', 1),
        {},
        ["a value runs over several lines and does not end", "mend the file"],
    ),
    "gzip cut short": (
        lambda: gzip.compress(text(people(20_000)))[:60_000],
        {"name": "people.csv.gz"},
        ["people.csv.gz is cut off or damaged"],
    ),
    "gzip by another name": (
        lambda: gzip.compress(text(people())),
        {},
        ["people.csv is gzipped", "ends in .gz"],
    ),
    "no Parquet": (
        lambda: text(people()),
        {"name": "people.parquet"},
        ["people.parquet cannot be read as Parquet"],
    ),
    "a file of another kind": (
        lambda: text(people()),
        {"name": "people.xlsx"},
        ["files of this kind are not read as a table", ".parquet"],
    ),
}


@pytest.mark.parametrize("name", SOURCE)
def test_a_source_that_is_not_as_declared(tmp_path: Path, name: str) -> None:
    content, changes, expected = SOURCE[name]
    with pytest.raises(SourceError) as caught:
        made(tmp_path, content(), **changes)
    for part in expected:
        assert part in f"{caught.value.message}\n{caught.value.remedy}"
    nothing_is_left(Layout(tmp_path))


def nothing_is_left(layout: Layout) -> None:
    assert sorted(path.name for path in (layout.root / "data").iterdir()) == ["raw"]
    assert not (layout.root / "metrics").exists() or not list((layout.root / "metrics").iterdir())
    assert not layout.data_report.exists()


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
        ("(row)", "", "has 4 columns, not 6"),
    ),
    "too many columns": (
        lambda: text([row if i != 7 else [*row, "?"] for i, row in enumerate(people())]),
        {},
        ("(row)", "", "has 7 columns, not 6"),
    ),
    "a quotation mark within": (
        cell(7, 2, '"Li"ma'),
        {},
        ("(row)", "", "has a quotation mark within a value"),
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
        ("income", "", "must be unique, and is the value of an earlier row"),
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
    assert (row, found[0]) == (7, column)
    assert found[2].startswith(reason)
    assert found[1] == value or not value
    assert sorted(rows_of(dataset)) == [index for index in range(40) if index != 7]


def test_what_is_odd_and_yet_right_is_accepted(tmp_path: Path) -> None:
    rows = people()
    rows[3][0] = " 33 "
    rows[4][1] = "+1.5e3"
    rows[5][2] = '"São Paulo, ""SP"""'
    rows[6][2] = " \u00a0Lima\t"
    rows[7][1] = rows[7][2] = rows[7][3] = "?"
    rows[8][3] = "yes"
    turned = [[row[index] for index in (5, 0, 1, 2, 3, 4)] for row in rows]
    content = b"\xef\xbb\xbf" + text(turned, "status, age ,income,city,member,joined")
    dataset = made(
        tmp_path, content.replace(b"\n", b"\r\n") + b"\r\n\r\n", schema__missingValues=["", "?"]
    )
    found = rows_of(dataset)
    assert len(found) == 40
    assert (found[3]["age"], found[4]["income"]) == (33, 1500.0)
    assert (found[5]["city"], found[6]["city"]) == ('São Paulo, "SP"', "Lima")
    assert (found[7]["income"], found[7]["city"], found[7]["member"]) == (None, None, None)
    assert found[8]["member"] is True


def test_encodings_and_lines_before_the_header_can_be_declared(tmp_path: Path) -> None:
    plain = made(tmp_path / "plain", people())
    for encoding in ("latin-1", "utf-16"):
        content = text(people()).decode().encode(encoding)
        other = made(tmp_path / encoding, content, dialect={"encoding": encoding})
        assert other.digest == plain.digest
    content = b"exported today\n\n" + text(people()).replace(b",", b"|")
    dialect = {"delimiter": "|", "skipRows": 2}
    assert made(tmp_path / "skip", content, dialect=dialect).digest == plain.digest


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


def test_parquet_types_are_taken_as_what_they_say(tmp_path: Path) -> None:
    table = pa.table(
        {
            "age": pa.array([20.0, 30.5, None, float("nan"), *[40.0] * 36]),
            "income": pa.array([float("inf"), *range(39)], pa.float32()),
            "city": pa.array(range(40)),
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
        (0, "income", "inf", "is not a number"),
        (1, "age", "30.5", "is not an integer"),
    ]
    found = rows_of(dataset)
    assert (found[2]["age"], found[3]["age"], found[4]["age"]) == (None, None, 40)
    assert (found[4]["city"], found[4]["member"], found[5]["member"]) == ("4", False, True)


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
