"""The suite over a manifest: each of its expectations notices what it is there for.

Rows reach the suite only after ``contract.check``; here they are spoilt after it, so that the
second line of defence is tested by itself.
"""

import subprocess
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from data_tables import NUM_PIXELS, contract, table, tree

from modelyard.data.contract import check
from modelyard.data.manifest import build_manifest
from modelyard.data.readers import Batch
from modelyard.data.suite import Expected, build_suite
from modelyard.data.validation import Validation, validate

SPOILT = 5
BOUNDS = {"required": True, "minimum": 0, "maximum": 3, "enum": [0, 1, 2, 3]}
PARAMS = contract(
    schema={
        "fields": [
            tree()["schema"]["fields"][0],
            {"name": "label", "type": "integer", "constraints": BOUNDS},
            {"name": "site", "type": "string"},
        ]
    },
    quality=[
        {"metric": "rowCount", "mustBeGreaterThan": 20},
        {"metric": "duplicateValues", "mustBeLessThan": 1},
        {"metric": "nullValues", "column": "site", "mustBeLessThan": 1},
    ],
)


def manifest() -> pd.DataFrame:
    rows = table(24)
    columns = {
        "image": [pa.array([row[index] for row in rows]) for index in range(NUM_PIXELS)],
        "label": [pa.array([row[-1] for row in rows])],
        "site": [pa.array(["a", "b"] * 12)],
    }
    return build_manifest(check([Batch(np.arange(24), columns)], PARAMS), PARAMS)


def put(column: str, value: Any) -> Callable[[pd.DataFrame], pd.DataFrame]:
    def spoil(frame: pd.DataFrame) -> pd.DataFrame:
        frame[column] = frame[column].astype(object)
        frame.loc[SPOILT, column] = value
        return frame.infer_objects()

    return spoil


SPOILS: dict[tuple[str, str], Callable[[pd.DataFrame], pd.DataFrame]] = {
    ("expect_table_columns_to_match_ordered_list", ""): lambda frame: frame.assign(extra=1),
    ("expect_column_values_to_be_unique", "row"): put("row", 4),
    ("expect_column_values_to_be_in_set", "decodable"): put("decodable", False),
    ("expect_column_values_to_match_regex", "sha256"): put("sha256", "none"),
    ("expect_column_values_to_be_in_set", "height"): put("height", 5),
    ("expect_column_values_to_be_in_set", "width"): put("width", 3),
    ("expect_column_values_to_be_in_set", "channels"): put("channels", 3),
    ("expect_column_values_to_be_between", "pixel_min"): put("pixel_min", -1),
    ("expect_column_values_to_be_between", "pixel_max"): put("pixel_max", 256),
    ("expect_column_values_to_be_between", "pixel_mean"): put("pixel_mean", 255.5),
    ("expect_column_values_to_be_of_type", "label"): lambda frame: frame.astype({"label": float}),
    ("expect_column_values_to_not_be_null", "label"): put("label", None),
    ("expect_column_values_to_be_between", "label"): put("label", 4),
    ("expect_column_values_to_be_in_set", "label"): put("label", 7),
    ("expect_table_row_count_to_be_between", ""): lambda frame: frame.head(20),
    ("expect_column_unique_value_count_to_be_between", "sha256"): lambda frame: frame.assign(
        sha256=["a" * 64] * 2 + frame["sha256"].tolist()[2:]
    ),
    ("expect_column_proportion_of_non_null_values_to_be_between", "site"): put("site", None),
    ("expect_column_values_to_be_of_type", "site"): lambda frame: frame.assign(site=1),
}


def suite() -> dict[tuple[str, str], Expected]:
    """Every expectation of the suite by type and column."""
    present = dict.fromkeys(manifest().columns, 24)
    return {_key(item): item for item in build_suite(PARAMS, present)}


def _key(item: Expected) -> tuple[str, str]:
    return item.type, item.kwargs.get("column", "")


def test_every_expectation_of_the_suite_is_spoilt_below() -> None:
    assert set(SPOILS) == set(suite())


def noticed(result: Validation, key: tuple[str, str]) -> bool:
    """Whether this very expectation refused a row, or fails over the rows that are left."""
    refused = {(item.column, item.reason) for item in result.rejections}
    return (key[1], suite()[key].reason) in refused or key in {
        _key(verdict.expected) for verdict in result.failed
    }


@pytest.mark.parametrize("key", SPOILS, ids=lambda key: f"{key[0]}-{key[1]}")
def test_notices_what_it_is_there_for(key: tuple[str, str]) -> None:
    assert noticed(validate(SPOILS[key](manifest()), PARAMS), key)


def test_a_clean_manifest_passes_and_says_so_without_times_or_ids() -> None:
    result = validate(manifest(), PARAMS)
    assert result.failed == ()
    assert result.rejections == ()
    tree = result.as_json(24)
    assert tree["success"]
    assert tree["evaluated"] == tree["passed"] == len(SPOILS)
    assert tree == validate(manifest(), PARAMS).as_json(24)
    assert set(tree["expectations"][0]) == {"type", "kwargs", "origin", "success", "observed"}


def test_rows_that_are_refused_leave_and_the_rest_passes() -> None:
    result = validate(put("label", 7)(manifest()), PARAMS)
    assert {item.row for item in result.rejections} == {SPOILT}
    assert {item.value for item in result.rejections} == {"7"}
    assert result.failed == ()


def test_threads_that_import_the_library_at_once_see_all_of_it() -> None:
    code = """
import sys, threading, time
from modelyard.data.suite import Expected
from modelyard.data.validation import configured, load_expectations

other = threading.Thread(target=load_expectations)
other.start()
while "great_expectations.expectations.registry" not in sys.modules and other.is_alive():
    time.sleep(0.001)
assert other.is_alive(), "the import was over before it could be seen half-way"
kind = "expect_table_columns_to_match_ordered_list"
print(type(configured(Expected(kind, {"column_list": ["a"]}, "test", ""), 0)).__name__)
other.join()
"""
    done = subprocess.run(
        [sys.executable, "-c", code], check=False, capture_output=True, text=True, timeout=60
    )
    assert done.stdout.strip() == "ExpectTableColumnsToMatchOrderedList", done.stderr
