"""A table of ten million rows, from CSV to validated, split Parquet: memory, and time against two.

(a) our ingest up to the files of the splits, which is all but the fitting of the preprocessing;
(b) one pandas frame, read and validated by Great Expectations, which neither divides nor writes it;
(c) the same checks and splits written by hand in DuckDB. Each is a process of its own, in turn. One
row in ten thousand breaks the contract.

The fifteen checks: ids present and unique, four ranges, four sets, a pattern, the form of a date, a
share of missing values, a mean, the number of rows. Great Expectations parses dates one by one in
Python, so (b) is shown without that check, too.
"""

import argparse
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from statistics import median
from threading import Event, Thread
from time import perf_counter
from typing import Any

ROOT = Path(__file__).parents[1]
REGIONS = ["north", "south", "east", "west", "center"]
PLANS = ["basic", "plus", "premium"]
COLUMNS = {
    "id": "i",
    "age": "CASE WHEN i % 10000 = 77 THEN 17 ELSE 18 + hash(i, 1) % 60 END",
    "income": "round(hash(i, 2) % 1000000 / 100.0, 2)",
    "score": "round(hash(i, 3) % 100000 / 1000.0, 3)",
    "months": "hash(i, 4) % 12",
    "balance": "CASE WHEN hash(i, 5) % 50 > 0 THEN round(hash(i, 6) % 5000000 / 1000.0, 3) END",
    "region": f"{REGIONS}[CAST(1 + hash(i, 7) % 5 AS BIGINT)]",
    "plan": f"{PLANS}[CAST(1 + hash(i, 8) % 3 AS BIGINT)]",
    "active": "CASE WHEN hash(i, 9) % 2 = 0 THEN 'true' ELSE 'false' END",
    "joined": "CAST(DATE '2020-01-01' + CAST(hash(i, 10) % 1500 AS INTEGER) AS VARCHAR)",
    "code": "'C' || lpad(CAST(hash(i, 11) % 1000000 AS VARCHAR), 6, '0')",
    "visits": "hash(i, 12) % 500",
    "ratio": "round(hash(i, 13) % 1000 / 1000.0, 3)",
    "delta": "round(hash(i, 14) % 200000 / 100.0 - 1000, 2)",
    "label": "CASE WHEN hash(i, 15) % 10 < 3 THEN 'yes' ELSE 'no' END",
}
MIN_ROWS = 1000


def main() -> None:
    """Measure, print the bars, write them."""
    from bars import bar, publish

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=float, default=1e7)
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--inside", choices=list(WAYS), help=argparse.SUPPRESS)
    parser.add_argument("--place", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.inside:
        WAYS[arguments.inside](arguments.place)
        return
    source = generate(int(arguments.rows))
    figures: dict[str, list[float]] = {}
    for _ in range(arguments.rounds):
        for way in WAYS:
            with tempfile.TemporaryDirectory(dir=source.parent, prefix=f"{way}-") as folder:
                raw = Path(folder) / "data/raw"
                raw.mkdir(parents=True)
                os.link(source, raw / "table.csv")
                seconds, memory = measured(way, Path(folder))
            figures.setdefault(f"{way}_s", []).append(seconds)
            figures.setdefault(f"{way}_gb", []).append(memory)
            print(f"{way}: {seconds:.1f} s, {memory:.2f} GB", flush=True)
    ours = median(figures["ingest_s"])
    bars = [
        bar("data_peak_memory_gb", figures["ingest_gb"], "<", 1.0),
        bar("data_vs_pandas_gx", [item / ours for item in figures["pandas_s"]], ">=", 5.0),
        bar("data_vs_duckdb", [ours / item for item in figures["duckdb_s"]], "<=", 3.0),
    ]
    publish("data", ROOT, bars, figures)


def generate(rows: int) -> Path:
    """The table as CSV, made once and kept."""
    import duckdb

    path = ROOT / ".modelyard" / "bench" / f"table-{rows}.csv"
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_suffix(".partial")
        listed = ", ".join(f"{sql} AS {name}" for name, sql in COLUMNS.items())
        query = f"SELECT {listed} FROM range({rows}) t(i)"
        duckdb.execute(f"COPY ({query}) TO '{partial}' (FORMAT csv, HEADER)")
        partial.replace(path)
    return path


def measured(way: str, folder: Path) -> tuple[float, float]:
    """Wall seconds of a process, and the most memory that it and its children had at once, GB."""
    import psutil

    words = [sys.executable, __file__, "--inside", way, "--place", str(folder)]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT / "src"), str(ROOT)])}
    started, most, ended = perf_counter(), [0], Event()
    process = subprocess.Popen(words, cwd=folder, env=environment)

    def watch() -> None:
        while not ended.wait(0.02):
            try:
                root = psutil.Process(process.pid)
                tree = [root, *root.children(recursive=True)]
                most[0] = max(most[0], sum(item.memory_info().rss for item in tree))
            except psutil.NoSuchProcess:
                continue

    watcher = Thread(target=watch)
    watcher.start()
    status = process.wait()
    seconds = perf_counter() - started
    ended.set()
    watcher.join()
    if status:
        sys.exit(f"{way} ended with {status}")
    return seconds, most[0] / 1e9


