"""up, start, wait, down and status, with stand-ins for the servers."""

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import psutil
import pytest
from services_stand_ins import STAND_INS, is_alive, write_services

from modelyard.errors import ServiceUnavailable, WorkspaceError
from modelyard.services import (
    Service,
    ServiceEvent,
    down,
    health,
    processes,
    records,
    start,
    status,
    up,
    wait,
)
from modelyard.services import ports as ports_module
from modelyard.settings import Settings

Listener = Callable[[int], socket.socket]


def pids(services: dict[str, Service]) -> dict[str, int | None]:
    return {name: service.pid for name, service in services.items()}


def kinds(events: list[ServiceEvent]) -> set[tuple[str, str]]:
    return {(event.name, event.kind) for event in events}


def test_up_starts_all_once(root: Path, settings: Settings) -> None:
    events: list[ServiceEvent] = []

    first = up(settings, root, events.append)
    again = up(settings, root, events.append)

    assert pids(first) == pids(again)
    assert all(service.started for service in first.values())
    assert not any(service.started for service in again.values())
    assert kinds(events) == {
        (name, kind)
        for name in ("prefect", "mlflow", "follower")
        for kind in ("started", "ready", "running")
    }
    assert first["mlflow"].url == f"http://127.0.0.1:{settings.mlflow_port}"
    assert settings.address("prefect") == f"http://127.0.0.1:{settings.prefect_port}/api"
    assert settings.services_file.stat().st_mode & 0o777 == 0o600
    assert json.loads(settings.services_file.read_text())["prefect"]["pid"] == first["prefect"].pid


def test_a_preferred_port_in_use_is_left_to_its_user(
    root: Path, settings: Settings, listener: Listener
) -> None:
    listener(settings.mlflow_port)
    events: list[ServiceEvent] = []

    services = up(settings, root, events.append)

    assert services["mlflow"].url != f"http://127.0.0.1:{settings.mlflow_port}"
    told = [event.message for event in events if event.kind == "port"]
    assert len(told) == 1
    assert told[0].startswith(f"port {settings.mlflow_port} is in use")
    follower = psutil.Process(services["follower"].pid)
    assert follower.environ()["MLFLOW_TRACKING_URI"] == services["mlflow"].url


def test_only_the_one_that_was_killed_is_started_again_where_it_was(
    root: Path, settings: Settings, listener: Listener
) -> None:
    blocker = listener(settings.mlflow_port)
    before = up(settings, root)
    blocker.close()
    os.kill(before["mlflow"].pid or 0, signal.SIGKILL)

    after = up(settings, root)

    assert after["mlflow"].pid != before["mlflow"].pid
    assert after["mlflow"].url == before["mlflow"].url
    assert [name for name, service in after.items() if service.started] == ["mlflow"]
    assert after["follower"].pid == before["follower"].pid


