"""Great Expectations over shards gives what it gives over one whole frame."""

import textwrap
from pathlib import Path
from threading import current_thread, main_thread
from typing import Any

import pandas as pd
import pytest
from small_tables import contract, fields, made, people, put, quarantined, rows_of

from modelyard.artifacts import read_json
from modelyard.data import ingest_table, table_validation
from modelyard.data.ingest import ingest
from modelyard.data.suite import Expected
from modelyard.data.table_stage import Shard
from modelyard.data.table_validation import TableValidator
from modelyard.data.validation import run_suite, verdict
from modelyard.errors import DataRejected, ParamsError

NUM_ROWS = 120
SUITE: list[tuple[str, dict[str, Any]]] = [
    ("column_values_to_be_between", {"column": "age", "min_value": 18}),
    ("column_values_to_be_between", {"column": "age", "min_value": 30, "mostly": 0.5}),
    ("column_values_to_be_between", {"column": "joined", "min_value": "2012-01-01T00:00:00",
                                     "mostly": 0.5}),
    ("column_values_to_be_in_set", {"column": "city", "value_set": ["Oslo", "Lima"],
                                    "mostly": 0.5}),
    ("column_values_to_not_be_null", {"column": "income", "mostly": 0.8}),
    ("column_values_to_not_be_null", {"column": "member"}),
    ("column_values_to_match_regex", {"column": "city", "regex": "^[A-ZÅ]"}),
    ("column_value_lengths_to_be_between", {"column": "city", "min_value": 4, "max_value": 5}),
    ("column_pair_values_a_to_be_greater_than_b", {"column_A": "income", "column_B": "age",
                                                   "mostly": 0.5}),
    ("column_mean_to_be_between", {"column": "age", "min_value": 40, "max_value": 55}),
    ("column_mean_to_be_between", {"column": "income", "max_value": 99}),
    ("column_sum_to_be_between", {"column": "age", "min_value": 1}),
    ("column_min_to_be_between", {"column": "age", "min_value": 18, "strict_min": True}),
    ("column_max_to_be_between", {"column": "age", "max_value": 77}),
    ("column_max_to_be_between", {"column": "joined", "max_value": "2023-12-31T00:00:00"}),
    ("column_median_to_be_between", {"column": "income", "min_value": 200}),
    ("column_stdev_to_be_between", {"column": "age", "max_value": 10}),
    ("column_quantile_values_to_be_between", {"column": "age", "quantile_ranges": {
        "quantiles": [0.1, 0.9], "value_ranges": [[18, 40], [50, 70]]}}),
    ("column_unique_value_count_to_be_between", {"column": "city", "max_value": 3}),
    ("column_unique_value_count_to_be_between", {"column": "income", "max_value": 50}),
    ("column_proportion_of_unique_values_to_be_between", {"column": "income", "min_value": 0.9}),
    ("column_proportion_of_non_null_values_to_be_between", {"column": "income", "min_value": 1}),
    ("column_distinct_values_to_be_in_set", {"column": "city", "value_set": ["Oslo", "Lima"]}),
    ("column_distinct_values_to_contain_set", {"column": "city", "value_set": ["Oslo", "Rome"]}),
    ("column_distinct_values_to_equal_set", {"column": "member", "value_set": [True, False]}),
    ("column_most_common_value_to_be_in_set", {"column": "status", "value_set": ["good", "bad"]}),
    ("column_values_to_be_unique", {"column": "age", "mostly": 0.01}),
    ("column_values_to_be_increasing", {"column": "age", "mostly": 0.1}),
    ("compound_columns_to_be_unique", {"column_list": ["age", "city", "income"]}),
    ("table_row_count_to_be_between", {"min_value": 1, "max_value": 119}),
    ("table_column_count_to_equal", {"value": 6}),
    ("column_to_exist", {"column": "agee"}),
]  # fmt: skip


def table() -> list[list[str]]:
    rows = people(NUM_ROWS)
    for index in range(0, NUM_ROWS, 10):
        rows[index][1] = ""
    rows[7][3] = rows[50][2] = ""
    return rows


@pytest.fixture(scope="module")
def verdicts(tmp_path_factory: pytest.TempPathFactory) -> dict[int, list[dict[str, Any]]]:
    """The verdicts on the user's expectations, by the rows of a shard."""
    found = {}
    for rows in (1000, 17):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(ingest_table, "SHARD_ROWS", rows)
            patch.setattr(ingest_table, "refuse_failed", lambda _: None)
            root = tmp_path_factory.mktemp(f"shards{rows}")
            expectations = [{"type": f"expect_{kind}", "kwargs": kwargs} for kind, kwargs in SUITE]
            made(root, table(), expectations=expectations, leakage={"rows": "allow"})
        tree = read_json(root / "data/dataset/validation.json")
        found[rows] = [
            item for item in tree["expectations"] if item["origin"].startswith("data.expectations")
        ]
    return found


