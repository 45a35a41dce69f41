"""Models whose inputs are columns, texts or sound: what rows may say, what is answered."""

import asyncio
import io
import math
import wave
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from modelyard.package.scalars import SCALARS, from_tensor, from_text, to_tensor
from modelyard.serving.bodies import parse_audio
from modelyard.serving.failures import RequestError
from modelyard.serving.rows import parse_rows
from modelyard.serving.tensors import Tensor
from tests.unit.serving.conftest import Client
from tests.unit.serving.table_packages import (
    INPUTS,
    ROW,
    TOTAL,
    UNKNOWN,
    write_audio_package,
    write_table_package,
    write_text_package,
)
from tests.unit.serving.tiny_packages import place

NAMES = [spec["name"] for spec in INPUTS]


@pytest.fixture
def served(client: Client, folder: Path, tmp_path: Path) -> Client:
    digest = write_table_package(tmp_path / "staged", "regression")
    place(tmp_path / "staged", folder, "table", 1, digest, 1)
    client.scan()
    return client


def predict(client: Client, *rows: dict[str, Any]) -> Any:
    response = client("POST", "/predict", json={"rows": list(rows)})
    assert response.status_code == 200, response.text
    return response.json()["predictions"]


def refusal(client: Client, **options: Any) -> str:
    response = client("POST", "/predict", **options)
    assert response.status_code == 400, response.text
    return response.json()["error"]


def test_a_row_of_every_type_is_answered(served: Client) -> None:
    assert predict(served, ROW) == [{"prediction": TOTAL}]


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"age": None}, TOTAL - 31.5 - 1),
        ({"age": 40}, TOTAL - 31.5 + 40),
        ({"visits": 3.0}, TOTAL + 1),
        ({"married": False}, TOTAL - 1),
        ({"since": "1969-12-31"}, TOTAL - 10 - 1),
        ({"seen": "1970-01-01T02:01:40+02:00"}, TOTAL),
        ({"seen": "1970-01-01T00:01:40.5"}, TOTAL + 0.5),
        ({"status": None}, TOTAL - 2 + 1),
        ({"status": ""}, TOTAL - 2 + 1),
        ({"note": "élan", "status": "?"}, TOTAL - 3 - 2 + 2 * UNKNOWN),
    ],
)
def test_each_value_counts_as_the_graph_takes_it(
    served: Client, change: dict[str, Any], expected: float
) -> None:
    assert predict(served, ROW | change)[0]["prediction"] == pytest.approx(expected)


def test_an_absent_value_is_a_missing_one_and_rows_keep_their_order(served: Client) -> None:
    rows = [{"visits": 1}, ROW, dict.fromkeys(NAMES) | {"visits": 1}]
    found = [row["prediction"] for row in predict(served, *rows)]
    assert found == [1 - 4 + 2, TOTAL, found[0]]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"age": "31"}, "rows[1].age is '31'; expected is a number, or null where it is missing"),
        ({"age": True}, "rows[1].age is True; expected is a number"),
        ({"visits": 1.5}, "rows[1].visits is 1.5; expected is a whole number"),
        ({"visits": None}, "rows[1].visits is missing; expected is a whole number"),
        ({"married": 1}, "rows[1].married is 1; expected is true or false"),
        ({"since": "31.1.2024"}, "rows[1].since is '31.1.2024'; expected is a date in ISO 8601"),
        ({"since": "2024-02-30"}, "rows[1].since is '2024-02-30'; expected is a date"),
        ({"seen": 7}, "rows[1].seen is 7; expected is a time in ISO 8601"),
        ({"status": 3}, "rows[1].status is 3; expected is text"),
        ({"note": ["x"]}, "rows[1].note is a list; expected is text"),
        ({"agee": 3}, "rows[1] has 'agee'; the model's inputs are ['age', "),
    ],
)
def test_a_value_of_another_type_is_refused_by_row_and_key(
    served: Client, change: dict[str, Any], message: str
) -> None:
    assert message in refusal(served, json={"rows": [ROW, ROW | change]})


