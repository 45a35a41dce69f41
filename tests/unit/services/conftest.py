"""A project of stand-ins, with a state folder and ports of its own."""

import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from services_stand_ins import STAND_INS, free_ports, write_services

from modelyard.services import down
from modelyard.settings import Settings


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A project of stand-ins."""
    write_services(tmp_path, STAND_INS)
    return tmp_path


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Settings]:
    """Settings of a state folder and ports of its own; what runs in it at the end is stopped."""
    for name in ("PREFECT_API_URL", "MLFLOW_TRACKING_URI", "MODELYARD_SERVING_URL"):
        monkeypatch.delenv(name, raising=False)
    prefect, mlflow, serving = free_ports(3)
    settings = Settings(
        state_dir=tmp_path / "state",
        prefect_port=prefect,
        mlflow_port=mlflow,
        serving_port=serving,
    )
    yield settings
    down(settings)


@pytest.fixture
def listener() -> Iterator[Callable[[int], socket.socket]]:
    """Another program on a port: ``listener(port)`` accepts connections and never answers."""
    sockets: list[socket.socket] = []

    def listen(port: int) -> socket.socket:
        sockets.append(socket.create_server(("127.0.0.1", port)))
        return sockets[-1]

    yield listen
    for opened in sockets:
        opened.close()
