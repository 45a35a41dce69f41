"""A model owner at the MLflow page.

A click makes a version live, a bad one is refused with its reason there.
"""

import json
import shutil
import threading
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from time import monotonic, sleep

import psutil
import pytest
from playwright.sync_api import Browser, Page, sync_playwright

from tests import project
from tests.conftest import copy_project

pytestmark = [pytest.mark.slow, pytest.mark.server, pytest.mark.distributed]

NAME = "bands"
CHROMIUM = [
    "--no-sandbox",
    "--disable-gpu",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory, repeated: Path) -> Iterator[Path]:
    """A clone with its services up, version 1 live, versions 2 to 4 waiting as challengers."""
    clone = copy_project(tmp_path_factory.mktemp("owner") / "clone")
    project.shrink(clone, promote__mode="auto")
    shutil.copytree(repeated / ".dvc" / "cache", clone / ".dvc" / "cache", dirs_exist_ok=True)
    try:
        project.modelyard(clone, "run")
        for seed in (1, 2, 3):
            project.modelyard(
                clone, "run", "--set", "promote.mode=manual", "--set", f"evaluate.seed={seed}"
            )
        yield clone
    finally:
        project.modelyard(clone, "down")


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as driver:
        chromium = driver.chromium.launch(executable_path="/usr/bin/chromium", args=CHROMIUM)
        yield chromium
        chromium.close()


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    page = browser.new_page(viewport={"width": 1400, "height": 1600})
    yield page
    page.close()


class Stream:
    """Requests one after another from a thread; counts what came back, by status and version."""

    def __init__(self, root: Path) -> None:
        self._url = f"{address(root, 'serving')}/predict/{NAME}"
        live = json.loads((root / ".modelyard/serving" / NAME / "live.json").read_text())
        package = root / ".modelyard/serving" / NAME / live["path"]
        self._body = (package / "input_example.json").read_bytes()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self.answers: Counter[tuple[int, str]] = Counter()
        self.last = ""

    def __enter__(self) -> "Stream":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._stop.is_set():
            self.last = self.ask()
            sleep(0.005)

    def ask(self) -> str:
        request = urllib.request.Request(
            self._url, self._body, {"content-type": "application/json"}
        )
        try:
            with urllib.request.urlopen(request, timeout=10) as answer:
                version = answer.headers["x-model-version"]
                self.answers[answer.status, version] += 1
                return version
        except (urllib.error.URLError, ConnectionError) as error:
            self.answers[getattr(error, "code", 0), str(error)] += 1
            return ""


def address(root: Path, service: str) -> str:
    return json.loads((root / ".modelyard/services.json").read_text())[service]["url"]


def open_version(page: Page, root: Path, version: int) -> None:
    page.goto("about:blank")
    page.goto(f"{address(root, 'mlflow')}/#/models/{NAME}/versions/{version}")
    page.get_by_test_id("descriptions-item").filter(has_text="Aliases").wait_for(timeout=30_000)


def make_champion(page: Page, root: Path, version: int) -> None:
    """Give a version the alias ``champion`` as a person does: edit aliases, type, save."""
    open_version(page, root, version)
    aliases = page.get_by_test_id("descriptions-item").filter(has_text="Aliases")
    aliases.get_by_role("button").first.click()
    dialog = page.get_by_role("dialog")
    dialog.locator("input").first.fill("champion")
    page.keyboard.press("Enter")
    dialog.get_by_role("button", name="Save").click()


def within(seconds: float, condition) -> bool:  # noqa: ANN001
    deadline = monotonic() + seconds
    while monotonic() < deadline:
        if condition():
            return True
        sleep(0.02)
    return False


def artifact(root: Path, version: int) -> Path:
    """Where MLflow keeps model.onnx of a version."""
    info = get(root, f"model-versions/get?name={NAME}&version={version}")["model_version"]
    digest = next(tag["value"] for tag in info["tags"] if tag["key"] == "modelyard.digest")
    for manifest in (root / ".modelyard/mlflow/artifacts").rglob("manifest.json"):
        if json.loads(manifest.read_text())["digest"] == digest:
            return manifest.parent
    raise AssertionError(version)