def test_no_answer_is_not_a_number(client: Client, folder: Path, tmp_path: Path) -> None:
    digest = write_table_package(tmp_path / "staged")
    place(tmp_path / "staged", folder, "table", 1, digest, 1)
    client.scan()
    words = "rows[1]: the model's answer is not a number"
    assert words in refusal(client, json={"rows": [ROW, ROW | {"age": 1e300}]})
    bodies = [{"rows": [ROW]}, {"rows": [ROW | {"age": -1e300}]}, {"rows": [ROW]}]

    async def ask_together() -> list[int]:
        calls = [client._client.post("/predict", json=body) for body in bodies]
        return [response.status_code for response in await asyncio.gather(*calls)]

    assert client.loop.run_until_complete(ask_together()) == [200, 400, 200]


def test_a_row_lacks_nothing_that_is_required(served: Client) -> None:
    assert "rows[0] lacks 'visits'" in refusal(served, json={"rows": [{"age": 1}]})
    assert "rows[0] is 7; expected is an object" in refusal(served, json={"rows": [7]})


@pytest.mark.parametrize("task", ["classification", "multi-label"])
def test_the_answer_is_that_of_the_task(
    client: Client, folder: Path, tmp_path: Path, task: str
) -> None:
    digest = write_table_package(tmp_path / "staged", task)
    place(tmp_path / "staged", folder, "table", 1, digest, 1)
    client.scan()
    (answer,) = predict(client, ROW)
    logits = [0.02 * TOTAL, 0.04 * TOTAL - 1]
    if task == "classification":
        high = 1 / (1 + math.exp(logits[0] - logits[1]))
        assert answer["label"] == "high"
        assert answer["probability"] == pytest.approx(high, abs=1e-6)
        assert answer["probabilities"] == pytest.approx({"low": 1 - high, "high": high}, abs=1e-6)
    else:
        expected = {
            name: 1 / (1 + math.exp(-logit))
            for name, logit in zip(("low", "high"), logits, strict=True)
        }
        assert answer == {
            "labels": ["low", "high"],
            "probabilities": pytest.approx(expected, abs=1e-6),
        }
        (answer,) = predict(client, {"visits": 1})
        assert answer["labels"] == []
    page = client("GET", "/v2/models/table").json()
    assert page["parameters"]["task"] == task
    assert page["parameters"]["labels"] == ["low", "high"]


def _tensors(**changes: Any) -> dict[str, Any]:
    tensors = []
    for spec in INPUTS:
        name, text = spec["name"], spec["dtype"] == "string"
        data = changes.get(name, ["good", None] if text else [1, 2.5])
        kind = "BYTES" if text else "FP64"
        tensors.append({"name": name, "shape": [2], "datatype": kind, "data": data})
    return {"inputs": tensors}


def test_infer_takes_bytes_and_null(served: Client) -> None:
    body = _tensors(age=[None, 3], note=["bad", "é"])
    page = served("POST", "/v2/models/table/infer", json=body).json()
    (output,) = page["outputs"]
    assert (output["name"], output["shape"]) == ("prediction", [2, 1])
    assert output["data"] == pytest.approx([-1 + 4 + 2 + 3, 3 + 4 * 2.5 + 1 + UNKNOWN])
    described = served("GET", "/v2/models/table").json()["inputs"]
    assert described[1] == {
        "name": "visits",
        "datatype": "FP64",
        "shape": [-1],
        "parameters": {"type": "integer", "required": True},
    }
    assert described[5]["datatype"] == "BYTES"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"age": ["x", 1]}, "age.data[0] is 'x'; expected is a number, or null"),
        ({"visits": [1, None]}, "visits.data[1] is None; expected is a number"),
        ({"note": [1, "x"]}, "note.data[0] is 1; expected is a string, or null"),
        ({"note": ["x"]}, "note.data must be a list of 2"),
        ({"note": [["x"], ["y"]]}, "note.data[0] is a list; expected is a string"),
        ({"note": "xy"}, "note.data must be a list of 2"),
    ],
)
def test_infer_refuses_other_data(served: Client, changes: dict[str, Any], message: str) -> None:
    response = served("POST", "/v2/models/table/infer", json=_tensors(**changes))
    assert response.status_code == 400
    assert message in response.json()["error"]


