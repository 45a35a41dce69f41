"""What real servers tell: JSON lines, traces, predictions as Parquet, through a kill as well."""

import json
import re
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from modelyard.artifacts import write_json
from modelyard.serving import keys
from modelyard.serving.log_files import read_predictions
from tests.integration.serving_processes import is_up, process, server, wait_until
from tests.mlflow_server import free_port
from tests.unit.serving.table_packages import ROW, write_table_package
from tests.unit.serving.tiny_packages import place

pytestmark = pytest.mark.server

DOCUMENT = Path(__file__).parents[2] / "docs/operating-the-server.md"
TRACE, PARENT = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
NUM_REQUESTS = 30
LOG = {"sample": 1.0, "days": 30.0, "max_mb": 500.0, "content": False}


class Collector(ThreadingHTTPServer):
    """Takes spans by OTLP over HTTP."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.spans: list[Any] = []
        self.url = f"http://127.0.0.1:{self.server_port}"


class _Handler(BaseHTTPRequestHandler):
    server: Collector

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        assert self.path == "/v1/traces"
        for resource in ExportTraceServiceRequest.FromString(body).resource_spans:
            for scope in resource.scope_spans:
                self.server.spans += scope.spans
        self.send_response(200)
        self.send_header("content-length", "0")
        self.end_headers()

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
        """Stay silent."""


@contextmanager
def collector() -> Iterator[Collector]:
    found = Collector()
    thread = threading.Thread(target=found.serve_forever)
    thread.start()
    try:
        yield found
    finally:
        found.shutdown()
        thread.join()
        found.server_close()


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A serving folder whose model's requests are all kept."""
    folder = tmp_path / "serving"
    place(tmp_path / "t", folder, "customers", 4, write_table_package(tmp_path / "t"), 1)
    write_json(folder / "customers/serve.json", {"log": LOG})
    return folder


@pytest.fixture
def client() -> Iterator[httpx.Client]:
    with httpx.Client(trust_env=False) as found:
        yield found


def ready(client: httpx.Client, url: str) -> bool:
    return client.get(f"{url}/v2/health/ready").status_code == 200


def ask(client: httpx.Client, url: str, row: dict[str, Any], **headers: str) -> httpx.Response:
    return client.post(f"{url}/predict/customers", json={"rows": [row]}, headers=headers)


def attributes(span: Any) -> dict[str, str | int]:
    return {item.key: item.value.string_value or item.value.int_value for item in span.attributes}


