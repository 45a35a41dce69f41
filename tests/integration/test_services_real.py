"""The real servers: up, what they answer, kill, down. One set of them serves the whole file."""

import json
import os
import signal
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import pytest

from modelyard.errors import ServiceUnavailable
from modelyard.services import Service, ServiceEvent, down, start, status, up, wait
from modelyard.settings import Settings

ROOT = Path(__file__).parents[2]

pytestmark = [pytest.mark.server, pytest.mark.slow]


@dataclass(frozen=True)
class Started:
    settings: Settings
    services: dict[str, Service]
    events: list[ServiceEvent]
    blocked: int

    def url(self, name: str) -> str:
        return self.services[name].url or ""


def settings_in(folder: Path) -> Settings:
    probes = [socket.create_server(("127.0.0.1", 0)) for _ in range(3)]
    prefect, mlflow, serving = (probe.getsockname()[1] for probe in probes)
    for probe in probes:
        probe.close()
    update = {
        "state_dir": folder,
        "prefect_port": prefect,
        "mlflow_port": mlflow,
        "serving_port": serving,
        "prefect_api_url": None,
        "mlflow_tracking_uri": None,
        "serving_url": None,
        "trusted_keys": None,
    }
    return Settings().model_copy(update=update)


@pytest.fixture(scope="module")
def started(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Started]:
    """All services, where another program has Prefect's preferred port."""
    settings = settings_in(tmp_path_factory.mktemp("state"))
    events: list[ServiceEvent] = []
    with socket.create_server(("127.0.0.1", settings.prefect_port)):
        try:
            services = up(settings, ROOT, events.append)
            yield Started(settings, services, events, settings.prefect_port)
        finally:
            down(settings)


def call(url: str, body: Any = None, method: str | None = None) -> Any:
    data = body if body is None or isinstance(body, bytes) else json.dumps(body).encode()
    kind = {} if isinstance(body, bytes) else {"Content-Type": "application/json"}
    request = urllib.request.Request(url, data, kind, method=method)
    with urllib.request.urlopen(request, timeout=20) as response:
        content = response.read()
    return json.loads(content) if "json" in response.headers.get("Content-Type", "") else content


def test_all_are_up_and_a_taken_port_was_left(started: Started) -> None:
    assert list(started.services) == ["prefect", "mlflow", "follower", "serving", "worker"]
    assert {event.name for event in started.events if event.kind == "ready"} == {*started.services}
    assert started.url("prefect") != f"http://127.0.0.1:{started.blocked}"
    moved = [event for event in started.events if event.kind == "port"]
    assert [event.name for event in moved] == ["prefect"]
    assert {service.state for service in status(started.settings)} == {"up"}


def test_up_again_leaves_every_process(started: Started) -> None:
    again = up(started.settings, ROOT)

    assert {name: service.pid for name, service in again.items()} == {
        name: service.pid for name, service in started.services.items()
    }


def test_prefects_ui_asks_the_server_that_serves_it(started: Started) -> None:
    url = started.url("prefect")

    assert call(f"{url}/ui-settings")["api_url"] == f"{url}/api"
    assert b"<title>" in call(f"{url}/")
    assert started.settings.address("prefect") == f"{url}/api"


def test_prefect_keeps_its_state_in_the_state_folder(started: Started) -> None:
    url = started.url("prefect")
    call(f"{url}/api/variables/", {"name": "found_again", "value": 1})

    folder = started.settings.state_dir / "prefect"
    journal = folder / "prefect.db-wal"
    written = (folder / "prefect.db").read_bytes() + journal.read_bytes()
    assert b"found_again" in written
    assert call(f"{url}/api/block_types/filter", {})


def test_mlflow_records_proxies_artifacts_and_shows_its_ui(started: Started) -> None:
    url = started.url("mlflow")
    api = f"{url}/api/2.0/mlflow"
    experiment = call(f"{api}/experiments/create", {"name": "trial"})["experiment_id"]
    run = call(f"{api}/runs/create", {"experiment_id": experiment})["run"]["info"]

    assert run["artifact_uri"].startswith("mlflow-artifacts:/")
    path = f"{url}/api/2.0/mlflow-artifacts/artifacts/{experiment}/{run['run_id']}/artifacts/a.bin"
    call(path, b"\x00content", method="PUT")
    stored = list((started.settings.state_dir / "mlflow/artifacts").rglob("a.bin"))
    assert [file.read_bytes() for file in stored] == [b"\x00content"]
    assert call(path) == b"\x00content"
    assert b"<title>MLflow</title>" in call(f"{url}/")


def test_mlflow_refuses_names_of_other_hosts(started: Started) -> None:
    """The guard against DNS rebinding, as `mlflow server` has it."""
    request = urllib.request.Request(
        f"{started.url('mlflow')}/api/2.0/mlflow/experiments/search?max_results=1",
        headers={"Host": "evil.example"},
    )

    with pytest.raises(urllib.error.HTTPError) as refused:
        urllib.request.urlopen(request, timeout=20)

    assert refused.value.code == 403


def test_nothing_listens_beyond_this_machine(started: Started) -> None:
    for name, service in started.services.items():
        process = psutil.Process(service.pid)
        addresses = {
            connection.laddr.ip
            for member in [process, *process.children(recursive=True)]
            for connection in member.net_connections(kind="inet")
            if connection.status == psutil.CONN_LISTEN
        }
        assert addresses or not service.url, f"{name} listens nowhere"
        assert addresses <= {"127.0.0.1"}, name


def test_after_a_kill_just_that_one_is_started_and_finds_its_data(started: Started) -> None:
    url = started.url("mlflow")
    call(f"{url}/api/2.0/mlflow/experiments/create", {"name": "before the kill"})
    os.kill(started.services["mlflow"].pid or 0, signal.SIGKILL)

    after = up(started.settings, ROOT)

    assert [name for name, service in after.items() if service.started] == ["mlflow"]
    assert after["mlflow"].url == url
    query = f"{url}/api/2.0/mlflow/experiments/get-by-name?experiment_name=before%20the%20kill"
    assert call(query)["experiment"]["name"] == "before the kill"


def test_a_server_that_cannot_start_shows_its_log(tmp_path: Path) -> None:
    settings = settings_in(tmp_path)
    (tmp_path / "mlflow").mkdir()
    (tmp_path / "mlflow/mlflow.db").write_bytes(b"not a database" * 100)
    try:
        services = start(settings, ROOT, names=["mlflow"])

        with pytest.raises(ServiceUnavailable, match="mlflow ended while starting") as caught:
            wait(services.values())

        assert "file is not a database" in caught.value.message
        assert str(tmp_path / "logs/mlflow.log") in caught.value.remedy
    finally:
        down(settings)


def test_down_ends_all_of_them_and_only_them(started: Started) -> None:
    """Last of the file: it ends the services that the others use."""
    processes = [
        psutil.Process(service.pid)
        for service in status(started.settings)
        if service.pid is not None
    ]
    assert len(processes) == len(started.services)
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as other:
        try:
            assert set(down(started.settings)) == {*started.services}

            assert other.poll() is None
            assert not any(process.is_running() for process in processes)
            assert {service.state for service in status(started.settings)} == {"down"}
        finally:
            other.kill()
