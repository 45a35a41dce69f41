"""Rounded answers: less is told, and what is told first stays right."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from modelyard.artifacts import write_json
from modelyard.serving.disclose import disclose
from modelyard.serving.model import Model
from modelyard.serving.serve_settings import ServeSettings
from tests.unit.serving.conftest import Client
from tests.unit.serving.table_packages import ROW, write_table_package
from tests.unit.serving.tiny_packages import place, publish

DTYPES = st.sampled_from([np.float16, np.float32, np.float64])
SETTINGS = st.builds(
    ServeSettings,
    decimals=st.none() | st.integers(0, 9),
    top=st.none() | st.integers(1, 8),
).filter(lambda settings: settings.decimals is not None or settings.top is not None)


@st.composite
def scores(draw: Any, is_softmax: bool) -> np.ndarray:
    """[rows, classes]; classes often come close to each other, or are equal."""
    shape = draw(st.tuples(st.integers(1, 4), st.integers(2, 12)))
    values = st.floats(0, 1) | st.sampled_from([0.5, 0.499, 0.501, 0.4999999, 0.5000001, 0.0, 1.0])
    found = draw(arrays.arrays(np.float64, shape, elements=values))
    if is_softmax:
        found = np.exp(found) / np.exp(found).sum(axis=1, keepdims=True)
    return found.astype(draw(DTYPES))


def model(task: str, width: int) -> Any:
    return Model("m", 1, "", task, (), (), tuple("abcdefghijkl"[:width]), session=None)  # type: ignore[arg-type]


@given(scores(is_softmax=True) | scores(is_softmax=False), SETTINGS)
def test_the_class_stays_and_no_more_than_asked_is_told(
    found: np.ndarray, settings: ServeSettings
) -> None:
    before = found.copy()
    (shown,) = disclose(model("classification", found.shape[1]), [found], settings)
    assert np.array_equal(found, before)
    assert shown.shape == found.shape
    best = found.argmax(axis=1)
    assert shown.argmax(axis=1).tolist() == best.tolist()
    as_declared = shown.astype(found.dtype)
    assert as_declared.argmax(axis=1).tolist() == best.tolist()
    if settings.top is not None:
        assert (np.count_nonzero(shown, axis=1) <= settings.top).all()
    if settings.decimals is not None:
        assert np.array_equal(shown, np.round(shown, settings.decimals))
        rows = np.arange(len(found))
        others = shown.copy()
        others[rows, best] = -1
        assert (others.max(axis=1) < shown[rows, best]).all()
        assert (shown >= 0).all()
        kept = np.abs(shown - found.astype(np.float64))[shown > 0]
        assert (kept <= 1.5 * 10.0**-settings.decimals + 1e-9).all()


@given(scores(is_softmax=False), SETTINGS)
def test_the_labels_stay(found: np.ndarray, settings: ServeSettings) -> None:
    (shown,) = disclose(model("multi-label", found.shape[1]), [found], settings)
    assert np.array_equal(shown > 0.5, found > 0.5)
    assert np.array_equal(shown.astype(found.dtype) > 0.5, found > 0.5)
    if settings.decimals is not None:
        assert np.array_equal(shown, np.round(shown, settings.decimals))
    if settings.top is not None:
        most = np.maximum(settings.top, (found > 0.5).sum(axis=1))
        assert (np.count_nonzero(shown, axis=1) <= most).all()


@given(arrays.arrays(np.float32, (3, 1), elements=st.floats(-1e6, 1e6, width=32)), SETTINGS)
def test_a_prediction_is_rounded_and_nothing_else(
    found: np.ndarray, settings: ServeSettings
) -> None:
    (shown,) = disclose(model("regression", 1), [found], settings)
    as_double = found.astype(np.float64)
    decimals = settings.decimals
    expected = as_double if decimals is None else np.round(as_double, decimals)
    assert np.array_equal(shown, expected)


def test_of_a_thousand_classes_the_likeliest_is_still_seen() -> None:
    found = np.full((1, 1000), 0.001, np.float32)
    found[0, 7] = 0.0011
    (shown,) = disclose(model("classification", 1000), [found], ServeSettings(decimals=2))
    assert np.flatnonzero(shown).tolist() == [7]


def test_a_version_is_judged_by_what_it_says_itself(client: Client, folder: Path) -> None:
    write_json(folder / "digits/serve.json", {"disclose": {"decimals": 0, "top": 1}})
    publish(folder, "digits", 1, 1)
    client.scan()
    answer = client("POST", "/predict", json={"rows": [{"image": [[0] * 4] * 4}]}).json()
    assert sorted(answer["predictions"][0]["probabilities"].values()) == [0.0, 0.0, 1.0]


@pytest.mark.parametrize("task", ["classification", "multi-label", "regression"])
def test_each_way_to_ask_gives_the_same(
    client: Client, folder: Path, tmp_path: Path, task: str
) -> None:
    digest = write_table_package(tmp_path / "staged", task)
    place(tmp_path / "staged", folder, "table", 1, digest, 1)
    client.scan()
    row = ROW | {"age": 31.27}
    body = {"rows": [row]}
    precise = client("POST", "/predict/table", json=body).json()["predictions"][0]
    write_json(folder / "table/serve.json", {"disclose": {"decimals": 1, "top": 1}})
    client.scan()
    shown = client("POST", "/predict/table", json=body).json()["predictions"][0]
    assert shown != precise
    frame = {"dataframe_records": [row]}
    invoked = client("POST", "/invocations/table", json=frame).json()["predictions"][0]
    assert invoked == shown
    tensors = client("GET", "/openapi.json").json()["paths"]["/v2/models/table/infer"]["post"]
    tree = tensors["requestBody"]["content"]["application/json"]["example"]
    tree["inputs"][0]["data"] = [31.27]
    (output,) = client("POST", "/v2/models/table/infer", json=tree).json()["outputs"]
    tree["parameters"] = {"binary_data_output": True}
    binary = client("POST", "/v2/models/table/infer", json=tree)
    length = int(binary.headers["inference-header-content-length"])
    as_bytes = np.frombuffer(binary.content[length:], "<f4")
    assert output["datatype"] == "FP32"
    if task == "regression":
        assert precise["prediction"] == pytest.approx(149.27)
        assert [shown["prediction"], *output["data"]] == [149.3, 149.3]
        assert as_bytes.tolist() == pytest.approx([149.3])
    else:
        assert list(shown["probabilities"].values()) == output["data"]
        assert as_bytes == pytest.approx(output["data"], abs=1e-6)
        assert max(output["data"]) in (0.9, 1.0)
        kept = shown.get("labels") or [shown["label"]]
        assert kept == (precise.get("labels") or [precise["label"]])
    write_json(folder / "table/serve.json", {"disclose": None})
    client.scan()
    assert client("POST", "/predict/table", json=body).json()["predictions"][0] == precise
