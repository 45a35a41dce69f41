"""Stand-ins for the servers, so that the supervisor's own behaviour is tested in seconds."""

import os
import socket
from pathlib import Path

from modelyard.services.specs import SERVICES_YAML

# `prefect` and `mlflow` answer requests, `follower` is told mlflow's address.
STAND_INS = """
services:
  prefect:
    command: ["{python}", -m, http.server, --bind, 127.0.0.1, "{port}"]
    port: prefect_port
    health: /
    external: prefect_api_url
  mlflow:
    command: ["{python}", -m, http.server, --bind, 127.0.0.1, "{port}"]
    port: mlflow_port
    health: /
    external: mlflow_tracking_uri
  follower:
    command: ["{python}", -c, "import sys, time; time.sleep(600)"]
    env: {MLFLOW_TRACKING_URI: "{mlflow}"}
"""


def free_ports(count: int) -> list[int]:
    """Distinct ports that are free now."""
    probes = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [probe.getsockname()[1] for probe in probes]
    for probe in probes:
        probe.close()
    return ports


def write_services(root: Path, text: str) -> None:
    """Make ``text`` the process file of the project at ``root``."""
    path = root / SERVICES_YAML
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


def is_alive(pid: int) -> bool:
    """Whether a process that this one did not start lives."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True
