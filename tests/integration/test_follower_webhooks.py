"""MLflow's webhook and the follower, all real: woken at once, and what is lost is made good.

Most followers here look by themselves once an hour: what they see, a webhook or a start explains.
"""

import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import pytest

from modelyard.follower.hooks import EVENTS, Hook, hook_name
from modelyard.follower.rollback import rollback
from modelyard.follower.webhook import PATH, Guard, Receiver
from modelyard.mlflow_api import MlflowApi, Webhook
from modelyard.registry import tags as names
from tests.integration.serving_processes import process, server, wait_until
from tests.integration.tiny_registrar import Registrar, own_mlflow
from tests.mlflow_server import free_port
from tests.unit.follower.test_follower_webhook import BODY, signed

pytestmark = pytest.mark.server

SELDOM = ("--interval", "3600")
SETTLED = "MLflow's webhook wakes this follower"


class Mlflow:
    """A server that can be stopped, and started again at its address."""

    def __init__(self, base: Path) -> None:
        self.base, self.port = base, free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.api = MlflowApi(self.url)
        self._running = ExitStack()

    def start(self, folder: str = "mlflow") -> None:
        self._running.enter_context(own_mlflow(self.base / folder, self.port))

    def stop(self) -> None:
        self._running.close()


@pytest.fixture(scope="module")
def mlflow(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mlflow]:
    mlflow = Mlflow(tmp_path_factory.mktemp("mlflow"))
    mlflow.start()
    yield mlflow
    mlflow.stop()
    mlflow.api.close()


@dataclass
class Place:
    """A serving folder, and its follower that follows ``models``."""

    mlflow: Mlflow
    folder: Path
    models: tuple[str, ...]
    serving: Path = field(init=False)
    state: Path = field(init=False)

    def __post_init__(self) -> None:
        self.serving, self.state = self.folder / "serving", self.folder / "state"

    def registrar(self, name: str) -> Registrar:
        packages = self.folder.parent / f"packages of {name}"
        return Registrar(self.mlflow.api, name, packages, self.folder.parent / "trusted")

    @property
    def log(self) -> str:
        path = self.state / "follower.log"
        return path.read_text() if path.exists() else ""

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{(self.serving / '.webhook-port').read_text()}{PATH}"

    @contextmanager
    def follower(self, *more: str) -> Iterator[int]:
        """Run the follower; yield its process id, once MLflow's webhook comes through."""
        trusted = self.folder.parent / "trusted"
        words = ["--folder", self.serving, "--trusted", trusted, "--state", self.state]
        words += ["--names", ",".join(self.models), *(more or SELDOM)]
        before, log = self.log.count(SETTLED), self.state / "follower.log"
        env = {"MLFLOW_TRACKING_URI": self.mlflow.url}
        with process("modelyard.follower", log, *map(str, words), env=env) as child:
            if "--no-webhook" not in more:
                _wait(lambda: self.log.count(SETTLED) > before or child.poll() is not None)
            assert child.poll() is None, self.log
            yield child.pid

    @contextmanager
    def server(self, *more: str) -> Iterator[str]:
        with server(self.serving, self.folder / "server.log", *more) as url:
            yield url

    def hooks(self) -> list[Webhook]:
        found = self.mlflow.api.list_webhooks()
        return [hook for hook in found if hook.name == hook_name(self.serving)]


@pytest.fixture
def place(mlflow: Mlflow, tmp_path: Path, request: pytest.FixtureRequest) -> Place:
    return Place(mlflow, tmp_path / "one", (request.node.name[5:30],))


def _wait(happened: Callable[[], object]) -> None:
    wait_until(happened, seconds=90)


def _served(url: str, name: str) -> int | None:
    models = httpx.get(f"{url}/health", trust_env=False).json().get("models", {})
    return models[name]["version"] if name in models else None


def _release(registrar: Registrar, seed: int) -> int:
    """Register a version, make it champion, wait until it is live."""
    version = registrar.add(seed)
    registrar.promote(version)
    _wait(lambda: registrar.is_live(version))
    return version


def test_a_hook_wakes_at_once_and_nothing_else_does(place: Place) -> None:
    (name,) = place.models
    registrar = place.registrar(name)
    with place.server() as url, place.follower():
        assert [_release(registrar, seed) for seed in (1, 2)] == [1, 2]
        assert _served(url, name) == 2
        assert [(hook.url, hook.events) for hook in place.hooks()] == [(place.address, EVENTS)]

        file = place.state / "keys/webhook-secret"
        assert file.stat().st_mode & 0o777 == 0o600
        secret, now = file.read_bytes(), int(time.time())
        assert secret.decode() not in place.log
        mine = signed("mine", now, secret=secret)
        for headers, status in (
            (signed("forged", now, secret=b"guess"), 401),
            (signed("late", now - 3600, secret=secret), 401),
            (mine, 204),
            (mine, 409),
        ):
            answer = httpx.post(place.address, content=BODY, headers=headers, trust_env=False)
            assert (answer.status_code, answer.text) == (status, "")
        assert _served(url, name) == 2
    assert place.hooks() == []


def test_lost_hooks_and_deleted_versions(place: Place) -> None:
    (name,) = place.models
    registrar = place.registrar(name)
    with place.server() as url:
        with place.follower() as pid:
            first = _release(registrar, 1)
            address = place.address
            os.kill(pid, signal.SIGKILL)
        second = registrar.add(2)
        registrar.promote(second)
        with place.follower():
            _wait(lambda: registrar.is_live(second))
            assert place.address == address
            assert len(place.hooks()) == 1

            registrar.api.delete_alias(name, names.CHAMPION)
            registrar.api.delete_version(name, second)
            third = registrar.add(3)
            assert registrar.aliases() == {names.PREVIOUS: first}
            assert _served(url, name) == second
            registrar.promote(third)
            _wait(lambda: registrar.is_live(third))
            assert _served(url, name) == third