def contract() -> dict[str, Any]:
    """The section ``data`` for the table."""

    def field(name: str, kind: str, **constraints: Any) -> dict[str, Any]:
        return {"name": name, "type": kind, "constraints": constraints}

    return {
        "kind": "tabular",
        "source": "table.csv",
        "sha256": None,
        "schema": {
            "fields": [
                field("id", "integer", required=True, unique=True) | {"use": False},
                field("age", "integer", minimum=18, maximum=100),
                field("income", "number", minimum=0),
                field("score", "number", minimum=0, maximum=100),
                field("months", "integer", enum=list(range(12))),
                field("balance", "number"),
                field("region", "category", enum=REGIONS),
                field("plan", "category", enum=PLANS),
                field("active", "boolean"),
                field("joined", "date"),
                field("code", "string", pattern="C[0-9]{6}"),
                field("visits", "integer"),
                field("ratio", "number", minimum=0, maximum=1),
                field("delta", "number"),
                field("label", "category", enum=["yes", "no"]),
            ]
        },
        "target": "label",
        "split": {"type": "stratify", "column": "label"},
        "quality": [
            {"metric": "rowCount", "mustBeGreaterThan": MIN_ROWS},
            {"metric": "nullValues", "column": "balance", "mustBeLessThan": 0.1, "unit": "share"},
        ],
        "expectations": [
            {
                "type": "expect_column_mean_to_be_between",
                "kwargs": {"column": "age", "min_value": 40, "max_value": 55},
            }
        ],
    }


def ingest(folder: Path) -> None:
    """Our way: the splits, the quarantine and the verdicts."""
    from modelyard.artifacts import Layout, write_json
    from modelyard.data.ingest_table import accept_table
    from modelyard.data.outputs import replaced_folder
    from modelyard.data.report import DataReport
    from modelyard.params import DataParams

    layout, params = Layout(folder), DataParams.model_validate(contract())
    with (
        replaced_folder(layout.dataset) as place,
        accept_table(layout, params, folder, place, DataReport(params)) as accepted,
    ):
        accepted.write(place)
        write_json(place / "validation.json", accepted.validation.as_json(len(accepted.parts)))
    assert not accepted.validation.failed
    assert accepted.refused.num_rows == accepted.num_read // 10_000, accepted.refused


