"""MLflow's scoring protocol: the bodies that `mlflow models serve` takes."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from modelyard.package import PackageReader
from modelyard.registry.mlmodel import write_model_files
from tests.unit.serving.conftest import Client
from tests.unit.serving.table_packages import ROW, TOTAL, write_table_package
from tests.unit.serving.tiny_packages import place, publish

IMAGES = np.random.default_rng(3).integers(0, 256, (2, 4, 4), dtype=np.uint8).tolist()
TWO = [{"prediction": TOTAL}, {"prediction": TOTAL - 31.5 - 1}]
LESS: dict[str, Any] = ROW | {"age": None}


@pytest.fixture
def table(client: Client, folder: Path, tmp_path: Path) -> Client:
    digest = write_table_package(tmp_path / "staged", "regression")
    place(tmp_path / "staged", folder, "table", 1, digest, 1)
    client.scan()
    return client


@pytest.fixture
def pictures(client: Client, folder: Path) -> Client:
    publish(folder, "digits", 1, 1)
    client.scan()
    return client


def split(*rows: dict[str, Any]) -> dict[str, Any]:
    return {"columns": list(rows[0]), "index": [0, 1], "data": [list(row.values()) for row in rows]}


@pytest.mark.parametrize(
    "body",
    [
        {"dataframe_split": split(ROW, LESS)},
        {"dataframe_records": [ROW, LESS]},
        {"instances": [ROW, LESS], "params": {}},
        {"inputs": [ROW, LESS]},
        {"inputs": {name: [ROW[name], LESS[name]] for name in ROW}},
        {"inputs": {name: [ROW[name], LESS[name]] for name in ROW} | {"since": [10, 10.0]}},
    ],
)
@pytest.mark.parametrize("path", ["/invocations", "/invocations/table"])
def test_rows_are_taken_in_each_of_mlflows_forms(
    table: Client, body: dict[str, Any], path: str
) -> None:
    response = table("POST", path, json=body)
    assert response.status_code == 200, response.text
    assert response.json() == {"predictions": TWO}


def test_csv_is_taken(table: Client) -> None:
    lines = [",".join(ROW), ",".join(str(value) for value in ROW.values())]
    headers = {"content-type": "text/csv; charset=utf-8"}
    response = table("POST", "/invocations", content="\n".join(lines), headers=headers)
    assert response.json() == {"predictions": TWO[:1]}


def test_columns_may_be_left_out_where_values_may_be_missing(table: Client) -> None:
    found = table("POST", "/invocations", json={"inputs": {"visits": [1, 2]}}).json()
    rows = [{"visits": 1}, {"visits": 2}]
    assert found == table("POST", "/invocations", json={"dataframe_records": rows}).json()
    response = table("POST", "/invocations", json={"inputs": {"married": [1.0]}})
    assert response.status_code == 400
    assert "'visits'" in response.json()["error"]


def test_the_example_that_is_logged_with_the_model_is_answered(
    table: Client, folder: Path, tmp_path: Path
) -> None:
    package = next((folder / "table/versions").iterdir())
    (tmp_path / "logged").mkdir()
    (tmp_path / "logged/package").symlink_to(package)
    write_model_files(tmp_path / "logged", PackageReader.open(package), "m-1", "r-1")
    body = (tmp_path / "logged/serving_input_example.json").read_bytes()
    assert json.loads(body).keys() == {"inputs"}
    response = table("POST", "/invocations", content=body)
    assert response.json() == {"predictions": TWO[:1]}


@pytest.mark.parametrize(
    "body",
    [
        {"instances": IMAGES},
        {"inputs": IMAGES},
        {"inputs": {"image": IMAGES}},
        {"instances": [{"image": image} for image in IMAGES]},
        {"dataframe_split": {"columns": ["image"], "data": [[image] for image in IMAGES]}},
    ],
)
def test_pictures_are_answered_as_predict_does(pictures: Client, body: dict[str, Any]) -> None:
    response = pictures("POST", "/invocations", json=body)
    assert response.status_code == 200, response.text
    rows = {"rows": [{"image": image} for image in IMAGES]}
    expected = pictures("POST", "/predict", json=rows).json()["predictions"]
    assert response.json() == {"predictions": expected}
    assert {row["label"] for row in expected} <= set("abc")


@pytest.mark.parametrize(
    ("body", "status", "words"),
    [
        ({}, 400, "one of dataframe_split, dataframe_records, instances, inputs"),
        ({"instances": [ROW], "inputs": [ROW]}, 400, "one of"),
        ({"instances": [ROW], "rows": 1}, 400, "'rows'"),
        ({"instances": [ROW], "params": {"n": 1}}, 400, "params"),
        ({"instances": [ROW], "params": False}, 400, "params"),
        ({"instances": [ROW], "params": 0}, 400, "params"),
        ({"instances": [1]}, 400, "must hold objects"),
        ({"instances": []}, 400, "list of 1 to 1024"),
        ({"inputs": 7}, 400, "list of 1 to 1024"),
        ({"dataframe_records": {}}, 400, "list of 1 to 1024"),
        ({"dataframe_records": [ROW | {"age": "x"}]}, 400, "rows[0].age is 'x'"),
        ({"dataframe_split": [1]}, 400, "dataframe_split"),
        ({"dataframe_split": {"columns": [1], "data": []}}, 400, "list of names"),
        ({"dataframe_split": {"columns": ["age", "age"], "data": []}}, 400, "twice"),
        ({"dataframe_split": {"columns": ["age"], "data": 1}}, 400, '"data" is 1'),
        ({"dataframe_split": {"columns": ["age"], "data": [[1, 2]]}}, 400, "data[0]"),
        ({"dataframe_split": {"columns": ["age"], "data": []}}, 400, "1 to 1024"),
        ({"dataframe_split": {"columns": ["age"], "data": [[1]] * 1025}}, 413, "at most 1024"),
        ({"inputs": {"visits": [1] * 1025}}, 413, "at most 1024"),
        ({"inputs": {"visits": [1], "age": []}}, 400, "lists of one length"),
        ({"inputs": {"visits": []}}, 400, "lists of one length"),
        ({"inputs": {}}, 400, "lists of one length"),
        ({"inputs": {"visits": 1}}, 400, "inputs.visits is 1"),
        ({"inputs": {"visits": [1], "agee": [1]}}, 400, "'agee'"),
        ({"inputs": {"visits": [1], "age": ["x"]}}, 400, "rows[0].age is 'x'"),
    ],
)
def test_a_body_that_is_none_of_them_is_refused(
    table: Client, body: dict[str, Any], status: int, words: str
) -> None:
    response = table("POST", "/invocations", json=body)
    assert response.status_code == status, response.text
    assert words in response.json()["error"]


SCRAPS = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.sampled_from([*ROW, "", "x"]),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from([*ROW]), inner, max_size=3)
    ),
    max_leaves=12,
)
FRAMES = st.fixed_dictionaries({"columns": SCRAPS, "data": SCRAPS})


@settings(
    max_examples=120, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    key=st.sampled_from(["dataframe_split", "dataframe_records", "instances", "inputs"]),
    value=SCRAPS | FRAMES,
)
def test_no_body_gives_a_server_error(table: Client, key: str, value: Any) -> None:
    response = table("POST", "/invocations", content=json.dumps({key: value}))
    assert response.status_code in (200, 400), response.text


def test_nan_is_a_missing_value(table: Client) -> None:
    body = json.dumps({"dataframe_records": [ROW | {"age": float("nan")}]})
    assert "NaN" in body
    found = table("POST", "/invocations", content=body)
    assert found.json() == {"predictions": TWO[1:]}
    text = {"dataframe_records": [ROW | {"note": "NaN"}]}
    assert table("POST", "/invocations", json=text).status_code == 200
    for broken in (body.replace("NaN", "Infinity"), body[:-1], "[NaN]", "[" * 5000 + "NaN"):
        response = table("POST", "/invocations", content=broken)
        assert response.status_code == 400
        assert "JSON" in response.json()["error"]


def test_other_content_is_refused(table: Client) -> None:
    headers = {"content-type": "application/vnd.apache.parquet"}
    response = table("POST", "/invocations", content=b"PAR1", headers=headers)
    assert response.status_code == 415
    assert "text/csv" in response.json()["error"]


def test_the_paths_of_mlflows_server_are_there(table: Client) -> None:
    for path in ("/ping", "/health", "/version"):
        assert table("GET", path).status_code == 200