def test_shards_do_not_change_a_verdict(verdicts: dict[int, list[dict[str, Any]]]) -> None:
    assert verdicts[17] == verdicts[1000]
    assert len(verdicts[17]) == len(SUITE)
    assert {item["success"] for item in verdicts[17]} == {True, False}


def test_verdicts_are_those_of_great_expectations_on_the_whole_frame(
    verdicts: dict[int, list[dict[str, Any]]],
) -> None:
    rows = [row for row in table() if row[3]]
    frame = pd.DataFrame(rows, columns=["age", "income", "city", "member", "joined", "status"])
    frame = frame.replace("", None)
    frame = frame.assign(
        age=frame["age"].astype("int64"),
        income=frame["income"].astype("float64"),
        city=frame["city"].astype("str"),
        member=frame["member"] == "true",
        joined=pd.to_datetime(frame["joined"]).astype("datetime64[ns]"),
        row=range(len(frame)),
    )
    for (kind, kwargs), ours in zip(SUITE, verdicts[17], strict=True):
        if kind in ("table_column_count_to_equal", "column_to_exist"):
            continue  # The frame has a column more: the row.
        item = Expected(f"expect_{kind}", kwargs, "", "")
        theirs = verdict(item, run_suite(frame, [item], "row")[0])
        # That a city is missing breaks no expectation on cities; that a member is was refused.
        assert ours["success"] == theirs.success, (kind, kwargs, ours, theirs)
        if "of 119 rows break it" in theirs.observed or "unexpected" not in theirs.observed:
            shown = ours["observed"].partition(":")[0]
            assert shown == theirs.observed.partition(":")[0], (kind, kwargs)


def test_rows_that_break_an_expectation_leave_every_shard(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ingest_table, "SHARD_ROWS", 9)
    rows = people(60)
    for row in (3, 30, 31, 59):
        rows[row][1] = "-1"
    rows[30][0] = "99"
    between = [
        {"type": "expect_column_values_to_be_between",
         "kwargs": {"column": name, key: value}}
        for name, key, value in (("income", "min_value", 0), ("age", "max_value", 90))
    ]  # fmt: skip
    dataset = made(tmp_path, rows, expectations=between)
    assert [(row, column) for row, column, _, _ in quarantined(dataset)] == [
        (3, "income"),
        (30, "age"),
        (30, "income"),
        (31, "income"),
        (59, "income"),
    ]
    assert dataset.num_rejected == 4
    assert set(rows_of(dataset)) == set(range(60)) - {3, 30, 31, 59}


CUSTOM = """
    from great_expectations.execution_engine import PandasExecutionEngine
    from great_expectations.expectations.expectation import ColumnMapExpectation
    from great_expectations.expectations.metrics import ColumnMapMetricProvider
    from great_expectations.expectations.metrics import column_condition_partial

    class EvenValues(ColumnMapMetricProvider):
        condition_metric_name = "column_values.even_NAME"

        @column_condition_partial(engine=PandasExecutionEngine)
        def _pandas(cls, column, **kwargs):
            return column % 2 == 0

    class ExpectColumnValuesToBeEvenNAME(ColumnMapExpectation):
        map_metric = "column_values.even_NAME"

    def features(frame):
        frame["ratio"] = frame["income"] / frame["age"]
        frame["old"] = frame["age"] > 50
        frame["age"] = frame["age"] * 10
        return frame.drop(columns=["city"])

    def shorter(frame):
        return frame[1:]

    def turned(frame):
        return frame[::-1]

    def failing(frame):
        return frame["agee"]

    number = 3
"""


