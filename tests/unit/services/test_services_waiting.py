"""What the end of a service means: whether starting it again may well help."""

import json
from pathlib import Path

import pytest
from services_stand_ins import STAND_INS, write_services

from modelyard.errors import ServiceUnavailable
from modelyard.services import ports, processes, up
from modelyard.services.records import Entry
from modelyard.services.service import Service
from modelyard.services.waiting import Lost, wait
from modelyard.settings import Settings


@pytest.mark.parametrize(
    ("said", "lost"), [("Port 4200 is already in use.", True), ("out of memory", False)]
)
def test_who_took_the_port_may_have_let_go_of_it(tmp_path: Path, said: str, lost: bool) -> None:
    log = tmp_path / "prefect.log"
    log.write_text(f"starting\n{said}\n")
    entry = Entry("no-such-token", ("prefect",), log, port=ports.choose([0]), pid=2**22 - 1)
    service = Service("prefect", None, None, entry, started=True)
    with pytest.raises(ServiceUnavailable, match="ended while starting") as caught:
        wait([service], timeout=1)
    assert isinstance(caught.value, Lost) == lost


@pytest.mark.parametrize("awaited", [None, ["prefect"]])
def test_one_that_lost_its_port_is_started_again_also_where_it_is_not_awaited(
    root: Path, settings: Settings, awaited: list[str] | None
) -> None:
    """Another program had the port for just the moment in which the server tried to bind it."""
    tried = root / "tried"
    server = '"{python}", -m, http.server, --bind, 127.0.0.1, "{port}"]\n    port: mlflow_port'
    lose = f"mkdir {tried} 2>/dev/null && echo 'Port 1 is already in use.' && exit 1; exec \"$@\""
    write_services(root, STAND_INS.replace(server, f"sh, -c, {json.dumps(lose)}, sh, {server}"))

    services = up(settings, root, awaited=awaited)

    assert tried.exists()
    wait(services.values())
    assert all(service.entry and processes.find(service.entry) for service in services.values())
