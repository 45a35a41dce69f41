"""A message when a run of a deployment failed: to a webhook, by e-mail, to all that Apprise knows.

The worker asks Prefect which runs ended badly, so that one whose process was killed is told of too.
"""

import json
import logging
import stat
import time
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from modelyard.artifacts import write_json
from modelyard.errors import ModelyardError, WorkspaceError
from modelyard.prefect_api import FlowRun, PrefectApi

if TYPE_CHECKING:
    from apprise import Apprise

EVERY = 5.0
"""Seconds between two questions to Prefect."""
_OVERLAP = timedelta(minutes=5)
"""A run's end is stored after its own time: the same ends are asked for more than once."""
_LIMIT = 50
_TRIES = 3
_MAX_REASON = 1500

log = logging.getLogger(__name__)


class Messenger:
    """Tells of each bad end once, also after a restart of the worker.

    Args:
        folder: Keeps what was told.
        addresses: The file of the addresses; without it nothing is told.
    """

    def __init__(self, folder: Path, addresses: Path) -> None:
        self._note = folder / "messages.json"
        self._addresses = addresses
        self._due = 0.0

    def tell(self, api: PrefectApi) -> list[str]:
        """Send what is new; return the titles.

        Raises:
            ServiceUnavailable: Prefect is away.
            WorkspaceError: the file of the addresses can be read by others, or is not one.
        """
        if time.monotonic() < self._due or not self._addresses.exists():
            return []
        self._due = time.monotonic() + EVERY
        note = self._read()
        since = datetime.fromisoformat(note["since"])
        filters = {
            "state": {"type": {"any_": ["FAILED", "CRASHED"]}},
            "deployment_id": {"is_null_": False},
            "end_time": {"after_": since.isoformat()},
        }
        told: dict[str, int] = note["told"]
        titles, ended = [], _all(api, filters)
        for run in reversed(ended):
            if told.get(run.state_id, 0) < _TRIES:
                title, text = compose(api, run)
                sent = send(self._addresses, title, text)
                told[run.state_id] = _TRIES if sent else told.get(run.state_id, 0) + 1
                titles += [title] if sent else []
        current = {run.state_id for run in ended}
        moved = max(since, datetime.now(UTC) - _OVERLAP)
        write_json(
            self._note,
            {
                "since": moved.isoformat(),
                "told": {key: count for key, count in told.items() if key in current},
            },
        )
        return titles

    def _read(self) -> dict[str, Any]:
        try:
            return json.loads(self._note.read_text(encoding="utf-8"))
        except (FileNotFoundError, ValueError):
            return {"since": datetime.now(UTC).isoformat(), "told": {}}


def _all(api: PrefectApi, filters: dict[str, Any]) -> list[FlowRun]:
    """However many there are: a night of failures is more than Prefect gives at once."""
    found: list[FlowRun] = []
    while page := api.flow_runs(filters, _LIMIT, offset=len(found)):
        found += page
        if len(page) < _LIMIT:
            break
    return found


def compose(api: PrefectApi, run: FlowRun) -> tuple[str, str]:
    """Title and text: what failed, in which step, why, where to look, how to go on."""
    deployment = api.call("GET", f"/deployments/{run.deployment_id}")["name"]
    step = api.unfinished_steps([run.id]).get(run.id)
    reason = reason_of(run.message)[:_MAX_REASON]
    lines = [
        f"Run: {run.name} of {deployment}, {run.state_name}",
        f"Step: {step or 'none had begun'}",
        f"Reason: {reason or 'none given'}",
        f"Page: {api.page(run.id)}",
        f"To go on where it stopped: modelyard runs continue {run.name}",
    ]
    place = f" in {step}" if step else ""
    return f"modelyard: {deployment} {run.state_name.lower()}{place}", "\n".join(lines)


def reason_of(message: str) -> str:
    """A state's message without Prefect's own first words."""
    return message.removeprefix("Flow run encountered an exception: ").strip()


def read_addresses(path: Path) -> list[str]:
    """The lines of the file that are no comments: addresses as Apprise writes them.

    Raises:
        WorkspaceError: others can read the file, though an address may hold a password.
    """
    if stat.S_IMODE(path.stat().st_mode) & (stat.S_IRWXG | stat.S_IRWXO):
        raise WorkspaceError(
            f"{path} can be read by others, and its addresses may hold passwords",
            f"Run: chmod 600 {path}",
        )
    lines = (line.strip() for line in path.read_text(encoding="utf-8").splitlines())
    return [line for line in lines if line and not line.startswith("#")]


def send(path: Path, title: str, text: str) -> bool:
    """Send a message to every address of the file; whether all took it.

    Raises:
        WorkspaceError: as ``read_addresses``, or an address that is none.
    """
    sender = _sender(path, read_addresses(path))
    # Apprise logs addresses in parts; the result says enough.
    logging.getLogger("apprise").setLevel(logging.CRITICAL)
    sent = bool(sender.notify(body=text, title=title))
    if not sent:
        log.warning("a message could not be sent to every address of %s: %s", path, title)
    return sent


def _sender(path: Path, addresses: Sequence[str]) -> "Apprise":
    from apprise import Apprise

    sender = Apprise()
    for number, address in enumerate(addresses, 1):
        if not sender.add(address):
            raise WorkspaceError(
                f"{path}: address {number} is none that Apprise knows",
                "For instance json://host/path, or mailtos://user:password@host?to=NAME@HOST.",
            )
    if not addresses:
        raise ModelyardError(f"{path} holds no address", "Write one a line, or remove the file.")
    return sender