def pandas(folder: Path, dates: bool = True) -> None:
    """One frame, one suite; rows that break it are named, as quarantine needs them."""
    import great_expectations as gx
    import pandas as pd

    frame = pd.read_csv(folder / "data/raw/table.csv")
    kinds: Any = gx.expectations
    suite = [
        kinds.ExpectColumnValuesToNotBeNull(column="id"),
        kinds.ExpectColumnValuesToBeUnique(column="id"),
        kinds.ExpectColumnValuesToBeBetween(column="age", min_value=18, max_value=100),
        kinds.ExpectColumnValuesToBeBetween(column="income", min_value=0),
        kinds.ExpectColumnValuesToBeBetween(column="score", min_value=0, max_value=100),
        kinds.ExpectColumnValuesToBeBetween(column="ratio", min_value=0, max_value=1),
        kinds.ExpectColumnValuesToBeInSet(column="months", value_set=list(range(12))),
        kinds.ExpectColumnValuesToBeInSet(column="region", value_set=REGIONS),
        kinds.ExpectColumnValuesToBeInSet(column="plan", value_set=PLANS),
        kinds.ExpectColumnValuesToBeInSet(column="label", value_set=["yes", "no"]),
        kinds.ExpectColumnValuesToMatchRegex(column="code", regex="^C[0-9]{6}$"),
        kinds.ExpectColumnValuesToNotBeNull(column="balance", mostly=0.9),
        kinds.ExpectColumnMeanToBeBetween(column="age", min_value=40, max_value=55),
        kinds.ExpectTableRowCountToBeBetween(min_value=MIN_ROWS),
    ]
    if dates:
        suite.append(
            kinds.ExpectColumnValuesToMatchStrftimeFormat(
                column="joined", strftime_format="%Y-%m-%d"
            )
        )
    context = gx.get_context(mode="ephemeral")
    asset = context.data_sources.add_pandas("rows").add_dataframe_asset("table")
    batch = asset.add_batch_definition_whole_dataframe("all").get_batch({"dataframe": frame})
    result = batch.validate(
        gx.ExpectationSuite(name="suite", expectations=suite),
        result_format={"result_format": "COMPLETE", "unexpected_index_column_names": ["id"]},
    )
    (failed,) = (item for item in result.results if not item.success)
    assert failed.result["unexpected_count"] == len(frame) // 10_000


def without_dates(folder: Path) -> None:
    """The same without the form of the date."""
    pandas(folder, dates=False)


def duckdb(folder: Path) -> None:
    """By hand: one table in memory, one query for the checks, one for each split."""
    import duckdb as engine

    connection = engine.connect()
    connection.execute("SET TimeZone = 'UTC'")
    connection.execute("SET enable_progress_bar = false")
    numbers = ("income", "score", "balance", "ratio", "delta")
    integers = ("id", "age", "months", "visits")
    casts = {name: f"TRY_CAST({name} AS DOUBLE)" for name in numbers}
    casts |= {name: f"TRY_CAST({name} AS BIGINT)" for name in integers}
    casts |= {"joined": "TRY_CAST(joined AS DATE)", "active": "TRY_CAST(active AS BOOLEAN)"}
    listed = ", ".join(f"{casts.get(name, name)} AS {name}" for name in COLUMNS)
    sets = f"region IN {tuple(REGIONS)} AND plan IN {tuple(PLANS)} AND label IN ('yes', 'no')"
    good = (
        "id IS NOT NULL AND age BETWEEN 18 AND 100 AND income >= 0 AND score BETWEEN 0 AND 100 "
        f"AND ratio BETWEEN 0 AND 1 AND months BETWEEN 0 AND 11 AND {sets} "
        "AND regexp_full_match(code, 'C[0-9]{6}') AND joined IS NOT NULL"
    )
    source = folder / "data/raw/table.csv"
    connection.execute(
        f"CREATE TABLE rows AS SELECT *, {good} AS good, hash(id) % 10 AS part FROM "
        f"(SELECT {listed} FROM read_csv('{source}', header = true, all_varchar = true))"
    )
    found = connection.execute(
        "SELECT count(*), count(*) FILTER (NOT good), count(DISTINCT id), avg(age), "
        "count(balance) / count(*) FROM rows"
    ).fetchone()
    assert found is not None
    rows, bad, ids, mean, share = found
    assert rows > MIN_ROWS
    assert (bad, ids) == (rows // 10_000, rows)
    assert 40 < mean < 55
    assert share > 0.9
    for name, parts in (("train", "< 8"), ("validation", "= 8"), ("test", "= 9")):
        query = f"SELECT * EXCLUDE (good, part) FROM rows WHERE good AND part {parts}"
        target = folder / f"{name}.parquet"
        connection.execute(f"COPY ({query}) TO '{target}' (FORMAT parquet, COMPRESSION zstd)")


WAYS = {"ingest": ingest, "pandas": pandas, "without_dates": without_dates, "duckdb": duckdb}

if __name__ == "__main__":
    main()
