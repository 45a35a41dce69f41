"""The application, without a socket: pages, predictions, and that no body ever gives a 5xx."""

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from tests.unit.serving.conftest import Client
from tests.unit.serving.tiny_packages import answer, point, publish

SETTINGS = settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=5) | st.dictionaries(st.text(max_size=5), inner, max_size=3)
    ),
    max_leaves=20,
)
ROW = st.lists(
    st.lists(st.integers(0, 255) | JSON, min_size=4, max_size=4) | JSON, min_size=4, max_size=4
)


@pytest.fixture
def served(folder: Path, client: Client) -> Client:
    publish(folder, "digits", 1, 1)
    client.scan()
    return client


def _image(seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (4, 4), dtype=np.uint8)


def _expected(folder: Path, images: np.ndarray) -> np.ndarray:
    model = next((folder / "digits/versions").glob("1-*")) / "model.onnx"
    return answer(model, images)


def _acks(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "digits/acks/worker-0.json").read_text())


def test_predict_gives_labels_and_probabilities(served: Client, folder: Path) -> None:
    images = np.stack([_image(1), _image(2)])
    rows = [{"image": image.tolist()} for image in images]
    for path in ("/predict", "/predict/digits"):
        response = served("POST", path, json={"rows": rows}, headers={"x-request-id": "mine"})
        assert response.status_code == 200
        assert response.headers["x-model-name"] == "digits"
        assert response.headers["x-model-version"] == "1"
        assert response.headers["x-request-id"] == "mine"
        page = response.json()
        assert (page["model"], page["version"]) == ("digits", 1)
        for row, expected in zip(page["predictions"], _expected(folder, images), strict=True):
            assert list(row["probabilities"]) == ["a", "b", "c"]
            assert list(row["probabilities"].values()) == pytest.approx(expected, abs=1e-5)
            assert row["label"] == "abc"[expected.argmax()]
            assert row["probability"] == max(row["probabilities"].values())


@pytest.mark.parametrize("path", ["/v2/models/digits/infer", "/v2/models/digits/versions/1/infer"])
@pytest.mark.parametrize("flat", [True, False])
def test_infer_speaks_the_open_inference_protocol(
    served: Client, folder: Path, path: str, flat: bool
) -> None:
    images = np.stack([_image(1), _image(2)])
    data = images.reshape(-1).tolist() if flat else images.tolist()
    tensor = {"name": "image", "shape": [2, 4, 4], "datatype": "UINT8", "data": data}
    asked = {"id": "7", "inputs": [tensor], "outputs": [{"name": "probabilities"}]}
    page = served("POST", path, json=asked).json()
    assert (page["id"], page["model_name"], page["model_version"]) == ("7", "digits", "1")
    (output,) = page["outputs"]
    assert (output["name"], output["datatype"]) == ("probabilities", "FP32")
    assert output["shape"] == [2, 3]
    found = np.array(output["data"]).reshape(2, 3)
    assert found == pytest.approx(_expected(folder, images), abs=1e-5)


@pytest.mark.parametrize("kind", ["PNG", "JPEG"])
@pytest.mark.parametrize("mode", ["L", "RGB"])
def test_pictures_are_converted_to_the_declared_mode(served: Client, kind: str, mode: str) -> None:
    file = io.BytesIO()
    picture = Image.fromarray(_image()).convert(mode)
    picture.save(file, kind)
    decoded = np.asarray(Image.open(io.BytesIO(file.getvalue())).convert("L"))
    as_rows = served("POST", "/predict", json={"rows": [{"image": decoded.tolist()}]})
    headers = {"content-type": f"image/{kind.lower()}"}
    response = served("POST", "/predict", content=file.getvalue(), headers=headers)
    assert response.status_code == 200
    assert response.json()["predictions"] == as_rows.json()["predictions"]


def test_pictures_that_do_not_fit_are_refused_before_they_are_decoded(served: Client) -> None:
    headers = {"content-type": "image/png"}
    for size, reason in ((1000, "not 4 x 4"), (12_000, "more than 16,777,216 in all")):
        large = io.BytesIO()
        Image.new("1", (size, size)).save(large, "PNG")
        response = served("POST", "/predict", content=large.getvalue(), headers=headers)
        assert response.status_code == 400
        assert reason in response.json()["error"]
    small = io.BytesIO()
    Image.fromarray(_image()).save(small, "PNG")
    for body in (b"", b"no picture", small.getvalue()[:-30]):
        response = served("POST", "/predict", content=body, headers=headers)
        assert response.status_code == 400
    animated = io.BytesIO()
    pages = [Image.fromarray(_image(seed)) for seed in (1, 2)]
    pages[0].save(animated, "GIF", save_all=True, append_images=pages[1:])
    response = served("POST", "/predict", content=animated.getvalue(), headers=headers)
    assert response.status_code == 400
    assert "animated" in response.json()["error"]


