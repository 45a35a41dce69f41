"""What a run tells whoever watches: the command line draws it, a scheduled run logs it."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Literal

State = Literal[
    "started", "running", "executed", "restored", "unchanged", "done", "skipped", "failed"
]


@dataclass(frozen=True)
class Progress:
    """Which step, how it stands, how long it took (s) and what it found."""

    step: str
    state: State
    seconds: float = 0.0
    detail: str = ""


def _silent(_: Progress) -> None:
    return None


_listener: ContextVar[Callable[[Progress], None]] = ContextVar("listener", default=_silent)


def report(step: str, state: State, seconds: float = 0.0, detail: str = "") -> None:
    """Tell the listener, if there is one."""
    _listener.get()(Progress(step, state, seconds, detail))


@contextmanager
def listen(callback: Callable[[Progress], None]) -> Iterator[None]:
    """Have ``callback`` called with each report made inside."""
    token = _listener.set(callback)
    try:
        yield
    finally:
        _listener.reset(token)