def test_rows_come_as_csv(served: Client) -> None:
    lines = ["visits,age,status,married,since", '2,31.5,"good",TRUE,1970-01-11', "1,,,,"]
    headers = {"content-type": "text/csv; charset=utf-8"}
    body = "\r\n".join(lines).encode("utf-8-sig")
    response = served("POST", "/predict", content=body, headers=headers)
    assert response.status_code == 200, response.text
    found = [row["prediction"] for row in response.json()["predictions"]]
    assert found == [TOTAL - 100 - 1 - 3 + 1, -1.0]
    for text, message in [
        ("visits,agee\n1,2\n", "rows[0] has 'agee'"),
        ("visits,age\n1\n", "rows[0] has 1 cells; the header has 2"),
        ("visits,age\n1,2\n1,x\n", "rows[1].age is 'x'; expected is a number"),
        ("visits,age\n1,1_0\n", "rows[0].age is '1_0'; expected is a number"),
        ("visits,age\n1,nan\n", "rows[0].age is 'nan'; expected is a number"),
        ("visits,visits\n1,2\n", "names 'visits' twice"),
        ("visits,age\n", "holds no row"),
        ("visits;age\n1;2\n", "the table's cells are divided by ';'; use commas"),
        ("visits\tnix\n1\t2\n", r"divided by '\t'; use commas"),
        ("nix;no\n1;2\n", "rows[0] has 'nix;no'"),
        ('visits,note\n1,"x\n', "of the table"),
        ("", "holds no row"),
    ]:
        assert message in refusal(served, content=text.encode(), headers=headers)
    assert "not UTF-8" in refusal(served, content=b"\xff\xfe", headers=headers)


def _wav(samples: np.ndarray, rate: int = 8000, channels: int = 1, width: int = 2) -> bytes:
    file = io.BytesIO()
    with wave.open(file, "wb") as writer:
        writer.setframerate(rate)
        writer.setnchannels(channels)
        writer.setsampwidth(width)
        writer.writeframes(samples.tobytes())
    return file.getvalue()


def test_sound_comes_as_wav(client: Client, folder: Path, tmp_path: Path) -> None:
    digest = write_audio_package(tmp_path / "staged")
    place(tmp_path / "staged", folder, "sound", 1, digest, 1)
    client.scan()
    headers = {"content-type": "audio/wav"}
    samples = np.arange(16, dtype=np.int16)
    for part, mean in ((samples, 7.5), (samples[:8], 28 / 16), (np.repeat(samples, 2), 7.5)):
        response = client("POST", "/predict", content=_wav(part), headers=headers)
        assert response.json()["predictions"] == [{"prediction": mean}]
    assert predict(client, {"sound": samples.tolist()}) == [{"prediction": 7.5}]
    stereo = np.repeat(samples, 2)
    response = client("POST", "/predict", content=_wav(stereo, channels=2), headers=headers)
    assert response.json()["predictions"] == [{"prediction": 7.5}]
    response = client("POST", "/predict", content=_wav(samples, rate=16000), headers=headers)
    assert response.status_code == 415
    assert "has 16000 Hz, the model takes 8000 Hz" in response.json()["error"]
    for body in (b"", b"RIFF", _wav(samples)[:30], _wav(samples[:0])):
        assert client("POST", "/predict", content=body, headers=headers).status_code == 400
    response = client("POST", "/predict", content=b"a,b", headers={"content-type": "text/csv"})
    assert response.status_code == 415


def test_a_text_comes_as_it_is(client: Client, folder: Path, tmp_path: Path) -> None:
    digest = write_text_package(tmp_path / "staged")
    place(tmp_path / "staged", folder, "review", 1, digest, 1)
    client.scan()
    headers = {"content-type": "text/plain"}
    response = client("POST", "/predict", content=b"good", headers=headers)
    assert response.json()["predictions"] == predict(client, {"review": "good"})
    assert predict(client, {"review": "ill"}) != predict(client, {"review": "good"})
    for body, message in ((b"\xff", "is not UTF-8"), (b"", "is empty"), (b" \n", "is empty")):
        assert message in refusal(client, content=body, headers=headers)


