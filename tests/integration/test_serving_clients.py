"""Callers that are not ours: the lines of docs/serving.md, Triton's client, MLflow's client."""

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from PIL import Image

from tests.integration.serving_processes import server, wait_until
from tests.unit.serving.table_packages import ROW, TOTAL, write_table_package
from tests.unit.serving.tiny_packages import place, publish

pytestmark = pytest.mark.server

ROOT = Path(__file__).parents[2]
DOCUMENT = ROOT / "docs/serving.md"
BLOCKS = re.findall(r"```sh\n(.*?)```(?:\n```json\n(.*?)```)?", DOCUMENT.read_text(), re.DOTALL)
ADDRESS = "http://127.0.0.1:8080"


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("docs")
    root = folder / "serving"
    publish(root, "digits", 1, 1)
    digest = write_table_package(folder / "staged")
    place(folder / "staged", root, "customers", 1, digest, 1)
    with server(root, folder / "server.log") as address:
        ready = f"{address}/v2/health/ready"
        wait_until(lambda: httpx.get(ready, trust_env=False).status_code == 200)
        yield address


def test_the_document_shows_each_way_to_ask() -> None:
    assert len(BLOCKS) == 8
    text = DOCUMENT.read_text()
    assert len(text.splitlines()) <= 140
    for path in ("/predict", "/invocations", "/v2/models/NAME", "/openapi.json", "/metrics"):
        assert path in text


@pytest.mark.parametrize(("commands", "expected"), BLOCKS)
def test_a_block_of_the_document_gives_what_it_says(
    url: str, tmp_path: Path, commands: str, expected: str
) -> None:
    pixels = np.random.default_rng(5).integers(0, 256, (4, 4), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "digit.png")
    assert ADDRESS in commands
    status = "" if "x-request-id" in commands else "--fail-with-body"
    script = f'curl() {{ command curl --noproxy "*" {status} "$@"; }}\nset -euo pipefail\n'
    done = subprocess.run(
        ["bash", "-c", script + commands.replace(ADDRESS, url)],
        cwd=tmp_path,
        capture_output=True,
        check=False,
        timeout=20,
    )
    assert done.returncode == 0, (done.stdout, done.stderr)
    if expected:
        promised, found = json.loads(expected), json.loads(done.stdout)
        assert _shape(found) == _shape(promised)
        if "error" in promised:
            assert found == promised


def test_the_binary_answer_is_the_json_one(url: str) -> None:
    pixels = bytes(16)
    tensor = {"name": "image", "datatype": "UINT8", "shape": [1, 4, 4]}
    tree = {"inputs": [tensor | {"parameters": {"binary_data_size": 16}}]}
    head = json.dumps(tree | {"parameters": {"binary_data_output": True}}).encode()
    with httpx.Client(base_url=url, trust_env=False) as client:
        headers = {"Inference-Header-Content-Length": str(len(head))}
        path = "/v2/models/digits/infer"
        answer = client.post(path, content=head + pixels, headers=headers)
        length = int(answer.headers["Inference-Header-Content-Length"])
        found = np.frombuffer(answer.content[length:], "<f4")
        as_json = client.post(path, json={"inputs": [tensor | {"data": list(pixels)}]}).json()
    assert found == pytest.approx(as_json["outputs"][0]["data"], abs=1e-6)
    assert sum(found) == pytest.approx(1, abs=1e-5)


def test_tritons_own_client_is_answered(url: str) -> None:
    """In a process of its own: its gevent is not to be loaded beside what the other tests load."""
    words = [sys.executable, "-m", "tests.integration.triton_calls", url.removeprefix("http://")]
    done = subprocess.run(words, cwd=ROOT, check=False, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [
        "it learns what is served",
        "it is answered in JSON and bytes",
        "it sends the columns of a table",
        "it sees what was wrong",
    ]


def test_mlflows_own_client_is_answered(tmp_path: Path) -> None:
    import pandas as pd
    from mlflow.pyfunc.scoring_server.client import ScoringServerClient

    root = tmp_path / "serving"
    digest = write_table_package(tmp_path / "staged", "regression")
    place(tmp_path / "staged", root, "customers", 4, digest, 1)
    with server(root, tmp_path / "server.log") as url:
        address = httpx.URL(url)
        client = ScoringServerClient(address.host, address.port)
        client.wait_server_ready(timeout=20)
        frame = pd.DataFrame([ROW, ROW | {"age": None}])
        assert frame["age"].isna().tolist() == [False, True]
        found = client.invoke(frame).get_predictions()
        assert found["prediction"].tolist() == [TOTAL, TOTAL - 31.5 - 1]
        assert "modelyard" in client.get_version()


def _shape(tree: Any) -> Any:
    """Keys and types of a JSON value; the numbers of the document are those of another model."""
    if isinstance(tree, dict):
        return {key: _shape(value) for key, value in tree.items()}
    if isinstance(tree, list):
        return [_shape(value) for value in tree]
    return type(tree)
