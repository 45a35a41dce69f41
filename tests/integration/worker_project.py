"""A clone with a worker of its own, for tests of deployments."""

import json
import shutil
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import psutil

from modelyard.prefect_api import FlowRun, PrefectApi
from tests import project
from tests.conftest import copy_project

ENDED = ("COMPLETED", "FAILED", "CRASHED", "CANCELLED")


class Yard:
    """A clone with a worker: what the tests ask of it."""

    def __init__(self, root: Path, environment: dict[str, str], api: PrefectApi) -> None:
        self.root = root
        self.environment = environment
        self.api = api
        self.messages: list[dict[str, Any]] = []

    def deployment(self, name: str) -> dict[str, Any]:
        return next(tree for tree in self.api.find("deployments", {}) if tree["name"] == name)

    def start(self, name: str, **parameters: Any) -> str:
        """By REST, as a person or a program would; the flow run's id."""
        place = f"/deployments/{self.deployment(name)['id']}/create_flow_run"
        return self.api.call("POST", place, {"parameters": parameters})["id"]

    def runs_of(self, name: str, **state: Any) -> list[FlowRun]:
        filters = {"deployment_id": {"any_": [self.deployment(name)["id"]]}, **state}
        return self.api.flow_runs(filters, 50)

    def ended(self, flow_run_id: str) -> FlowRun:
        return until(lambda: if_ended(self.api.flow_run(flow_run_id)), 240)

    def emit(self, event: str, resource: str, payload: dict[str, Any]) -> None:
        body = {
            "id": str(uuid.uuid4()),
            "occurred": datetime.now(UTC).isoformat(),
            "event": event,
            "resource": {"prefect.resource.id": resource},
            "payload": payload,
        }
        self.api.call("POST", "/events", [body])

    def command(self, *words: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        return project.modelyard(self.root, *words, check=check, **self.environment)


def if_ended(run: FlowRun) -> FlowRun | None:
    """The run, once it is in a last state."""
    return run if run.state_type in ENDED else None


def until(look: Callable[[], Any], seconds: float = 60) -> Any:
    """What ``look`` gives once it gives something."""
    deadline = time.monotonic() + seconds
    while not (found := look()):
        assert time.monotonic() < deadline, look
        time.sleep(0.1)
    return found


@contextmanager
def receiving() -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """A webhook's address, and what comes there."""
    taken: list[dict[str, Any]] = []

    class Hook(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            taken.append(json.loads(self.rfile.read(int(self.headers["content-length"]))))
            self.send_response(200)
            self.end_headers()

        def log_message(self, *args: Any) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Hook)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"json://127.0.0.1:{server.server_port}", taken
    finally:
        server.shutdown()
        server.server_close()


def make(root: Path, repeated: Path, address: str, model: str) -> Path:
    """A clone with the finished stages of ``repeated`` in its cache, which tells ``address``.

    ``model`` is registered by it alone: a version has the signature of the clone that made it.
    """
    copy_project(root)
    project.shrink(root, registry__name=model)
    # A killed training's slot is free after a minute, which no test waits for.
    rules = root / "infra" / "runs.yaml"
    text = rules.read_text().replace("training: 1", "training: 2")
    rules.write_text(text.replace("every: 10", "every: 1"))
    project.commit(root, "two slots")
    shutil.copytree(repeated / ".dvc" / "cache", root / ".dvc" / "cache", dirs_exist_ok=True)
    notify = root / ".modelyard" / "notify"
    notify.parent.mkdir()
    notify.write_text(address)
    notify.chmod(0o600)
    return root


@contextmanager
def working(root: Path, servers: dict[str, str]) -> Iterator[Yard]:
    """The worker of the clone, from its first sign of life."""
    folder = root / ".modelyard" / "worker"
    folder.mkdir(parents=True)
    environment = {
        **servers,
        "MODELYARD_STATE_DIR": str(root / ".modelyard"),
        "PREFECT_HOME": str(folder),
        "PREFECT_WORKER_QUERY_SECONDS": "1",
        "PREFECT_FLOWS_HEARTBEAT_FREQUENCY": "30",
    }
    module = ["-m", "modelyard.orchestration.worker", "--root", str(root), "--folder", str(folder)]
    with (
        (folder / "log").open("w") as log,
        subprocess.Popen(
            [sys.executable, *module],
            env=project.environment(root, **environment),
            stdout=log,
            stderr=log,
            start_new_session=True,
        ) as worker,
        PrefectApi(servers["PREFECT_API_URL"]) as api,
    ):
        try:
            until((folder / "heartbeat").exists)
            yield Yard(root, environment, api)
        finally:
            for child in psutil.Process(worker.pid).children(recursive=True):
                child.kill()
            worker.kill()
