"""A person at a model's page, in headless Chromium."""

from collections.abc import Iterator
from pathlib import Path

import httpx
import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import Browser, expect, sync_playwright

from modelyard.artifacts import write_json
from modelyard.package import write_manifest
from tests.integration.serving_processes import server, wait_until
from tests.unit.serving.table_packages import write_table_package
from tests.unit.serving.tiny_packages import place, point, publish

pytestmark = pytest.mark.server

CHROMIUM = ["--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking"]


@pytest.fixture
def browser() -> Iterator[Browser]:
    with sync_playwright() as driver:
        chromium = driver.chromium.launch(executable_path="/usr/bin/chromium", args=CHROMIUM)
        yield chromium
        chromium.close()


def test_a_person_tries_models_and_sees_a_version_go_live(tmp_path: Path, browser: Browser) -> None:
    root = tmp_path / "serving"
    digests = {version: publish(root, "digits", version, 1) for version in (2, 1)}
    write_table_package(tmp_path / "table")
    kept = [{"kind": "category", "name": "status", "kept": ["good", "bad"]}]
    write_json(tmp_path / "table/preprocessing.json", {"features": kept})
    place(tmp_path / "table", root, "table", 7, write_manifest(tmp_path / "table"), 1)
    picture = tmp_path / "picture.png"
    pixels = np.random.default_rng(5).integers(0, 256, (4, 4), dtype=np.uint8)
    Image.fromarray(pixels).save(picture)
    with server(root, tmp_path / "server.log") as url:
        ready = f"{url}/v2/health/ready"
        wait_until(lambda: httpx.get(ready, trust_env=False).status_code == 200)
        page = browser.new_page()
        troubles: list[str] = []
        page.on("console", lambda message: troubles.append(message.text))
        page.on("pageerror", lambda error: troubles.append(str(error)))
        addresses: list[str] = []
        page.on("request", lambda request: addresses.append(request.url))

        page.goto(url)
        page.get_by_role("link", name="digits").click()
        expect(page.locator("#version")).to_have_text("1")
        page.get_by_role("button", name="Predict").click()
        expect(page.locator("#answered-by")).to_have_text("1")
        page.locator("input[type=file]").set_input_files(picture)
        headers = {"content-type": "image/png"}
        answer = httpx.post(
            f"{url}/predict/digits", content=picture.read_bytes(), headers=headers, trust_env=False
        ).json()["predictions"][0]
        with page.expect_request(f"{url}/predict/digits") as sent:
            page.get_by_role("button", name="Predict").click()
        assert sent.value.headers["content-type"] == "image/png"
        expect(page.locator("#answer")).to_have_text(answer["label"])
        expect(page.locator(".bar")).to_have_count(3)
        best = f"{100 * answer['probability']:.1f}%"
        expect(page.locator(".bar .value").first).to_have_text(best)
        expect(page.locator("#latency")).to_contain_text("ms")
        fill = page.locator(".bar .fill").first.bounding_box()
        assert fill is not None
        assert fill["width"] > 0

        point(root, "digits", 2, digests[2], 2)
        expect(page.locator("#version")).to_have_text("2", timeout=5000)

        page.goto(f"{url}/models/table")
        page.get_by_label("status").select_option("bad")
        page.get_by_label("age").fill("40.5")
        page.get_by_label("married").select_option("")
        page.get_by_role("button", name="Predict").click()
        expect(page.locator("#answered-by")).to_have_text("7")
        expect(page.locator(".bar")).to_have_count(2)
        assert troubles == []
        page.get_by_label("visits").fill("")
        page.get_by_role("button", name="Predict").click()
        expect(page.get_by_role("alert")).to_contain_text("rows[0].visits is missing")
        assert all(address.startswith((url, "blob:", "data:")) for address in addresses)
        page.close()
