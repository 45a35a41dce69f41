"""When the follower looks: at its start, when it is called, and by the clock."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, cast

from modelyard.errors import ServiceUnavailable
from modelyard.follower.__main__ import follow
from modelyard.follower.hooks import Waker

SECONDS = 20


@dataclass
class Looks:
    """Stands for the follower: counts its looks; MLflow is away at those in ``away``."""

    away: frozenset[int] = frozenset()
    number: int = 0
    _looked: threading.Condition = field(default_factory=threading.Condition)

    def tick(self) -> bool:
        with self._looked:
            self.number += 1
            self._looked.notify_all()
        if self.number in self.away:
            raise ServiceUnavailable("MLflow does not answer")
        return False

    def wait_for(self, number: int, seconds: float = SECONDS) -> bool:
        with self._looked:
            return self._looked.wait_for(lambda: self.number >= number, seconds)


@dataclass
class Hooked:
    """Stands for the webhook's registration."""

    reaches: bool = True
    num_looks: int = 0

    def look(self) -> None:
        self.num_looks += 1


@contextmanager
def following(looks: Looks, interval: float, hook: Hooked | None = None) -> Iterator[Waker]:
    waker = Waker()
    run = cast("Callable[..., Any]", follow)
    thread = threading.Thread(target=run, args=(looks, interval, waker, hook), daemon=True)
    thread.start()
    try:
        yield waker
    finally:
        waker.stop()
        thread.join(SECONDS)
        assert not thread.is_alive()


def test_it_looks_at_its_start_and_whenever_it_is_called() -> None:
    looks = Looks()
    with following(looks, 3600) as waker:
        assert looks.wait_for(1)
        assert not looks.wait_for(2, seconds=0.1)
        for number in (2, 3):
            waker.wake()
            assert looks.wait_for(number)


def test_it_looks_by_the_clock_more_rarely_where_the_webhook_comes_through() -> None:
    looks, seldom = Looks(), Looks()
    with following(looks, 0.01), following(seldom, 0.01, Hooked()):
        assert looks.wait_for(20)
        assert seldom.number <= looks.number / 2
        assert seldom.wait_for(2)


def test_after_mlflow_was_away_the_registration_is_looked_at() -> None:
    looks, hook = Looks(away=frozenset({2, 3})), Hooked()
    with following(looks, 3600, hook) as waker:
        for number in (1, 2, 3, 4):
            assert looks.wait_for(number)
            waker.wake()
        assert looks.wait_for(5)
        assert hook.num_looks == 1