def test_two_workers_tell_all_there_is_to_tell(
    root: Path, tmp_path: Path, client: httpx.Client
) -> None:
    text, key = keys.add(tmp_path / "keys.json", "shop", ("*",), None, None)
    options = ["--workers", "2", "--log-format", "json", "--access-log"]
    options += ["--keys", str(tmp_path / "keys.json")]
    shown = {"x-api-key": text}
    log = tmp_path / "log"
    with collector() as spans:
        with server(root, log, *options, "--traces", spans.url) as url:
            wait_until(lambda: ready(client, url))
            for number in range(NUM_REQUESTS):
                headers = {"x-request-id": f"order-{number}"} | shown
                parents = {7: f"00-{TRACE}-{PARENT}-01", 8: "nonsense"}
                parent = {"traceparent": parents[number]} if number in parents else {}
                answer = ask(client, url, ROW | {"visits": number}, **headers, **parent)
                assert answer.status_code == 200
            assert ask(client, url, {"visits": "two"}, **shown).status_code == 400
            address = f"{url}/predict/customers?visits=50&note=jane"
            kept = client.get(address, headers=shown)
            assert kept.status_code == 200
            tag = {"if-none-match": kept.headers["etag"]}
            assert client.get(address, headers=shown | tag).status_code == 304
            assert client.head(address, headers=shown | tag).status_code == 304
            for worker in wait_until(lambda: _both_workers(root)):
                assert "libarrow" not in Path(f"/proc/{worker}/maps").read_text()
        assert len(spans.spans) >= NUM_REQUESTS, "what waited was sent at the end"

    lines = [json.loads(line) for line in log.read_text().splitlines()]
    assert all({"time", "level", "logger", "message"} <= line.keys() for line in lines)
    access = [line for line in lines if line["logger"] == "modelyard.access"]
    (seventh,) = [line for line in access if line["request_id"] == "order-7"]
    wanted = {"method": "POST", "path": "/predict/customers", "status": 200}
    assert seventh.items() >= (wanted | {"model": "customers", "caller": key.id}).items()
    assert text not in log.read_text()
    assert "jane" not in log.read_text()
    (shown_line,) = re.findall(r"```json\n(.*)\n```", DOCUMENT.read_text())
    assert json.loads(shown_line).keys() == seventh.keys()

    (span,) = [span for span in spans.spans if span.trace_id.hex() == TRACE]
    assert span.parent_span_id.hex() == PARENT
    assert span.name == "POST /predict/customers"
    assert span.end_time_unix_nano > span.start_time_unix_nano
    assert attributes(span) == {
        "http.request.method": "POST",
        "url.path": "/predict/customers",
        "http.response.status_code": 200,
        "modelyard.request_id": "order-7",
        "modelyard.model": "customers",
        "modelyard.version": "4",
        "modelyard.rows": 1,
    }
    statuses = {attributes(span)["http.response.status_code"] for span in spans.spans}
    assert {200, 400} <= statuses

    table = read_predictions(root / "customers")
    assert sorted(table["input_visits"].to_pylist()) == [*range(NUM_REQUESTS), 50, 50, 50]
    assert set(table["caller"].to_pylist()) == {key.id}
    assert not list(root.glob("*/predictions/.spool/*"))


def test_a_kill_loses_a_moment_and_a_collector_that_is_away_nothing(
    root: Path, tmp_path: Path, client: httpx.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "100")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TIMEOUT", "1")
    log, port = tmp_path / "log", free_port()
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", f"http://127.0.0.1:{free_port()}")
    words = ["--folder", str(root), "--port", str(port)]
    url = f"http://127.0.0.1:{port}"
    with process("modelyard.serving", log, *words) as child:
        wait_until(lambda: is_up(url) and ready(client, url))
        for number in range(NUM_REQUESTS):
            assert ask(client, url, {"visits": number}).status_code == 200
        spools = root / "customers/predictions/.spool"

        def lines() -> int:
            return sum(path.read_bytes().count(b"\n") for path in spools.glob("*.jsonl"))

        wait_until(lambda: lines() == 1 + NUM_REQUESTS)
        wait_until(lambda: "spans are lost" in log.read_text())
        child.send_signal(signal.SIGKILL)
        child.wait()
    (spool,) = spools.glob("*.jsonl")
    with spool.open("ab") as file:
        file.write(b'{"time": 17')
    assert not list(root.glob("*/predictions/*/*.parquet"))

    with process("modelyard.serving", log, *words):
        wait_until(lambda: is_up(url) and ready(client, url))
        table = wait_until(lambda: _written(root))
        assert sorted(table["input_visits"].to_pylist()) == list(range(NUM_REQUESTS))
        assert ask(client, url, {"visits": 99}).status_code == 200
    assert read_predictions(root / "customers").num_rows == NUM_REQUESTS + 1
    said = log.read_text()
    assert "1 torn lines" in said
    assert "Traceback" not in said
    assert len(re.findall("spans are lost", said)) <= 2, "once for each process"


def _written(root: Path) -> Any:
    table = read_predictions(root / "customers")
    return table if table.num_rows else None


def _both_workers(root: Path) -> list[int]:
    """Their process ids, once both are there."""
    found = [int(path.read_text()) for path in (root / ".workers").glob("[!.]*")]
    return found if len(found) == 2 else []
