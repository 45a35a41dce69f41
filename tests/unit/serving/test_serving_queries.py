"""A row in the address: as ``/predict``, read strictly, kept by the caller while it holds."""

from pathlib import Path
from typing import Any
from urllib.parse import quote_from_bytes, urlencode

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from modelyard.serving import keys
from modelyard.serving.app import App
from modelyard.serving.failures import RequestError
from modelyard.serving.keys import KeyFile
from modelyard.serving.model import Model
from modelyard.serving.queries import MAX_QUERY, parse_query
from modelyard.serving.tensors import Tensor
from tests.unit.serving.conftest import Client
from tests.unit.serving.table_packages import INPUTS, ROW, write_table_package, write_text_package
from tests.unit.serving.tiny_packages import place, point, publish

SETTINGS = settings(
    max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
QUERY = {**ROW, "married": "true"}
MODEL: Any = Model(
    "m",
    1,
    "",
    "regression",
    (Tensor("x", "float64", (-1,), "number"), Tensor("t", "string", (-1,), "text")),
    (),
    (),
    session=None,  # pyright: ignore[reportArgumentType]
)


@pytest.fixture
def served(client: Client, folder: Path, tmp_path: Path) -> Client:
    publish(folder, "digits", 1, 1)
    for name, write in (("table", write_table_package), ("reviews", write_text_package)):
        place(tmp_path / name, folder, name, 1, write(tmp_path / name), 1)
    client.scan()
    return client


def test_it_answers_as_the_same_row_in_a_body(served: Client) -> None:
    answer = served("GET", "/predict/table", params=QUERY)
    assert answer.status_code == 200
    assert answer.json() == served("POST", "/predict/table", json={"rows": [ROW]}).json()
    assert answer.headers["x-model-name"] == "table"
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["cross-origin-resource-policy"] == "same-origin"
    assert answer.headers.get_list("cache-control") == ["private, no-cache"]
    text = served("GET", "/predict/reviews", params={"review": "good"}).json()
    body = {"rows": [{"review": "good"}]}
    assert text == served("POST", "/predict/reviews", json=body).json()
    lone = served("GET", "/predict/table", params={"visits": 1})
    assert lone.json() == served("POST", "/predict/table", json={"rows": [{"visits": 1}]}).json()
    assert 'requests_total{model="table",version="1"} 4.0' in served("GET", "/metrics").text


def test_an_answer_is_kept_until_another_version_answers(served: Client, folder: Path) -> None:
    first = served("GET", "/predict/table", params=QUERY)
    tag = {"if-none-match": first.headers["etag"]}
    again = served("GET", "/predict/table", params=QUERY, headers=tag)
    assert (again.status_code, again.content) == (304, b"")
    assert again.headers["x-model-version"] == "1"
    assert again.headers["cache-control"] == "private, no-cache"
    head = served("HEAD", "/predict/table", params=QUERY)
    assert (head.status_code, head.headers["etag"]) == (200, first.headers["etag"])
    assert head.headers["content-length"] == str(len(first.content))
    other = served("GET", "/predict/table", params=QUERY | {"age": 7}, headers=tag)
    assert other.status_code == 200
    # The same package under another number gives the same scores.
    version = next((folder / "table/versions").iterdir())
    digest = served("GET", "/health").json()["models"]["table"]["digest"]
    version.rename(version.with_name(f"2-{digest[:12]}"))
    point(folder, "table", 2, digest, 2)
    served.scan()
    swapped = served("GET", "/predict/table", params=QUERY, headers=tag)
    assert (swapped.status_code, swapped.json()["version"]) == (200, 2)


@pytest.mark.parametrize(
    ("path", "status", "words"),
    [
        ("/predict/table", 400, "the query is empty"),
        ("/predict/table?age=1", 400, "the query lacks 'visits'"),
        ("/predict/table?visits=1&wage=3", 400, "the query has 'wage'"),
        ("/predict/table?visits=1&visits=1", 400, "names 'visits' twice"),
        ("/predict/table?visits=two", 400, "visits is 'two'; expected is a whole number"),
        ("/predict/table?visits=1.5", 400, "visits is 1.5; expected is a whole number"),
        ("/predict/table?visits=", 400, "leave it out where it is missing"),
        ("/predict/table?visits=nan", 400, "visits is 'nan'"),
        ("/predict/table?visits=1&since=31.1.2024", 400, "since is '31.1.2024'"),
        ("/predict/table?visits=1&married=1", 400, "true or false"),
        ("/predict/table?visits=%zz", 400, "two hex digits"),
        ("/predict/table?note=%ff&visits=1", 400, "UTF-8"),
        ("/predict/table?note=" + "a" * MAX_QUERY, 414, "POST /predict/table"),
        ("/predict/digits?image=1", 405, "image"),
        ("/predict/nobody?a=1", 404, "no model"),
        ("/predict?visits=1", 400, "name the model"),
    ],
)
def test_what_is_refused_names_the_remedy(
    served: Client, path: str, status: int, words: str
) -> None:
    answer = served("GET", path)
    assert answer.status_code == status
    assert words in answer.json()["error"]
    assert "rows[0]" not in answer.text
    assert answer.headers["cache-control"] == "no-store"
    assert "etag" not in answer.headers
    if status == 405:
        assert answer.headers["allow"] == "POST"


def test_a_refused_method_is_told_what_the_model_takes(served: Client) -> None:
    for name, allowed in (("table", "POST, GET, HEAD"), ("digits", "POST")):
        answer = served("DELETE", f"/predict/{name}")
        assert (answer.status_code, answer.headers["allow"]) == (405, allowed)


def test_without_a_name_the_one_model_answers(client: Client, folder: Path, tmp_path: Path) -> None:
    place(tmp_path / "t", folder, "table", 1, write_table_package(tmp_path / "t"), 1)
    client.scan()
    assert client("GET", "/predict", params=QUERY).json()["model"] == "table"


def test_a_key_is_asked_for(folder: Path, tmp_path: Path, client: Client) -> None:
    place(tmp_path / "t", folder, "table", 1, write_table_package(tmp_path / "t"), 1)
    ours, _ = keys.add(tmp_path / "keys.json", "shop", ("table",), None, None)
    others, _ = keys.add(tmp_path / "keys.json", "shop", ("digits",), None, None)
    guarded = Client(App(folder, "worker-1", keys=KeyFile(tmp_path / "keys.json")), client.loop)
    guarded.scan()
    for path in ("/predict", "/predict/table"):
        for key, status in (("", 401), (others, 403), (ours, 200)):
            answer = guarded("GET", path, params=QUERY, headers={"x-api-key": key})
            assert answer.status_code == status


@SETTINGS
@given(st.dictionaries(st.sampled_from(["x", "t"]), st.text(min_size=1), min_size=1))
def test_text_comes_through_as_it_was_written(row: dict[str, str]) -> None:
    row = row | ({"x": "7"} if "x" in row else {})
    found = parse_query(urlencode(row).encode(), MODEL)
    assert found["t"][0] == row.get("t", "")
    assert found["x"][0] == 7 if "x" in row else found["x"][0] != found["x"][0]
    percent = "&".join(f"{name}={quote_from_bytes(row[name].encode(), safe='')}" for name in row)
    assert parse_query(percent.encode(), MODEL)["t"][0] == row.get("t", "")


@SETTINGS
@given(
    st.binary(max_size=60)
    | st.lists(
        st.sampled_from([b"x", b"t", b"=", b"&", b"%", b"%e2%82", b"%41", b"+", b"1", b"\xff"]),
        max_size=12,
    ).map(b"".join)
)
def test_any_query_is_answered_or_refused(query: bytes) -> None:
    refused, found = None, {}
    try:
        found = parse_query(query, MODEL)
    except RequestError as error:
        refused = error
    if refused is None:
        assert {name: array.shape for name, array in found.items()} == {"x": (1,), "t": (1,)}
    else:
        assert refused.status == 400
        assert "rows[0]" not in refused.message


@SETTINGS
@given(value=st.text(max_size=5), name=st.sampled_from([spec["name"] for spec in INPUTS]))
def test_no_value_gives_a_server_error(served: Client, name: str, value: str) -> None:
    answer = served("GET", "/predict/table", params=QUERY | {name: value})
    assert answer.status_code in (200, 400)