def get(root: Path, path: str) -> dict:
    with urllib.request.urlopen(f"{address(root, 'mlflow')}/api/2.0/mlflow/{path}") as answer:
        return json.load(answer)


def refuse(page: Page, root: Path, version: int, live: str, reason: str) -> None:
    """Make a bad version champion in the UI.

    Nothing changes for callers, the reason stands on its page.
    """
    with Stream(root) as stream:
        make_champion(page, root, version)

        def told() -> bool:
            tags = get(root, f"model-versions/get?name={NAME}&version={version}")["model_version"]
            return any(tag["key"] == "modelyard.refused" for tag in tags.get("tags", []))

        assert within(15, told)
        assert stream.last == live
    assert set(stream.answers) == {(200, live)}
    open_version(page, root, version)
    row = page.get_by_role("row").filter(has_text="modelyard.refused")
    row.wait_for(timeout=15_000)
    assert reason in row.inner_text()


def test_a_flipped_byte_is_refused(root: Path, page: Page) -> None:
    model = artifact(root, 3) / "model.onnx"
    content = bytearray(model.read_bytes())
    content[len(content) // 2] ^= 1
    model.write_bytes(content)
    refuse(page, root, 3, "1", "model.onnx")


def test_a_wrong_signature_is_refused(root: Path, page: Page) -> None:
    signature = artifact(root, 4) / "model.sig"
    # A well-formed signature, of another package.
    signature.write_bytes((artifact(root, 2) / "model.sig").read_bytes())
    refuse(page, root, 4, "1", "sign")


def test_a_version_without_a_passed_gate_is_refused(root: Path, page: Page) -> None:
    body = {"name": NAME, "source": f"models:/{NAME}/1"}
    request = urllib.request.Request(
        f"{address(root, 'mlflow')}/api/2.0/mlflow/model-versions/create",
        json.dumps(body).encode(),
        {"content-type": "application/json"},
    )
    with urllib.request.urlopen(request) as answer:
        created = json.load(answer)["model_version"]
    refuse(page, root, int(created["version"]), "1", "has no tag modelyard.digest")


def test_a_click_makes_a_version_live_without_a_failed_request(root: Path, page: Page) -> None:
    with Stream(root) as stream:
        assert within(5, lambda: stream.last == "1")
        make_champion(page, root, 2)
        assert within(3, lambda: stream.last == "2"), stream.answers
        sleep(0.5)
    assert set(stream.answers) == {(200, "1"), (200, "2")}
    assert stream.answers[200, "1"] > 10
    assert within(5, lambda: alias(root, "live") == "2" and alias(root, "previous") == "1")


def test_the_command_shows_the_reason_too(root: Path) -> None:
    done = project.modelyard(root, "promote", "3", check=False)
    assert done.returncode == 1
    assert "model.onnx" in done.stderr
    assert "live: bands version 2" in project.modelyard(root, "status").stdout


def test_verify_names_what_was_altered(root: Path) -> None:
    good = project.modelyard(root, "verify", f"{NAME}@live")
    assert "✗" not in good.stdout
    bad = project.modelyard(root, "verify", f"{NAME}/3", check=False)
    assert bad.returncode == 1
    assert "model.onnx" in bad.stdout


def test_rollback_works_with_mlflow_stopped(root: Path) -> None:
    services = json.loads((root / ".modelyard/services.json").read_text())
    mlflow = psutil.Process(services["mlflow"]["pid"])
    with Stream(root) as stream:
        mlflow.kill()
        psutil.wait_procs([mlflow], timeout=10)
        printed = project.modelyard(root, "rollback", "--reason", "test").stdout
        assert "version 1 serves again (was 2)" in printed
        assert within(1, lambda: stream.last == "1")
    assert {status for status, _ in stream.answers} == {200}
    project.modelyard(root, "up")
    assert within(15, lambda: alias(root, "live") == "1" and alias(root, "champion") == "1")
    audit = [
        json.loads(line) for line in (root / ".modelyard/audit.jsonl").read_text().splitlines()
    ]
    assert any(line["reason"] == "test" for line in audit)


def alias(root: Path, name: str) -> str:
    try:
        found = get(root, f"registered-models/alias?name={NAME}&alias={name}")
    except urllib.error.HTTPError:
        return ""
    return str(found["model_version"]["version"])