def custom(root: Path, name: str) -> str:
    """A module of the team's own, imported once under its own name."""
    (root / "custom").mkdir(parents=True, exist_ok=True)
    path = root / "custom" / f"{name}.py"
    path.write_text(textwrap.dedent(CUSTOM).replace("NAME", name), encoding="utf-8")
    return f"custom.{name}"


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A project with a folder ``custom`` of its own."""
    (tmp_path / "custom").mkdir()
    (tmp_path / "custom/__init__.py").touch()
    return tmp_path


@pytest.mark.parametrize("rows", [1000, 9])
def test_a_class_of_your_own_is_an_expectation(
    project: Path, monkeypatch: pytest.MonkeyPatch, rows: int
) -> None:
    monkeypatch.setattr(ingest_table, "SHARD_ROWS", rows)
    name = f"even_{rows}"
    kind = f"{custom(project, name)}:ExpectColumnValuesToBeEven{name}"
    table = people(40)
    for index, row in enumerate(table):
        row[0] = str(30 + 2 * index // 2 * 2 % 40) if index != 11 else "31"
    dataset = made(
        project, table, expectations=[{"type": kind, "kwargs": {"column": "age"}}], max_rejected=0.1
    )
    assert quarantined(dataset) == [(11, "age", "31", f"breaks {kind} (column age)")]
    with pytest.raises(ParamsError, match=r"data.expectations.0.type: .*:features is no expect"):
        made(project, table, expectations=[{"type": f"custom.{name}:features", "kwargs": {}}])


@pytest.mark.parametrize("rows", [1000, 9])
def test_features_of_your_own(project: Path, monkeypatch: pytest.MonkeyPatch, rows: int) -> None:
    monkeypatch.setattr(ingest_table, "SHARD_ROWS", rows)
    module = custom(project, f"features_{rows}")
    table = people(40)
    for row in table[:9]:
        row[1] = ""  # In the first of many shards the ratio is missing throughout.
    table.insert(12, table[11])
    dataset = made(
        project,
        table,
        features=f"{module}:features",
        schema__fields=fields(city={"sensitive": True}),
        leakage__rows="allow",
        clean={"duplicates": "drop"},
    )
    assert dataset.sensitive == ("city",)
    assert {item["name"]: item["type"] for item in dataset.features} == {
        "age": "integer",
        "income": "number",
        "member": "boolean",
        "joined": "date",
        "ratio": "number",
        "old": "boolean",
    }
    found = rows_of(dataset)
    ages = [10 * int(row[0]) for index, row in enumerate(table) if index != 12]
    assert [found[row]["age"] for row in sorted(found)] == ages
    assert found[0]["ratio"] is None
    assert found[20]["ratio"] == pytest.approx(float(table[20][1]) / int(table[20][0]))
    validation = read_json(dataset.path / "validation.json")
    assert validation["success"]
    assert "data.features" in {item["origin"] for item in validation["expectations"]}


@pytest.mark.parametrize(
    ("function", "expected"),
    [
        ("shorter", "got 40 rows and gave 39"),
        ("turned", "got 40 rows and gave 40 in another order"),
        ("failing", "fails: KeyError: 'agee'"),
        ("number", "has no function 'number'"),
        ("absent", "has no function 'absent'"),
    ],
)
def test_a_function_that_does_not_keep_the_rows_is_named(
    project: Path, function: str, expected: str
) -> None:
    module = custom(project, f"wrong_{function}")
    with pytest.raises((ParamsError, DataRejected)) as caught:
        made(project, people(), features=f"{module}:{function}")
    assert expected in caught.value.message
    assert "data.features" in caught.value.message


def test_what_needs_too_many_rows_at_once_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(table_validation, "MOST_CELLS", 30)
    item = {"type": "expect_column_values_to_be_increasing", "kwargs": {"column": "age"}}
    with pytest.raises(ParamsError, match="needs all 40 rows of age at once, more than 30 values"):
        made(tmp_path, people(), expectations=[item])


def test_shards_are_evaluated_while_others_are_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    expectation = [
        {"type": "expect_column_values_to_be_between", "kwargs": {"column": "age", "max_value": 70}}
    ]
    changes = {"expectations": expectation, "max_rejected": 0.5}
    plain = made(tmp_path / "plain", table(), **changes)
    monkeypatch.setattr(ingest_table, "SHARD_ROWS", 20)
    evaluated = []
    evaluate = TableValidator._evaluate_shard

    def counted(validator: TableValidator, shard: Shard, *kept: Any) -> Any:
        evaluated.append((shard.start, current_thread() is main_thread()))
        return evaluate(validator, shard, *kept)

    monkeypatch.setattr(TableValidator, "_evaluate_shard", counted)
    beside = made(tmp_path / "beside", table(), **changes)
    assert [start for start, in_main in evaluated if not in_main] == list(range(0, 119, 20))
    again = [start for start, in_main in evaluated if in_main]
    assert again  # Those of which rows were refused.
    assert beside.digest == plain.digest
    assert quarantined(beside) == quarantined(plain)
    assert beside.num_rejected > 5
    impossible = [
        {"type": "expect_column_values_to_be_between", "kwargs": {"column": "city", "min_value": 1}}
    ]
    layout = put(tmp_path / "impossible", table())
    with pytest.raises(ParamsError, match=r"data.expectations.0: .* cannot be evaluated"):
        ingest(layout, contract(expectations=impossible))
    assert sorted(path.name for path in (layout.root / "data").iterdir()) == ["raw"]
