"""Keys of callers: a file of their hashes, made by `modelyard key`, read again when it changes.

A key is ``my_ID_SECRET``; the secret has 256 random bits, so that one sha256 of it tells nothing,
and the file, mode 0600, holds nothing that opens a door.
"""

import fcntl
import hashlib
import hmac
import json
import os
import re
import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from modelyard.artifacts import write_atomic
from modelyard.errors import WorkspaceError

FILE = Path("keys/api-keys.json")
"""Below the state folder."""
ALL = "*"
LOOK_EVERY_S = 1.0
_KEY = re.compile(r"my_([0-9a-f]{8})_([\w-]{43})")


@dataclass(frozen=True)
class ApiKey:
    """What is known of a key: who has it, for which models, until when, how often it may ask.

    ``models`` are names, or ``*`` alone; ``expires`` is an ISO time in UTC; ``rate`` is requests a
    second, None without a bound; ``sha256`` is that of the secret.
    """

    id: str
    owner: str
    models: tuple[str, ...]
    created: str
    expires: str | None
    rate: float | None
    sha256: str

    @property
    def is_expired(self) -> bool:
        """Whether its time is over."""
        return self.expires is not None and datetime.fromisoformat(self.expires) <= _now()

    def opens(self, model: str) -> bool:
        """Whether it may ask a model."""
        return ALL in self.models or model in self.models


class KeyFile:
    """The keys of a project.

    Args:
        path: The file; without it no key is asked for.
        required: A missing file opens nothing; nor does one that was there before.
    """

    def __init__(self, path: Path, required: bool = False) -> None:
        self.path = path
        self._required = required
        self._looked = -LOOK_EVERY_S
        self._seen: tuple[int, int, int] | None = None
        self._keys: dict[str, ApiKey] | None = None

    def keys(self) -> dict[str, ApiKey] | None:
        """The keys by id, at most ``LOOK_EVERY_S`` old; None where none is needed.

        A file that cannot be read opens nothing: it counts as one without keys.
        """
        if time.monotonic() - self._looked < LOOK_EVERY_S:
            return self._keys
        self._looked = time.monotonic()
        try:
            stat = self.path.stat()
        except FileNotFoundError:
            self._seen, self._keys = None, {} if self._required else None
            return self._keys
        except OSError:
            self._seen, self._keys = None, {}
            return self._keys
        self._required = True
        seen = stat.st_mtime_ns, stat.st_size, stat.st_ino
        if seen != self._seen:
            try:
                self._keys = read(self.path)
            except (WorkspaceError, OSError):
                self._keys = {}
            self._seen = seen
        return self._keys

    def find(self, text: str) -> ApiKey | None:
        """The key that a caller shows, if it is one and its time is not over."""
        known, shown = self.keys() or {}, _KEY.fullmatch(text)
        if shown is None or (key := known.get(shown[1])) is None:
            return None
        right = hmac.compare_digest(hashlib.sha256(shown[2].encode()).hexdigest(), key.sha256)
        return key if right and not key.is_expired else None


def read(path: Path) -> dict[str, ApiKey]:
    """The keys of a file by id; none where there is no file.

    Raises:
        WorkspaceError: others may read it, or it is damaged.
    """
    try:
        if path.stat().st_mode & 0o077:
            raise WorkspaceError(
                f"{path} can be read by others than its owner", f"Run `chmod 600 {path}`."
            )
        tree = json.loads(path.read_text(encoding="utf-8"))
        keys = [ApiKey(**item | {"models": tuple(item["models"])}) for item in tree["keys"]]
        for key in keys:
            _ = key.is_expired
            if key.rate is not None and not key.rate > 0:
                raise ValueError(f"the rate of {key.id} is {key.rate}")
    except FileNotFoundError:
        return {}
    except (ValueError, TypeError, KeyError) as error:
        raise WorkspaceError(
            f"{path} is damaged: {error}", "Restore it, or remove it and make keys anew."
        ) from error
    return {key.id: key for key in keys}


def add(
    path: Path, owner: str, models: tuple[str, ...], rate: float | None, days: int | None
) -> tuple[str, ApiKey]:
    """Make a key; return its text, which is nowhere kept, and what is.

    Raises:
        WorkspaceError: the file is damaged, or can be read by others.
    """
    secret = secrets.token_urlsafe(32)
    key = ApiKey(
        id=secrets.token_hex(4),
        owner=owner,
        models=models,
        created=_now().isoformat(timespec="seconds"),
        expires=(_now() + timedelta(days=days)).isoformat(timespec="seconds") if days else None,
        rate=rate,
        sha256=hashlib.sha256(secret.encode()).hexdigest(),
    )
    with _changed(path) as keys:
        keys[key.id] = key
    return f"my_{key.id}_{secret}", key


def remove(path: Path, key_id: str) -> ApiKey:
    """Take a key back: servers refuse it within ``LOOK_EVERY_S``.

    Raises:
        WorkspaceError: there is no such key.
    """
    with _changed(path) as keys:
        if key_id not in keys:
            raise WorkspaceError(f"there is no key {key_id!r}", "`modelyard key list` shows them.")
        return keys.pop(key_id)


@contextmanager
def _changed(path: Path) -> Iterator[dict[str, ApiKey]]:
    """The keys, written back when the block ends without an error; one writer at a time."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    with path.with_suffix(".lock").open("w") as lock:
        os.fchmod(lock.fileno(), 0o600)
        fcntl.flock(lock, fcntl.LOCK_EX)
        keys = read(path)
        yield keys
        tree = {"keys": [asdict(key) for key in keys.values()]}
        write_atomic(path, (json.dumps(tree, indent=2) + "\n").encode(), mode=0o600)


def _now() -> datetime:
    return datetime.now(UTC)