@SETTINGS
@given(body=st.binary(max_size=200) | JSON.map(lambda tree: json.dumps(tree).encode()))
def test_no_body_gives_a_server_error(served: Client, body: bytes) -> None:
    for path in ("/predict", "/v2/models/digits/infer"):
        response = served("POST", path, content=body)
        assert response.status_code in (400, 413)
        assert response.json()["error"]
        assert response.headers["x-request-id"]


@SETTINGS
@given(
    rows=st.lists(st.fixed_dictionaries({"image": ROW | JSON}) | JSON, max_size=3),
    shape=st.just([1, 4, 4]) | JSON,
    datatype=st.just("UINT8") | JSON,
    extra=st.dictionaries(st.sampled_from(["id", "outputs", "parameters", "x"]), JSON, max_size=2),
)
def test_no_nearly_right_body_gives_a_server_error(
    served: Client, rows: list[Any], shape: Any, datatype: Any, extra: dict[str, Any]
) -> None:
    status = served("POST", "/predict", content=_dump({"rows": rows})).status_code
    assert status in (200, 400)
    data = rows[0] if rows else None
    tensor = {"name": "image", "shape": shape, "datatype": datatype, "data": data}
    body = _dump({"inputs": [tensor], **extra})
    assert served("POST", "/v2/models/digits/infer", content=body).status_code in (200, 400, 413)


def _dump(tree: Any) -> bytes:
    return json.dumps(tree).encode()


@pytest.mark.parametrize(
    ("method", "path", "options", "status", "words"),
    [
        ("POST", "/predict", {"content": b"\xff\xfe"}, 400, "not JSON"),
        ("POST", "/predict", {"content": b"[" * 5000}, 400, "not JSON"),
        ("POST", "/predict", {"content": b'{"rows": [{"image": [[NaN]]}]}'}, 400, "not JSON"),
        ("POST", "/predict", {"json": {"rows": []}}, 400, "1 to 1024"),
        ("POST", "/predict", {"json": {"rows": [{"pixels": 1}]}}, 400, "['image']"),
        ("POST", "/predict", {"json": {"rows": [{}] * 1025}}, 413, "at most 1024"),
        ("POST", "/predict", {"content": b" " * 100_001}, 413, "100000 bytes"),
        ("POST", "/predict", {"data": {"a": "b"}}, 415, "application/json"),
        (
            "POST",
            "/predict",
            {"content": b"{}", "headers": {"content-encoding": "gzip"}},
            415,
            "content-encoding",
        ),
        ("POST", "/predict/nobody", {"json": {}}, 404, "no model 'nobody'"),
        ("POST", "/v2/models/digits/versions/9/infer", {"json": {}}, 404, "[1]"),
        ("POST", "/v2/models/digits/infer", {"json": {"inputs": []}}, 400, "['image']"),
        ("GET", "/predict", {}, 405, "POST"),
        ("POST", "/metrics", {}, 405, "GET"),
        ("GET", "/nowhere", {}, 404, "/predict"),
        ("GET", "/v2/models/digits/elsewhere", {}, 404, "nothing at"),
        ("DELETE", "/v2/models/digits", {}, 405, "GET"),
    ],
)
def test_errors_name_the_remedy(
    served: Client, method: str, path: str, options: dict[str, Any], status: int, words: str
) -> None:
    response = served(method, path, **options)
    assert response.status_code == status
    assert words in response.json()["error"]
    assert "Traceback" not in response.text
    assert str(Path.cwd()) not in response.text


def test_a_failure_of_ours_says_nothing_of_its_inside(
    served: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any) -> None:
        raise RuntimeError("secret /path")

    monkeypatch.setattr("modelyard.serving.calls.render_predictions", fail)
    response = served("POST", "/predict", json={"rows": [{"image": _image().tolist()}]})
    assert response.status_code == 500
    assert "secret" not in response.text


def test_pages(served: Client) -> None:
    assert served("GET", "/v2").json()["name"] == "modelyard"
    assert served("GET", "/v2/health/live").status_code == 200
    assert served("GET", "/v2/health/ready").json() == {"ready": True}
    assert served("HEAD", "/ping").status_code == 200
    page = served("GET", "/v2/models/digits").json()
    assert page["versions"] == ["1"]
    (taken,) = page["inputs"]
    assert taken.pop("parameters") == {"type": "image", "fit": "refuse"}
    assert taken == {"name": "image", "datatype": "UINT8", "shape": [-1, 4, 4]}
    ready = served("GET", "/v2/models/digits/versions/1/ready").json()
    assert ready == {"name": "digits", "ready": True}
    assert served("GET", "/health").json()["models"]["digits"]["version"] == 1
    assert "modelyard" in served("GET", "/version").json()
    served("POST", "/predict", json={"rows": [{"image": _image().tolist()}]})
    served("POST", "/predict", json={})
    metrics = served("GET", "/metrics").text
    for line in (
        'modelyard_requests_total{model="digits",version="1"} 2.0',
        'modelyard_errors_total{model="digits",version="1"} 1.0',
        'modelyard_error_responses_total{status="400"} 1.0',
        'modelyard_request_seconds_count{model="digits",version="1"} 1.0',
        'modelyard_batch_rows_count{model="digits",version="1"} 1.0',
        'modelyard_swaps_total{model="digits"} 1.0',
        'modelyard_live_version{model="digits"} 1.0',
    ):
        assert line in metrics


