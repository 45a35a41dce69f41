"""Every kind of violation, planted: quarantined with its reason, or no dataset version appears."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from data_tables import LABEL, contract, label_contract, outputs, put, put_raw, table, tree

from modelyard.data.ingest import REJECTED_REPORT, ingest
from modelyard.errors import DataRejected, ParamsError
from modelyard.params import DataParams

Rows = list[list[str]]
Plant = Callable[[Rows], object]


def cell(row: int, column: int, value: str) -> Plant:
    def plant(rows: Rows) -> None:
        rows[row][column] = value

    return plant


def ragged(rows: Rows) -> None:
    rows[5].append("0")


def dark(rows: Rows) -> None:
    rows[5][:LABEL] = ["0"] * LABEL


def twins(rows: Rows) -> None:
    rows[9][:LABEL] = rows[5][:LABEL]


def many(rows: Rows) -> None:
    for row in rows[:5]:
        row[LABEL] = "8"


def rare(rows: Rows) -> None:
    for row in rows[3::4]:
        row[LABEL] = "2"
    rows[0][LABEL] = "3"


def single(rows: Rows) -> None:
    for row in rows:
        row[LABEL] = "1"


def expect(kind: str, **kwargs: Any) -> list[dict[str, Any]]:
    return [{"type": f"expect_{kind}", "kwargs": kwargs}]


def quality(metric: str, **bounds: Any) -> list[dict[str, Any]]:
    return [{"metric": metric, **bounds}]


BETWEEN = expect("column_values_to_be_between", column="pixel_mean", min_value=40, max_value=220)
ENUM = {"enum": [0, 1, 2, 3]}

QUARANTINED: dict[str, tuple[Plant, DataParams, tuple[str, str]]] = {
    "word as label": (cell(5, LABEL, "five"), contract(), ("label", "is not an integer")),
    "label above the maximum": (
        cell(5, LABEL, "4"),
        contract(),
        ("label", "is above the maximum 3"),
    ),
    "label below the minimum": (
        cell(5, LABEL, "-1"),
        contract(),
        ("label", "is below the minimum 0"),
    ),
    "label not in the enum": (
        cell(5, LABEL, "7"),
        label_contract(ENUM),
        ("label", "is not one of 0, 1, 2, 3"),
    ),
    "required label missing": (
        cell(5, LABEL, ""),
        contract(),
        ("label", "the target is missing"),
    ),
    "optional label missing": (
        cell(5, LABEL, ""),
        label_contract({}, max_rejected=0.0),
        ("label", "the target is missing"),
    ),
    "pixel above 255": (
        cell(5, 0, "256"),
        contract(),
        ("image[0,0]", "is not a pixel from 0 to 255"),
    ),
    "pixel below 0": (cell(5, 0, "-3"), contract(), ("image[0,0]", "is not a pixel from 0 to 255")),
    "pixel missing": (cell(5, 15, ""), contract(), ("image[3,3]", "is missing")),
    "pixel a fraction": (cell(5, 1, "0.5"), contract(), ("image[0,1]", "is not an integer")),
    "ragged row": (ragged, contract(), ("(row)", "has 18 columns, not 17")),
    "row-level expectation": (
        dark,
        contract(expectations=BETWEEN),
        (
            "pixel_mean",
            "breaks expect_column_values_to_be_between "
            "(column pixel_mean, min_value 40, max_value 220)",
        ),
    ),
}


@pytest.mark.parametrize("name", QUARANTINED)
def test_is_quarantined_with_its_reason(tmp_path: Path, name: str) -> None:
    plant, params, expected = QUARANTINED[name]
    rows = table(40)
    plant(rows)
    dataset = ingest(put_raw(tmp_path, rows), params)
    (item,) = pq.read_table(dataset.path / "quarantine.parquet").to_pylist()
    assert (item["row"], item["column"], item["reason"]) == (5, *expected)
    assert dataset.num_rejected == 1
    kept = [row for split in dataset.rows for row in split_rows(dataset.split(split))]
    assert sorted(kept) == [row for row in range(40) if row != 5]


def split_rows(path: Path) -> list[int]:
    return pq.read_table(path, columns=["row"])["row"].to_pylist()


NEW_FIELD = {"name": "site", "type": "string"}


def fields_of_contract() -> list[dict[str, Any]]:
    return tree()["schema"]["fields"]


def with_site(**changes: Any) -> DataParams:
    """The contract with a third, optional text field."""
    return contract(schema={"fields": [*fields_of_contract(), NEW_FIELD]}, **changes)


def sites(rows: Rows) -> None:
    for index, row in enumerate(rows):
        row.append("" if index in (2, 6) else f"s{index % 3}")


STOPPED: dict[str, tuple[Plant, DataParams, list[str]]] = {
    "too many rejected": (
        many,
        contract(),
        ["5 of 40 rows break the contract (12.50%)", "5 x label: is above the maximum 3"],
    ),
    "none left": (
        lambda rows: [row.__setitem__(0, "x") for row in rows],
        contract(max_rejected=1.0),
        ["none of 40 rows is left"],
    ),
    "missing target, fail": (
        cell(5, LABEL, ""),
        contract(missing_target="fail"),
        ["1 rows have no 'label', first row 5"],
    ),
    "too few rows": (
        lambda rows: rows,
        contract(quality=quality("rowCount", mustBeGreaterThan=40)),
        ["expect_table_row_count_to_be_between(min_value=41)", "data.quality.0", "observed 40"],
    ),
    "too many rows": (
        lambda rows: rows,
        contract(quality=quality("rowCount", mustBeLessThan=40)),
        ["expect_table_row_count_to_be_between(max_value=39)", "observed 40"],
    ),
    "duplicates over the share": (
        twins,
        contract(quality=quality("duplicateValues", mustBeLessThan=0.025, unit="share")),
        ["expect_column_unique_value_count_to_be_between(column=sha256, min_value=40", "39"],
    ),
    "duplicates over the number of rows": (
        twins,
        contract(quality=quality("duplicateValues", mustBeLessThan=1)),
        ["expect_column_unique_value_count_to_be_between(column=sha256, min_value=40", "39"],
    ),
    "nulls over the number of rows": (
        sites,
        with_site(quality=quality("nullValues", column="site", mustBeLessThan=2)),
        ["expect_column_proportion_of_non_null_values_to_be_between", "observed 0.95"],
    ),
    "expectation on the column's mean": (
        lambda rows: rows,
        contract(
            expectations=expect("column_mean_to_be_between", column="pixel_mean", max_value=9)
        ),
        ["expect_column_mean_to_be_between", "data.expectations.0", "observed 132.90625"],
    ),
    "row-level expectation over max_rejected": (
        lambda rows: rows,
        contract(expectations=expect("column_values_to_be_in_set", column="label", value_set=[0])),
        ["30 of 40 rows break the contract (75.00%)", "30 x label: breaks expect_column_values"],
    ),
    "row-level expectation with mostly": (
        dark,
        contract(
            expectations=expect(
                "column_values_to_be_between", column="pixel_mean", min_value=40, mostly=0.99
            )
        ),
        ["expect_column_values_to_be_between", "mostly=0.99", "1 of 40 rows break it: 0"],
    ),
    "a set of labels that must be there": (
        lambda rows: rows,
        contract(
            expectations=expect(
                "column_distinct_values_to_contain_set", column="label", value_set=[0, 9]
            )
        ),
        ["expect_column_distinct_values_to_contain_set", "observed missing [9]"],
    ),
    "a class too rare to split": (
        rare,
        contract(),
        ["class '3' of 'label' has 1 rows", "at least 5"],
    ),
    "one class alone": (single, contract(), ["hold 1 class of 'label'"]),
}


@pytest.mark.parametrize("name", STOPPED)
def test_stops_and_no_dataset_version_appears(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    plant, params, expected = STOPPED[name]
    rows = table(40)
    plant(rows)
    layout = put_raw(tmp_path / "project", rows)
    put(layout.dataset / "dataset.json", b"{}")
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    with pytest.raises(DataRejected) as caught:
        ingest(layout, params)
    for part in expected:
        assert part in caught.value.message
    assert outputs(layout) == {}
    assert not layout.dataset.exists()
    assert "Report: .modelyard/reports/rejected.html" in caught.value.remedy
    report = (layout.root / ".modelyard" / REJECTED_REPORT).read_text(encoding="utf-8")
    assert "There is no dataset version" in report
    assert list(elsewhere.iterdir()) == []


@pytest.mark.parametrize("state", ["{tmp_path}/main/state", "other"])
def test_the_report_outlives_the_worktree_of_an_isolated_run(tmp_path: Path, state: str) -> None:
    state = state.format(tmp_path=tmp_path)
    rows = table(40)
    many(rows)
    layout = put_raw(tmp_path / "worktree", rows)
    with pytest.raises(DataRejected) as caught:
        ingest(layout, contract(), Path(state))
    assert f"Report: {state}/reports/rejected.html" in caught.value.remedy
    report = layout.root / state / "reports/rejected.html"  # an absolute folder stands for itself
    assert "There is no dataset version" in report.read_text(encoding="utf-8")
    assert not (layout.root / ".modelyard").exists()


def test_bounds_are_met_exactly_at_their_edge(tmp_path: Path) -> None:
    rows = table(40)
    twins(rows)
    sites(rows)
    bounds = [
        *quality("rowCount", mustBeGreaterThan=39, mustBeLessThan=41),
        *quality("duplicateValues", mustBeLessThan=2, mustBeGreaterThan=0),
        *quality("duplicateValues", mustBeLessThan=0.05, unit="share"),
        *quality("nullValues", column="site", mustBeLessThan=3, mustBeGreaterThan=1),
        *quality("nullValues", column="site", mustBeLessThan=0.075, unit="share"),
    ]
    params = with_site(quality=bounds, leakage={"rows": "allow"})
    dataset = ingest(put_raw(tmp_path, rows), params)
    assert sum(dataset.rows.values()) == 40


@pytest.mark.parametrize(
    ("expectations", "expected"),
    [
        (
            expect("column_men_to_be_between", column="label"),
            ["data.expectations.0.type", "nearest: expect_column_mean_to_be_between"],
        ),
        (
            expect("column_mean_to_be_between", column="pixel_men"),
            ["there is no column 'pixel_men'", "nearest: 'pixel_mean'"],
        ),
        (
            expect("column_mean_to_be_between", column="label", minimum=3),
            ["data.expectations.0.kwargs", "minimum", "extra fields not permitted"],
        ),
        (
            expect("column_values_to_be_between", column="sha256", min_value=1),
            ["data.expectations.0", "cannot be evaluated", "of the same type"],
        ),
    ],
)
def test_an_impossible_expectation_is_an_error_of_params(
    tmp_path: Path, expectations: list[dict[str, Any]], expected: list[str]
) -> None:
    layout = put_raw(tmp_path, table(40))
    with pytest.raises(ParamsError) as caught:
        ingest(layout, contract(expectations=expectations))
    for part in expected:
        assert part in caught.value.message
    assert outputs(layout) == {}


def test_a_field_may_not_take_a_name_of_the_manifest(tmp_path: Path) -> None:
    fields = [*fields_of_contract(), {"name": "height", "type": "integer"}]
    with pytest.raises(ParamsError, match="a field is called 'height'"):
        ingest(put_raw(tmp_path, table(40)), contract(schema={"fields": fields}))


def test_the_same_expectation_twice_is_evaluated_twice(tmp_path: Path) -> None:
    twice = expect("column_values_to_not_be_null", column="label") * 2
    layout = put_raw(tmp_path, table(40))
    ingest(layout, contract(expectations=twice))
    html = layout.data_report.read_text(encoding="utf-8")
    assert html.count("data.expectations.") == 2
