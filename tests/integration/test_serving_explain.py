"""Explanations over HTTP: two workers, one explainer beside them that may die and come again."""

import shutil
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest
from playwright.sync_api import Browser, expect

from tests.integration.serving_processes import server, wait_until
from tests.integration.test_serving_page import browser  # noqa: F401 - a fixture
from tests.unit.explaining.explained_packages import (
    LABELS,
    SIZE,
    TABLE_ROWS,
    TYPES,
    write_image,
    write_table,
)
from tests.unit.serving.tiny_packages import place

pytestmark = pytest.mark.server

PIXELS = [[(y * SIZE + x) * 7 % 256 for x in range(SIZE)] for y in range(SIZE)]
TABLE = "/v2/models/customers/explain"
IMAGE = "/v2/models/digits/explain"


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    # Longer than the address of a socket may be.
    return tmp_path_factory.mktemp("a-long-name-of-a-folder" * 4) / "serving"


@pytest.fixture(scope="module")
def url(root: Path) -> Iterator[str]:
    for name, write in (("customers", write_table), ("digits", write_image)):
        staged = root.parent / name
        place(staged, root, name, 3, write(staged), 1)
    with server(root, root.parent / "log", "--workers", "2") as address:
        ready = f"{address}/v2/health/ready"
        wait_until(lambda: httpx.get(ready, trust_env=False).status_code == 200)
        yield address
    assert explainers(root) == [], "it ends with the server"
    assert "Traceback" not in (root.parent / "log").read_text()


def explainers(root: Path) -> list[psutil.Process]:
    found = []
    for process in psutil.process_iter(["cmdline", "status"]):
        words = process.info["cmdline"] or []
        if "modelyard.explaining" in words and str(root) in words:
            found.append(process)
    return found


def post(url: str, path: str, **body: Any) -> httpx.Response:
    return httpx.post(url + path, json=body, timeout=60, trust_env=False)


def explained(url: str, path: str, **body: Any) -> httpx.Response:
    """As a caller does who comes back when told to: a busy machine may need longer to start."""

    def answered() -> httpx.Response | None:
        answer = post(url, path, **body)
        return None if answer.status_code == 503 and answer.headers["retry-after"] else answer

    return wait_until(answered, seconds=90)


def test_a_tables_row_is_explained_and_workers_stay_light(url: str, root: Path) -> None:
    explained(url, TABLE, rows=TABLE_ROWS[:1])
    answer = httpx.post(
        url + TABLE,
        json={"rows": TABLE_ROWS[:2], "target": "high", "steps": 100},
        headers={"x-request-id": "why-1"},
        timeout=60,
        trust_env=False,
    )
    assert answer.status_code == 200, answer.text
    named = [answer.headers[f"x-{name}"] for name in ("model-name", "model-version", "request-id")]
    assert named == ["customers", "3", "why-1"]
    page = answer.json()
    assert (page["explains"], page["steps"], page["baseline"]) == (
        "reference fp32 model",
        100,
        "typical",
    )
    predicted = post(url, "/predict/customers", rows=TABLE_ROWS[:2]).json()["predictions"]
    for explanation, prediction in zip(page["explanations"], predicted, strict=True):
        assert explanation["target"] == "high"
        assert explanation["served_score"] == pytest.approx(prediction["probabilities"]["high"])
        assert abs(explanation["served_difference"]) < 1e-5
        shares = {share["input"]: share["attribution"] for share in explanation["attributions"]}
        assert shares.keys() == TYPES.keys()
        distance = explanation["score"] - explanation["baseline_score"]
        assert sum(shares.values()) == pytest.approx(distance, abs=1e-3)
        assert abs(explanation["convergence_delta"]) < 1e-3

    (explainer,) = explainers(root)
    assert "libtorch" in Path(f"/proc/{explainer.pid}/maps").read_text()
    for worker in (root / ".workers").glob("[!.]*"):
        assert "libtorch" not in Path(f"/proc/{int(worker.read_text())}/maps").read_text()
    assert (root / ".explain/socket").stat().st_mode & 0o077 == 0
    assert (root / ".explain").stat().st_mode & 0o077 == 0
    metrics = httpx.get(f"{url}/metrics", trust_env=False).text
    assert 'modelyard_explanations_total{model="customers",version="3"} ' in metrics


def test_a_picture_is_explained_as_rows_tensors_or_a_version(url: str) -> None:
    tensor = {"name": "image", "shape": [1, SIZE, SIZE], "datatype": "UINT8", "data": [PIXELS]}
    options = {"steps": 30, "baseline": "white"}
    first = explained(url, IMAGE, rows=[{"image": PIXELS}], **options)
    second = post(url, "/v2/models/digits/versions/3/explain", inputs=[tensor], parameters=options)
    assert first.status_code == 200, first.text
    assert first.json() == second.json()
    (explanation,) = first.json()["explanations"]
    best = post(url, "/predict/digits", rows=[{"image": PIXELS}]).json()["predictions"][0]
    assert explanation["target"] == best["label"]
    (share,) = explanation["attributions"]
    assert [len(line) for line in share["map"]] == [SIZE] * SIZE
    assert sum(map(sum, share["map"])) == pytest.approx(share["attribution"])