def test_kill_9_in_the_midst_of_a_swap(place: Place) -> None:
    (name,) = place.models
    registrar, model = place.registrar(name), place.serving / name
    points: dict[str, Callable[[], object]] = {
        "a download": lambda: len(list((model / "versions").iterdir())),
        "the pointer": lambda: (model / "live.json").stat().st_ino,
        "the history": lambda: (model / "history.json").stat().st_ino,
    }
    former = live = registrar.add(1)
    registrar.promote(live)
    with place.server() as url:
        for seed, (what, look) in enumerate(points.items(), 2):
            with place.follower("--no-webhook", "--interval", "0.02") as pid:
                _wait(lambda: registrar.is_live(live))  # noqa: B023
                before, wished = look(), registrar.add(seed)
                registrar.promote(wished)
                _wait(lambda: look() != before)  # noqa: B023
                os.kill(pid, signal.SIGKILL)
            assert _served(url, name) in (live, wished), what
            former, live = live, wished
        with place.follower("--no-webhook"):
            _wait(lambda: registrar.is_live(live))
            assert registrar.aliases() == {
                names.CHAMPION: live,
                names.LIVE: live,
                names.PREVIOUS: former,
            }
        assert _served(url, name) == live
        assert not list((model / "versions").glob(".*"))


def test_several_models_servers_and_followers(mlflow: Mlflow, tmp_path: Path) -> None:
    models = ("cats", "dogs")
    shared = Place(mlflow, tmp_path / "shared", models)
    alone = Place(mlflow, tmp_path / "alone", models)
    registrars = [shared.registrar(name) for name in models]
    with ExitStack() as running:
        urls = [running.enter_context(shared.server("--workers", "2")) for _ in range(2)]
        urls.append(running.enter_context(alone.server()))
        running.enter_context(shared.follower())
        running.enter_context(alone.follower())
        for seed in (1, 2):
            versions = [registrar.add(seed) for registrar in registrars]
            for registrar, version in zip(registrars, versions, strict=True):
                registrar.promote(version)
            for registrar, version in zip(registrars, versions, strict=True):
                for url in urls:
                    _wait(lambda: _served(url, registrar.name) == version)  # noqa: B023
                _wait(lambda: registrar.is_live(version))  # noqa: B023
            for place in (shared, alone):
                for name in models:
                    history = place.serving / name / "history.json"
                    _wait(lambda: '"published": false' not in history.read_text())  # noqa: B023
        for _ in range(10):
            for url in urls:
                assert [_served(url, name) for name in models] == versions
        expected = {names.CHAMPION: 2, names.LIVE: 2, names.PREVIOUS: 1}
        assert [registrar.aliases() for registrar in registrars] == [expected] * 2


def test_a_webhook_is_registered_once_and_again_when_it_is_not_right(
    mlflow: Mlflow, tmp_path: Path
) -> None:
    api, name = mlflow.api, hook_name(tmp_path)
    calls: list[None] = []
    receiver = Receiver(Guard(b"secret", since=0), lambda: calls.append(None))
    hook = Hook(mlflow.url, receiver, name, "secret")

    def registered() -> list[Webhook]:
        hook.check()
        assert hook.reaches
        return [found for found in api.list_webhooks() if found.name == name]

    try:
        (first,) = registered()
        assert registered() == [first]
        assert len(calls) == 1
        api.delete_webhook(first.webhook_id)
        (second,) = registered()
        assert second.webhook_id != first.webhook_id
        api.update_webhook(second.webhook_id, "http://127.0.0.1:9/", EVENTS, "secret")
        assert registered() == [second]
        api.create_webhook(name, "http://127.0.0.1:9/", EVENTS, "secret", "a second one")
        assert len(registered()) == 1

        # A database of before the secret was made anew: signed otherwise, until it is told again.
        (third,) = registered()
        api.update_webhook(third.webhook_id, receiver.url, EVENTS, "another secret")
        assert "401" in api.try_webhook(third.webhook_id, min(EVENTS))
        registered()
        assert api.try_webhook(third.webhook_id, min(EVENTS)) == ""

        # One that cannot come through is taken away again.
        unheard = Hook(mlflow.url, receiver, name, "yet another")
        unheard.check()
        assert not unheard.reaches
        assert [found for found in api.list_webhooks() if found.name == name] == []
    finally:
        receiver.close()


def test_mlflow_away_for_hours_and_back_without_a_memory(place: Place, mlflow: Mlflow) -> None:
    (name,) = place.models
    registrar = place.registrar(name)
    with place.server() as url, place.follower("--interval", "0.3"):
        first, second = (_release(registrar, seed) for seed in (1, 2))
        mlflow.stop()
        result = rollback(place.serving, name, "odd answers", place.state)
        assert (result.from_version, result.to_version) == (second, first)
        assert _served(url, name) == first

        mlflow.start()
        expected = {names.CHAMPION: first, names.LIVE: first, names.PREVIOUS: second}
        _wait(lambda: registrar.aliases() == expected)
        _wait(lambda: not (place.serving / name / "pin.json").exists())
        mlflow.stop()

        mlflow.start("another")
        _wait(lambda: [hook.url for hook in place.hooks()] == [place.address])
        assert _served(url, name) == first
        assert _release(place.registrar(name), 3) == 1
        assert _served(url, name) == 1