def test_one_that_dies_while_it_is_looked_at_is_started_again(
    root: Path, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A killed process may live on for a moment: up sees it alive, then gone."""
    victim = up(settings, root)["mlflow"].pid or 0
    ask = health.answers

    def kill_then_ask(url: str, timeout: float = 1.0) -> bool:
        if is_alive(victim):
            os.kill(victim, signal.SIGKILL)
        return ask(url, timeout)

    monkeypatch.setattr(health, "answers", kill_then_ask)

    after = up(settings, root)

    assert after["mlflow"].pid != victim
    assert ask(f"{after['mlflow'].url}/")


def test_a_new_address_restarts_those_that_were_given_the_old_one(
    root: Path, settings: Settings, listener: Listener
) -> None:
    before = up(settings, root)
    os.kill(before["mlflow"].pid or 0, signal.SIGKILL)
    entry = before["mlflow"].entry
    assert entry is not None
    while processes.find(entry):
        time.sleep(0.01)
    listener(settings.mlflow_port)
    events: list[ServiceEvent] = []

    after = up(settings, root, events.append)

    assert {name for name, service in after.items() if service.started} == {"mlflow", "follower"}
    assert ("follower", "restart") in kinds(events)
    assert not is_alive(before["follower"].pid or 0)


def test_a_service_that_ends_shows_its_log(root: Path, settings: Settings) -> None:
    write_services(
        root,
        STAND_INS.replace("time.sleep(600)", "print('the reason'); sys.exit(3)"),
    )

    with pytest.raises(ServiceUnavailable, match=r"follower ended while starting") as caught:
        up(settings, root)

    assert "the reason" in caught.value.message
    assert str(settings.state_dir / "logs/follower.log") in caught.value.remedy
    write_services(root, STAND_INS)
    assert up(settings, root)["follower"].started


def test_a_service_that_never_answers_is_an_error_with_its_log(
    root: Path, settings: Settings
) -> None:
    silent = "-c, \"import time; print('busy'); time.sleep(600)\"]\n    port: mlflow_port"
    served = '-m, http.server, --bind, 127.0.0.1, "{port}"]\n    port: mlflow_port'
    assert served in STAND_INS
    write_services(root, STAND_INS.replace(served, silent))

    with pytest.raises(ServiceUnavailable, match=r"mlflow did not answer at http.*\nbusy"):
        up(settings, root, timeout=1.5)


def test_a_port_that_is_lost_to_another_program_is_exchanged(
    root: Path, settings: Settings, listener: Listener, monkeypatch: pytest.MonkeyPatch
) -> None:
    chosen = ports_module.choose

    def choose_then_lose(wanted: list[int], taken: list[int]) -> int:
        port = chosen(wanted, taken)
        if port == settings.mlflow_port:
            listener(port)
        return port

    monkeypatch.setattr(ports_module, "choose", choose_then_lose)

    services = up(settings, root)

    assert services["mlflow"].url != f"http://127.0.0.1:{settings.mlflow_port}"
    follower = psutil.Process(services["follower"].pid)
    assert follower.environ()["MLFLOW_TRACKING_URI"] == services["mlflow"].url


def test_an_answer_of_another_program_is_not_taken_for_ours(root: Path, settings: Settings) -> None:
    """A second clone that chose the same port at the same moment answers there; ours does not."""
    with subprocess.Popen(
        [sys.executable, "-m", "http.server", "--bind", "127.0.0.1", str(settings.mlflow_port)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    ) as other:
        try:
            while ports_module.is_free(settings.mlflow_port):
                time.sleep(0.01)
            idle = up(settings, root)["follower"]
            assert idle.entry is not None
            health = f"http://127.0.0.1:{settings.mlflow_port}/"
            pretended = replace(idle.entry, port=settings.mlflow_port, health=health)
            with pytest.raises(ServiceUnavailable, match="did not answer"):
                wait([Service("mlflow", None, health, pretended)], timeout=0.3)
        finally:
            other.kill()


def test_a_kill_between_start_and_record_leaves_no_orphan(root: Path, settings: Settings) -> None:
    before = up(settings, root)
    entries = records.read(settings.services_file)
    entries["follower"] = replace(entries["follower"], pid=None, create_time=None)
    records.write(settings.services_file, entries)

    after = up(settings, root)

    assert pids(after) == pids(before)
    assert records.read(settings.services_file)["follower"].pid == before["follower"].pid


def test_down_ends_its_own_and_nothing_else(root: Path, settings: Settings) -> None:
    services = up(settings, root)
    with subprocess.Popen(
        [sys.executable, "-m", "http.server", "--bind", "127.0.0.1", "0"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    ) as other:
        try:
            assert set(down(settings)) == set(services)

            assert other.poll() is None
            assert not any(is_alive(pid or 0) for pid in pids(services).values())
            assert not settings.services_file.exists()
            assert down(settings) == []
        finally:
            other.kill()


def test_two_calls_at_once_start_one_set(root: Path, settings: Settings) -> None:
    results: list[dict[str, Service]] = []
    threads = [
        threading.Thread(target=lambda: results.append(up(settings, root))) for _ in range(2)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    first, second = results
    assert pids(first) == pids(second)
    for name in first:
        assert sorted([first[name].started, second[name].started]) == [False, True]


def test_a_server_elsewhere_is_used_and_not_started(
    root: Path, settings: Settings, tmp_path: Path
) -> None:
    elsewhere = start(settings, root, names=["mlflow"])
    wait(elsewhere.values())
    url = elsewhere["mlflow"].url
    own = settings.model_copy(
        update={
            "state_dir": tmp_path / "own",
            "mlflow_tracking_uri": f"{url}/",
            "prefect_api_url": f"{url}/api",
        }
    )
    try:
        services = up(own, root)

        assert services["mlflow"].external
        assert services["mlflow"].url == services["prefect"].url == url
        assert list(records.read(own.services_file)) == ["follower"]
        states = {service.name: service.state for service in status(own)}
        assert states["mlflow"] == states["prefect"] == "external"
        assert states["follower"] == "up"
        assert states["serving"] == "down"

        down(settings)
        with pytest.raises(ServiceUnavailable, match=f"at {url} does not answer"):
            up(own, root)
    finally:
        down(own)


def test_a_password_in_an_address_is_told_to_nobody(root: Path, settings: Settings) -> None:
    wait(start(settings, root, names=["mlflow"]).values())
    place = f"127.0.0.1:{settings.mlflow_port}"
    events: list[ServiceEvent] = []

    def own(password: str) -> Settings:
        update = {
            "state_dir": root / "own",
            "mlflow_tracking_uri": f"http://me:{password}@{place}",
            "prefect_api_url": f"http://me:{password}@{place}/api",
        }
        return settings.model_copy(update=update)

    try:
        services = up(own("hidden"), root, events.append)
        follower = psutil.Process(services["follower"].pid)

        assert follower.environ()["MLFLOW_TRACKING_URI"] == f"http://me:hidden@{place}"
        assert services["mlflow"].url == f"http://{place}"
        said = [*map(repr, [services, events, status(own("hidden"))]), *follower.cmdline()]
        said.append(own("hidden").services_file.read_text())
        assert "follower" in said[-1]
        assert not [text for text in said if "hidden" in text]

        assert not up(own("hidden"), root)["follower"].started
        assert up(own("other"), root)["follower"].started
        down(settings)
        with pytest.raises(ServiceUnavailable) as caught:
            up(own("hidden"), root)
        assert "hidden" not in str(caught.value)
    finally:
        down(own("hidden"))


def test_an_address_that_no_server_has_is_refused(root: Path, settings: Settings) -> None:
    wrong = settings.model_copy(update={"mlflow_tracking_uri": "sqlite:///mlflow.db"})

    with pytest.raises(WorkspaceError, match=r"mlflow_tracking_uri.*sqlite:///mlflow.db"):
        up(wrong, root)

    assert not settings.services_file.exists()


def test_a_state_folder_that_cannot_be_written_is_named(root: Path, settings: Settings) -> None:
    settings.state_dir.write_text("a file")

    with pytest.raises(WorkspaceError, match=r"cannot be started.*") as caught:
        up(settings, root)

    assert str(settings.state_dir) in caught.value.remedy
    settings.state_dir.unlink()


def test_status_tells_what_runs(root: Path, settings: Settings) -> None:
    assert {service.state for service in status(settings)} == {"down"}
    services = up(settings, root)
    os.kill(services["mlflow"].pid or 0, signal.SIGKILL)
    entry = services["mlflow"].entry
    assert entry is not None
    while processes.find(entry):
        time.sleep(0.01)

    seen = {service.name: service for service in status(settings)}

    assert seen["prefect"].state == "up"
    assert seen["prefect"].pid == services["prefect"].pid
    assert (seen["prefect"].memory_mb or 0) > 1
    assert seen["prefect"].since is not None
    assert seen["mlflow"].state == "down"
    assert seen["mlflow"].pid is None


def test_status_of_one_that_is_not_ready_is_starting(root: Path, settings: Settings) -> None:
    write_services(root, STAND_INS.replace("    health: /\n", "    health: /not-there\n", 1))
    start(settings, root, names=["prefect"])

    assert {service.name: service.state for service in status(settings)}["prefect"] == "starting"


@pytest.mark.parametrize("spawned", [False, True])
def test_a_kill_of_up_leaves_nothing_that_down_does_not_end(
    root: Path, settings: Settings, spawned: bool
) -> None:
    """Killed when the record appears (before any pid is in it, or with the first ones)."""
    code = (
        "import sys; from pathlib import Path; from modelyard.settings import Settings;"
        "from modelyard.services import up;"
        "state, root, prefect, mlflow = sys.argv[1:];"
        "up(Settings(state_dir=Path(state), prefect_port=int(prefect), mlflow_port=int(mlflow)),"
        "Path(root))"
    )
    ports = (str(settings.prefect_port), str(settings.mlflow_port))
    with subprocess.Popen(
        [sys.executable, "-c", code, str(settings.state_dir), str(root), *ports]
    ) as supervisor:
        while not settings.services_file.exists():
            assert supervisor.poll() is None
        if spawned:
            while '"pid": null' in settings.services_file.read_text():
                assert supervisor.poll() is None
        supervisor.kill()
    entries = records.read(settings.services_file)
    assert set(entries) == {"prefect", "mlflow", "follower"}

    down(settings)

    carriers = processes.with_token(entry.token for entry in entries.values())
    assert [process for found in carriers.values() for process in found] == []
    assert ports_module.is_free(settings.prefect_port)
    assert ports_module.is_free(settings.mlflow_port)
