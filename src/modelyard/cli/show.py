"""How progress and forecasts look on a terminal; plain lines where there is none."""

import logging
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.status import Status
from rich.text import Text

from modelyard.runs.progress import Progress

_MARKS = {
    "executed": ("✓", "green"),
    "done": ("✓", "green"),
    "restored": ("↺", "green"),
    "unchanged": ("=", "dim"),
    "skipped": ("!", "yellow"),
    "failed": ("✗", "red"),
}
_NOTES = {
    "restored": "from the cache",
    "unchanged": "unchanged",
    "skipped": "skipped",
    "failed": "failed",
}


class Display(logging.Handler):
    """A line for each finished step, and a spinner with the latest news of the one under way.

    Warnings of the library (a worker that is started again, say) are lines as well.
    """

    def __init__(self, console: Console) -> None:
        super().__init__(logging.WARNING)
        self._console = console
        self._status: Status | None = None

    def __enter__(self) -> Self:
        logging.getLogger("modelyard").addHandler(self)
        return self

    def emit(self, record: logging.LogRecord) -> None:
        """Draw one warning."""
        self._console.print(Text("  ! ", style="yellow").append(record.getMessage()))

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stop()
        logging.getLogger("modelyard").removeHandler(self)

    def show(self, progress: Progress) -> None:
        """Draw one report."""
        if progress.state in ("started", "running"):
            self._spin(progress)
            return
        self._stop()
        mark, style = _MARKS[progress.state]
        line = Text(f"{mark} ", style=style).append(f"{progress.step:<14}", style="bold")
        line.append(f"{progress.seconds:6.1f} s  ", style="dim")
        note = _NOTES.get(progress.state, "")
        line.append("; ".join(filter(None, [progress.detail, note])), style="default")
        self._console.print(line)

    def _spin(self, progress: Progress) -> None:
        text = f"[bold]{progress.step}[/bold] {progress.detail}"
        if self._status is None:
            if not self._console.is_terminal:
                return
            self._status = self._console.status(text)
            self._status.start()
        else:
            self._status.update(text)

    def _stop(self) -> None:
        if self._status:
            self._status.stop()
            self._status = None


def why_command(stage: str | None) -> None:
    """Print the forecast of every stage, or one."""
    from pathlib import Path

    from modelyard.errors import WorkspaceError
    from modelyard.params import load
    from modelyard.runs.why import forecast
    from modelyard.stages import STAGES

    load()
    if stage is not None and stage not in STAGES:
        raise WorkspaceError(
            f"there is no stage {stage!r}", f"The stages are: {', '.join(STAGES)}."
        )
    console = Console(soft_wrap=True)
    for item in forecast(Path(), stage, ask=True):
        if not item.reasons:
            console.print(
                f"[dim]=[/dim] [bold]{item.stage:<10}[/bold] would be skipped: nothing changed"
            )
            continue
        console.print(f"[yellow]→[/yellow] [bold]{item.stage:<10}[/bold] would run again:")
        for reason in item.reasons:
            console.print(f"    {reason.kind:<11} {reason.name}: {reason.state}", highlight=False)
