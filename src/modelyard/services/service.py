"""What the supervisor reports: a service, its state now, and the events on the way there."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Literal

from modelyard.services.records import Entry

Kind = Literal["running", "external", "port", "restart", "started", "waiting", "ready"]
State = Literal["up", "starting", "down", "external"]


@dataclass(frozen=True)
class ServiceEvent:
    """Progress of one service; ``seconds`` since its process began."""

    name: str
    kind: Kind
    message: str
    seconds: float = 0.0


OnEvent = Callable[[ServiceEvent], None]


@dataclass(frozen=True)
class Service:
    """A service that was asked for; ``started`` says whether that call started it.

    ``url`` is the address people open (Prefect's API is below it at /api), None for a service that
    answers no requests; ``health`` the address that tells whether it is up. ``entry`` is None for
    an external service.
    """

    name: str
    url: str | None
    health: str | None
    entry: Entry | None = None
    started: bool = False

    @property
    def external(self) -> bool:
        """Whether it runs elsewhere, at an address from the environment."""
        return self.entry is None

    @property
    def pid(self) -> int | None:
        """Its process, where it runs here."""
        return self.entry.pid if self.entry else None

    @property
    def log(self) -> Path | None:
        """The file that its output goes to, where it runs here."""
        return self.entry.log if self.entry else None


@dataclass(frozen=True)
class ServiceStatus:
    """How a service is now; ``memory_mb``: resident, 1e6 bytes, with its children."""

    name: str
    url: str | None
    state: State
    pid: int | None = None
    memory_mb: float | None = None
    since: datetime | None = None
    log: Path | None = None