@pytest.mark.parametrize("kind", ["text", "category"])
def test_an_empty_text_is_a_missing_one(kind: str) -> None:
    required = Tensor("note", "string", (-1,), kind, required=True)
    for value in ("", None):
        with pytest.raises(RequestError, match=r"rows\[1\]\.note is missing; expected is text"):
            parse_rows({"rows": [{"note": "x"}, {"note": value}]}, (required,))
    optional = Tensor("note", "string", (-1,), kind)
    assert parse_rows({"rows": [{"note": ""}]}, (optional,))["note"].tolist() == [""]


def test_other_bodies_are_for_other_models(served: Client) -> None:
    for kind in ("text/plain", "audio/wav", "image/png", "application/x-www-form-urlencoded"):
        response = served("POST", "/predict", content=b"x", headers={"content-type": kind})
        assert response.status_code == 415
    assert "text/csv" in response.json()["error"]


def test_strings_of_many_requests_make_one_batch(served: Client) -> None:
    import asyncio

    (model,) = (entry.live for entry in served.app.table.entries.values())
    from modelyard.serving.rows import parse_rows

    async def ask() -> list[list[np.ndarray]]:
        inputs = [
            parse_rows({"rows": [ROW | {"age": age}] * 2}, model.model.inputs) for age in range(5)
        ]
        return await asyncio.gather(*(model.batcher.submit(one) for one in inputs))

    answers = served.loop.run_until_complete(ask())
    for age, (values,) in enumerate(answers):
        assert values[:, 0].tolist() == [TOTAL - 31.5 + age] * 2
    assert 'modelyard_batch_rows_count{model="table",version="1"} 1.0' in (
        served("GET", "/metrics").text
    )


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats() | st.text(max_size=6),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=2)
    ),
    max_leaves=6,
)


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(rows=st.lists(st.dictionaries(st.sampled_from(NAMES), JSON), min_size=1, max_size=3))
def test_no_row_gives_a_server_error(served: Client, rows: list[dict[str, Any]]) -> None:
    import json

    body = json.dumps({"rows": [{"visits": 1} | row for row in rows]})
    assert served("POST", "/predict", content=body.encode()).status_code in (200, 400)


TIMES = {
    "number": st.floats(allow_nan=False, allow_infinity=False),
    "integer": st.integers(-(2**53), 2**53).map(float),
    "boolean": st.booleans().map(float),
    "date": st.integers(-700_000, 2_900_000).map(float),
    "datetime": st.integers(-(2**32), 2**33).map(float),
    "category": st.text(),
    "text": st.text(),
}


@settings(max_examples=60, deadline=None)
@given(data=st.data(), kind=st.sampled_from(sorted(SCALARS)))
def test_a_value_of_the_model_is_written_and_read_again(data: st.DataObject, kind: str) -> None:
    value = data.draw(TIMES[kind])
    written = from_tensor(kind, value)
    assert to_tensor(kind, written) == value
    if written is not None and kind not in ("category", "text"):
        assert to_tensor(kind, from_text(kind, str(written))) == value
    missing = to_tensor(kind, None)
    assert from_tensor(kind, missing) is None
    assert from_text(kind, "") is None


@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_no_sound_gives_a_server_error(data: st.DataObject) -> None:
    content = bytearray(_wav(np.arange(16, dtype=np.int16)))
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    inputs = (Tensor("sound", "int16", (-1, 16), "audio", sample_rate=8000),)
    body = bytes(content[: data.draw(st.integers(0, len(content)))])
    assert _status(body, inputs) in (200, 400, 415)


def _status(body: bytes, inputs: tuple[Tensor, ...]) -> int:
    try:
        found = parse_audio(body, inputs)["sound"]
    except RequestError as error:
        return error.status
    return 200 if found.shape == (1, 16) else 500
