"""New data in a folder or below an S3 prefix becomes an event, by comparing two listings.

What is there when the watch is switched on is known; a file counts once its size and time stay the
same from one look to the next, so that one that is still written is left alone.
"""

import json
import logging
import time
import uuid
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from modelyard.artifacts import sha256_file, write_json
from modelyard.errors import ServiceUnavailable, SourceError
from modelyard.orchestration import automations, run_rules
from modelyard.prefect_api import PrefectApi

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Item:
    """A file or object; ``state`` changes with its contents."""

    path: str
    size: int
    state: str


class Watcher:
    """Looks at the places of infra/runs.yaml, each as often as it asks for.

    Args:
        root: The project, from which relative places hang.
        folder: Where the last listings are kept, so that a restart misses nothing.
    """

    def __init__(self, root: Path, folder: Path) -> None:
        self._root = root
        self._folder = folder
        self._due: dict[str, float] = {}
        self._before: dict[str, dict[str, Item]] = {}

    def look(self, api: PrefectApi) -> list[str]:
        """Look at what is due; return the paths that an event was sent for.

        Raises:
            ServiceUnavailable: Prefect is away; the next look sends it.
            WorkspaceError: infra/runs.yaml is not as it must be.
        """
        now, sent = time.monotonic(), []
        if now < min(self._due.values(), default=0.0):
            return sent
        watches = run_rules.load(self._root).watches
        due = [name for name in watches if self._due.get(name, 0.0) <= now]
        self._due = {name: self._due.get(name, 0.0) for name in watches}
        waiting = [
            item
            for item in api.find("automations", {})
            if automations.expects(item, automations.NEW_DATA)
        ]
        for name in due:
            self._due[name] = now + watches[name].every
            if any(_concerns(item, name) for item in waiting):
                sent += self._compare(name, watches[name].place, api)
            else:
                self._note(name).unlink(missing_ok=True)
        return sent

    def _compare(self, name: str, place: str, api: PrefectApi) -> list[str]:
        try:
            found = listing(self._root, place)
        except (ServiceUnavailable, SourceError) as error:
            log.warning("watch %s: %s", name, error)
            return []
        note, before = self._note(name), self._before.get(name, {})
        self._before[name] = found
        if not note.exists():
            write_json(note, {path: item.state for path, item in found.items()})
            log.info("watch %s: %d items in %s are known", name, len(found), place)
            return []
        known: dict[str, str] = json.loads(note.read_text(encoding="utf-8"))
        remote = place.startswith("s3://")
        new = [
            item
            for path, item in sorted(found.items())
            if known.get(path) != item.state and (remote or before.get(path) == item)
        ]
        for item in new:
            api.call("POST", "/events", [_event(self._root, name, place, item)])
            log.info("watch %s: %s is new", name, item.path)
        kept = {path: state for path, state in known.items() if path in found}
        if new or kept != known:
            write_json(note, kept | {item.path: item.state for item in new})
        return [item.path for item in new]

    def _note(self, name: str) -> Path:
        return self._folder / f"watch-{name}.json"


def listing(root: Path, place: str) -> dict[str, Item]:
    """Every file of data below a folder, or object below an ``s3://`` prefix, by its path.

    What is data is what `fetch` would take: no name that begins with ``.`` or ``_``, and of an S3
    prefix what lies below it, not all that begins alike. The paths of files inside the project hang
    from its root, as ``data.source`` wants them.

    Raises:
        SourceError: the place is no prefix, or its bucket is not there.
        ServiceUnavailable: the S3 server is away or refuses the keys.
    """
    from modelyard.data.raw import is_data

    if place.startswith("s3://"):
        return _objects(place)
    found = {}
    folder = (root / place).resolve()
    for path in folder.rglob("*") if folder.is_dir() else ():
        if path.is_file() and is_data(path.relative_to(folder).as_posix()):
            status = path.stat()
            state = f"{status.st_size}-{status.st_mtime_ns}"
            inside = path.is_relative_to(root.resolve())
            name = str(path.relative_to(root.resolve()) if inside else path)
            found[name] = Item(name, status.st_size, state)
    return found


def _objects(place: str) -> dict[str, Item]:
    from modelyard.data.raw import is_data
    from modelyard.data.source import S3Source, parse_source
    from modelyard.data.source_s3 import list_objects

    source = parse_source(place)
    assert isinstance(source, S3Source)
    bucket, above = f"s3://{source.bucket}", f"{source.path}/" if source.path else ""
    return {
        f"{bucket}/{key}": Item(f"{bucket}/{key}", found.size, found.etag.strip('"'))
        for key, found in list_objects(source).items()
        if is_data(key.removeprefix(above))
    }


def _event(root: Path, name: str, place: str, item: Item) -> dict[str, Any]:
    local = not item.path.startswith("s3://")
    return {
        "id": str(uuid.uuid4()),
        "occurred": datetime.now(UTC).isoformat(),
        "event": automations.NEW_DATA,
        "resource": {"prefect.resource.id": _resource(name)},
        "payload": {
            "watch": name,
            "place": place,
            "path": item.path,
            "size": item.size,
            "sha256": sha256_file(root / item.path) if local else None,
        },
    }


def _resource(name: str) -> str:
    return f"modelyard.watch.{name}"


def _concerns(automation: dict[str, Any], name: str) -> bool:
    """Whether an automation's ``match``, which may end in a star, means this watch."""
    from fnmatch import fnmatchcase

    wanted = automation["trigger"].get("match", {}).get("prefect.resource.id", "*")
    patterns = [wanted] if isinstance(wanted, str) else wanted
    return any(fnmatchcase(_resource(name), pattern) for pattern in patterns)