def test_ready_waits_for_every_pointer(client: Client, folder: Path) -> None:
    assert client("GET", "/v2/health/ready").status_code == 503
    client.scan()
    assert client("GET", "/v2/health/ready").status_code == 200
    assert client("POST", "/predict", json={"rows": []}).status_code == 503
    publish(folder, "digits", 1, 1)
    client.loop.run_until_complete(_begin_scan(client))
    assert client("POST", "/predict/digits", json={}).status_code == 503
    response = client("GET", "/v2/health/ready")
    assert response.status_code == 503
    assert response.headers["retry-after"] == "1"
    client.scan()
    assert client("GET", "/v2/health/ready").status_code == 200
    client.app.drain()
    assert client("GET", "/v2/health/ready").status_code == 503


async def _begin_scan(client: Client) -> None:
    client.app.watcher.scan()


def test_a_new_version_goes_live_and_the_former_stays_warm(served: Client, folder: Path) -> None:
    first = _acks(folder)
    assert (first["state"], first["version"], first["sequence"]) == ("live", 1, 1)
    publish(folder, "digits", 2, 2)
    served.scan()
    assert _acks(folder)["sequence"] == 2
    body = {"rows": [{"image": _image().tolist()}]}
    assert served("POST", "/predict", json=body).headers["x-model-version"] == "2"
    assert served("GET", "/v2/models/digits").json()["versions"] == ["1", "2"]
    publish(folder, "digits", 3, 3)
    served.scan()
    assert served("GET", "/v2/models/digits").json()["versions"] == ["2", "3"]


def test_a_warm_version_returns_without_its_files(served: Client, folder: Path) -> None:
    digest = _acks(folder)["digest"]
    publish(folder, "digits", 2, 2)
    served.scan()
    for file in next((folder / "digits/versions").glob("1-*")).iterdir():
        file.unlink()
    point(folder, "digits", 1, digest, 3)
    served.scan()
    ack = _acks(folder)
    assert (ack["state"], ack["version"], ack["sequence"]) == ("live", 1, 3)


def _flip(package: Path) -> None:
    content = bytearray((package / "model.onnx").read_bytes())
    content[-10] ^= 1
    (package / "model.onnx").write_bytes(content)


def _remove_golden(package: Path) -> None:
    (package / "golden.json").unlink()


def _extra(package: Path) -> None:
    (package / "extra.bin").write_bytes(b"x")


@pytest.mark.parametrize(
    ("harm", "reason"),
    [(_flip, "model.onnx"), (_remove_golden, "golden.json"), (_extra, "extra.bin")],
)
def test_an_altered_version_is_refused_and_the_old_one_serves_on(
    served: Client, folder: Path, harm: Any, reason: str
) -> None:
    digest = publish(folder, "digits", 2, 2)
    harm(folder / f"digits/versions/2-{digest[:12]}")
    served.scan()
    ack = _acks(folder)
    assert (ack["state"], ack["version"], ack["sequence"]) == ("refused", 2, 2)
    assert reason in ack["reason"]
    assert str(folder) not in ack["reason"]
    response = served("POST", "/predict", json={"rows": [{"image": _image().tolist()}]})
    assert response.headers["x-model-version"] == "1"
    assert served("GET", "/v2/health/ready").status_code == 200
    assert 'modelyard_refusals_total{model="digits"} 1.0' in served("GET", "/metrics").text


def test_a_withdrawn_pointer_takes_the_model_away(served: Client, folder: Path) -> None:
    (folder / "digits/live.json").unlink()
    served.scan()
    assert served("GET", "/v2/models/digits").status_code == 404
    assert served("GET", "/v2/health/ready").status_code == 200
    assert 'modelyard_live_version{model="digits"} 0.0' in served("GET", "/metrics").text


@pytest.mark.parametrize(
    "change",
    [
        {"path": "../../etc"},
        {"digest": "x"},
        {"name": "other"},
        {"version": "1"},
        {"sequence": None},
    ],
)
def test_a_pointer_that_makes_no_sense_changes_nothing(
    served: Client, folder: Path, change: dict[str, Any]
) -> None:
    path = folder / "digits/live.json"
    pointer = json.loads(path.read_text())
    path.write_text(json.dumps({**pointer, "version": 2, **change}))
    served.scan()
    assert served("GET", "/health").json()["models"]["digits"]["version"] == 1


def test_two_models_must_be_named(served: Client, folder: Path) -> None:
    publish(folder, "letters", 5, 1)
    served.scan()
    body = {"rows": [{"image": _image().tolist()}]}
    assert served("POST", "/predict", json=body).status_code == 400
    assert served("POST", "/predict/letters", json=body).headers["x-model-version"] == "5"
    assert orjson.loads(served("GET", "/health").content)["models"].keys() == {"digits", "letters"}
