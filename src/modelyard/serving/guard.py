"""Who may ask, what, and how often."""

import math
import time
from dataclasses import dataclass

from modelyard.serving.failures import RequestError
from modelyard.serving.keys import ApiKey, KeyFile

OPEN_PATHS = frozenset({"/v2/health/live", "/v2/health/ready", "/version"})
"""What a balancer asks; they tell no more than that a server is there."""
_OPEN_PAGES = "/models/"
_MANY = 10_000


@dataclass
class _Bucket:
    """A token bucket: ``tokens`` at ``when``, s of the monotonic clock."""

    tokens: float
    when: float


class Guard:
    """Checks of a request that need no body.

    Args:
        keys: Where they are; without them everybody may ask.
    """

    def __init__(self, keys: KeyFile | None) -> None:
        self._keys = keys
        self._buckets: dict[str, _Bucket] = {}

    def check(self, path: str, headers: dict[bytes, bytes]) -> ApiKey | None:
        """The caller's key; None where none is needed.

        Raises:
            RequestError: 401, there is no key or a wrong one; 429, it asks too often.
        """
        if self._keys is None or self._keys.keys() is None or _is_open(path):
            return None
        key = self._keys.find(_shown(headers))
        if key is None:
            raise RequestError(
                401,
                "send a key that is valid: 'authorization: Bearer KEY', or 'x-api-key: KEY'; an "
                "operator makes one by `modelyard key add`",
                ((b"www-authenticate", b"Bearer"),),
            )
        if key.rate is not None:
            self._take(key.id, key.rate)
        return key

    def _take(self, key_id: str, rate: float) -> None:
        """Take a token from the key's bucket, which holds those of a second, and at least one."""
        now, most = time.monotonic(), max(1.0, rate)
        if len(self._buckets) > _MANY:
            self._buckets.clear()
        bucket = self._buckets.setdefault(key_id, _Bucket(most, now))
        bucket.tokens = min(most, bucket.tokens + (now - bucket.when) * rate)
        bucket.when = now
        if bucket.tokens < 1:
            wait = math.ceil((1 - bucket.tokens) / rate)
            raise RequestError(
                429,
                f"this key may ask {rate:g} times a second; come back in {wait} s",
                ((b"retry-after", b"%d" % wait),),
            )
        bucket.tokens -= 1


def refuse_model(key: ApiKey | None, model: str) -> None:
    """A key is for certain models.

    Raises:
        RequestError: 403, it is not for this one.
    """
    if key is not None and not key.opens(model):
        raise RequestError(
            403, f"this key is not for model {model[:63]!r}; ask an operator for one that is"
        )


def _is_open(path: str) -> bool:
    """Of a model's page for people the frame is open: it asks them for their key."""
    page = path.startswith(_OPEN_PAGES) and "/" not in path[len(_OPEN_PAGES) :]
    return page or path in OPEN_PATHS


def _shown(headers: dict[bytes, bytes]) -> str:
    """The key in a request's headers."""
    given = headers.get(b"x-api-key", b"")
    if not given:
        kind, _, given = headers.get(b"authorization", b"").partition(b" ")
        if kind.lower() != b"bearer":
            return ""
    return given.decode("ascii", "replace").strip()