def test_a_person_asks_why(url: str, browser: Browser) -> None:
    page = browser.new_page()
    troubles: list[str] = []
    page.on("console", lambda message: troubles.append(message.text))
    page.on("pageerror", lambda error: troubles.append(str(error)))
    page.goto(f"{url}/models/customers")
    page.get_by_label("age").fill("61")
    page.get_by_role("button", name="Explain").click()
    expect(page.locator("#explained-by")).to_have_text("3", timeout=30_000)
    row = {**TABLE_ROWS[0], "age": 61.0}
    (explanation,) = post(url, TABLE, rows=[row]).json()["explanations"]
    expect(page.locator("#why")).to_have_text(f"why {explanation['target']}")
    names = [share["input"] for share in explanation["attributions"]]
    assert page.locator(".share .name").all_text_contents() == names
    widths = [fill.bounding_box() for fill in page.locator(".share .fill").all()]
    sizes = [box["width"] if box else 0 for box in widths]
    assert sizes == sorted(sizes, reverse=True)
    assert sizes[0] > 0

    page.goto(f"{url}/models/digits")
    page.get_by_role("button", name="Explain").click()
    expect(page.locator("#map")).to_be_visible(timeout=30_000)
    assert page.locator("#map").evaluate("map => [map.width, map.height]") == [SIZE, SIZE]
    pixels = "map => [...map.getContext('2d').getImageData(0, 0, 6, 6).data]"
    assert len(set(page.locator("#map").evaluate(pixels))) > 6
    page.get_by_role("button", name="Predict").click()
    expect(page.locator("#answered-by")).to_have_text("3")
    assert troubles == []
    page.close()


@pytest.mark.parametrize(
    ("path", "body", "status", "message"),
    [
        (TABLE, {"rows": [{"age": "old"}]}, 400, "rows[0].age is 'old'"),
        (TABLE, {"rows": TABLE_ROWS, "target": "hihg"}, 400, "'high'"),
        (TABLE, {"rows": TABLE_ROWS, "steps": 0}, 400, "2 to 200"),
        (TABLE, {"rows": TABLE_ROWS[:1] * 33}, 413, "at most 32"),
        ("/v2/models/customers/versions/9/explain", {"rows": TABLE_ROWS}, 404, "not loaded"),
    ],
)
def test_what_cannot_be_explained_is_refused(
    url: str, path: str, body: dict[str, Any], status: int, message: str
) -> None:
    answer = post(url, path, **body)
    assert (answer.status_code, message in answer.json()["error"]) == (status, True), answer.text


def test_callers_at_once_share_one_explainer_that_comes_again(url: str, root: Path) -> None:
    assert explained(url, TABLE, rows=TABLE_ROWS).status_code == 200
    (before,) = explainers(root)
    before.kill()
    with ThreadPoolExecutor(6) as pool:
        asked = [pool.submit(explained, url, TABLE, rows=TABLE_ROWS[:1]) for _ in range(6)]
        assert post(url, "/predict/customers", rows=TABLE_ROWS).status_code == 200
        answers = [future.result() for future in asked]
    assert [answer.status_code for answer in answers] == [200] * 6
    assert len({answer.text for answer in answers}) == 1
    (after,) = explainers(root)
    assert after.pid != before.pid


def test_an_altered_package_is_not_explained(url: str, root: Path) -> None:
    """It is checked anew when it is read, for the server read it long ago."""
    staged = root.parent / "altered"
    digest = write_table(staged, "regression")
    place(staged, root, "price", 1, digest, 1)
    (package,) = (root / "price/versions").iterdir()
    ready = f"{url}/v2/models/price/ready"
    for _ in range(20):
        wait_until(lambda: httpx.get(ready, trust_env=False).status_code == 200)
    network = package / "network.pt2"
    shutil.copy(network, staged.with_suffix(".pt2"))
    network.write_bytes(network.read_bytes()[:-100])
    answer = post(url, "/v2/models/price/explain", rows=TABLE_ROWS[:1])
    assert answer.status_code == 503
    assert answer.headers["retry-after"]
    assert str(root) not in answer.text
    shutil.copy(staged.with_suffix(".pt2"), network)
    answer = explained(url, "/v2/models/price/explain", rows=TABLE_ROWS[:1])
    assert answer.status_code == 200
    assert "target" not in answer.json()["explanations"][0]
    refused = post(url, "/v2/models/price/explain", rows=TABLE_ROWS[:1], target=LABELS[0])
    assert (refused.status_code, "one number" in refused.text) == (400, True)
