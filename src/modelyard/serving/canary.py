"""A canary beside the live version: who is answered by it, and what the two of them did."""

import math
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import Any

from modelyard.serving.folder import CanaryPointer
from modelyard.serving.http import Request
from modelyard.serving.table import Served

CALLER = b"x-caller-id"
"""By this header callers behind one address or key are told apart."""
_FINEST_S = 1e-5
_PER_OCTAVE = 16
"""Buckets of latencies: each ends 4.4 % after the one before."""
_WHOLE = 2**64


class Tally:
    """Counts of a version since its canary began; requests that name a version are not among them.

    ``failed`` are those that were not the caller's fault.
    """

    __slots__ = ("_buckets", "failed", "requests")

    def __init__(self) -> None:
        self.requests = 0
        self.failed = 0
        self._buckets: dict[int, int] = {}

    def answer(self, seconds: float) -> None:
        """Count a request that was answered."""
        self.requests += 1
        bucket = math.ceil(_PER_OCTAVE * math.log2(max(seconds, _FINEST_S) / _FINEST_S))
        self._buckets[bucket] = self._buckets.get(bucket, 0) + 1

    def fail(self) -> None:
        """Count a request that was not."""
        self.requests += 1
        self.failed += 1

    def tree(self) -> dict[str, Any]:
        """As JSON; latencies as (upper end in seconds, number) each."""
        ends = {bucket: _FINEST_S * 2 ** (bucket / _PER_OCTAVE) for bucket in self._buckets}
        latencies = [[ends[bucket], number] for bucket, number in sorted(self._buckets.items())]
        return {"requests": self.requests, "failed": self.failed, "latencies": latencies}


@dataclass(eq=False)
class Canary:
    """A loaded canary with both versions' counts."""

    pointer: CanaryPointer
    served: Served
    live: Tally = field(default_factory=Tally)
    own: Tally = field(default_factory=Tally)

    def takes(self, request: Request) -> bool:
        """Whether it answers this caller: always the same for one canary, drawn anew for the next.

        A caller is an API key, or without keys an address, and its ``x-caller-id`` where it gives
        one: behind a gateway all have one address.
        """
        who = request.key.id if request.key is not None else request.client
        given = request.headers.get(CALLER, b"")[:256]
        salt = bytes.fromhex(self.pointer.digest[:32])
        drawn = blake2b(who.encode() + b"\0" + given, digest_size=8, key=salt).digest()
        return int.from_bytes(drawn) < self.pointer.percent / 100 * _WHOLE


def choose(
    canaries: dict[str, Canary], live: Served, request: Request
) -> tuple[Served, Tally | None]:
    """Which version answers a caller that names none, and where to count it."""
    canary = canaries.get(live.model.name)
    if canary is None:
        return live, None
    if canary.takes(request):
        return canary.served, canary.own
    return live, canary.live
