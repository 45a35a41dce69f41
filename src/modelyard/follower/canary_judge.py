"""Whether a canary may go live, by what it and the live version answered meanwhile.

Pure: counts in, judgement out. Which callers a canary answers is drawn by a hash, so that the two
versions' counts are of one population at one time.
"""

import math
from bisect import bisect_left
from dataclasses import dataclass
from itertools import accumulate
from typing import Any, Literal

from modelyard.params.serve import Canary

_Z = 3.0
"""Standard errors of a one-sided bound: 0.13 %, as one looks again every second."""
_NOTICED_S = 0.00025
"""A rise of latency below this is the machine's, not the model's."""


@dataclass(frozen=True)
class Counts:
    """What a version did: ``failed`` of ``requests``, and the latencies of those it answered.

    ``latencies`` are a histogram, (upper end in seconds, number) each, ascending.
    """

    requests: int = 0
    failed: int = 0
    latencies: tuple[tuple[float, int], ...] = ()

    @classmethod
    def parse(cls, tree: dict[str, Any]) -> "Counts":
        """From a worker's file.

        Raises:
            ValueError: they are not possible.
            KeyError, TypeError: it is something else.
        """
        latencies = tuple(sorted((float(end), int(number)) for end, number in tree["latencies"]))
        found = cls(int(tree["requests"]), int(tree["failed"]), latencies)
        if not 0 <= found.failed <= found.requests or any(number < 0 for _, number in latencies):
            raise ValueError(f"{found.failed} failed of {found.requests} requests")
        return found

    def __add__(self, other: "Counts") -> "Counts":
        numbers = dict(self.latencies)
        for end, number in other.latencies:
            numbers[end] = numbers.get(end, 0) + number
        return Counts(
            self.requests + other.requests,
            self.failed + other.failed,
            tuple(sorted(numbers.items())),
        )

    @property
    def share(self) -> float:
        """The share that failed; 0 of none."""
        return self.failed / self.requests if self.requests else 0.0

    @property
    def num_timed(self) -> int:
        """How many latencies there are."""
        return sum(number for _, number in self.latencies)

    def quantile(self, level: float) -> float:
        """Seconds that a share ``level`` of the answers took at most; infinite beyond all.

        Below the first it is 0: as a bound, nothing is known.
        """
        if level <= 0:
            return 0.0
        sums = list(accumulate(number for _, number in self.latencies))
        if not sums or level > 1:
            return math.inf
        return self.latencies[bisect_left(sums, level * sums[-1])][0]


@dataclass(frozen=True)
class Judgement:
    """What becomes of a canary now, and why; the reason names its numbers."""

    outcome: Literal["goes on", "promote", "take back"]
    reason: str = ""


def judge(live: Counts, canary: Counts, terms: Canary, elapsed_s: float) -> Judgement:
    """Judge a canary ``elapsed_s`` seconds after it began.

    It is taken back at once where it is surely worse than ``terms`` allow: not by chance, as the
    counts are looked at many times. The rise of the share of failures is sure where the lower bound
    of the difference is above ``max_error_rise`` (score interval for two proportions without
    continuity correction: Newcombe 1998, Statistics in Medicine 17, method 10; requests of one
    caller count as independent). The rise of the median is sure where the canary's lower bound is
    above the live version's upper one by more than ``max_latency_rise`` (order statistics, normal
    approximation: Conover 1999, Practical Nonparametric Statistics, section 3.2).

    When the time is over, the measured rises themselves decide. Where they are too high without
    being sure, or there are too few answers, it goes on for as long again, and is then taken back:
    in doubt, what serves stays. A live version without any answers (``percent`` 100) counts as
    without failures, and latencies are not compared.
    """
    is_enough = canary.requests >= terms.min_requests
    if is_enough and (found := _find_fault(live, canary, terms, _Z)):
        return Judgement("take back", f"{found}; {describe(live, canary)}")
    rounds = elapsed_s / (60 * terms.minutes)
    if rounds < 1:
        return Judgement("goes on")
    if not is_enough:
        fault = (
            f"only {canary.requests} requests in {elapsed_s / 60:.3g} min, "
            f"{terms.min_requests} are needed"
        )
    elif not (fault := _find_fault(live, canary, terms, 0.0)):
        return Judgement("promote", describe(live, canary))
    if rounds < 2:
        return Judgement("goes on")
    return Judgement("take back", f"{fault}; {describe(live, canary)}")


def describe(live: Counts, canary: Counts) -> str:
    """Both versions' numbers, for people."""
    return f"canary {_describe(canary)}; live {_describe(live)}"


def _describe(counts: Counts) -> str:
    median = f", median {1000 * counts.quantile(0.5):.3g} ms" if counts.latencies else ""
    return f"{counts.failed} of {counts.requests} failed{median}"


def _find_fault(live: Counts, canary: Counts, terms: Canary, z: float) -> str:
    """What is worse than allowed, with ``z`` standard errors to spare; empty where nothing is."""
    if _error_rise(live, canary, z) > terms.max_error_rise:
        rise = canary.share - live.share
        return f"{rise:.1%} more requests fail, {terms.max_error_rise:.1%} are allowed"
    if not (canary.num_timed and live.num_timed):
        return ""
    slow, fast = _median_bound(canary, -z), _median_bound(live, z)
    if slow - fast > _NOTICED_S and slow > fast * (1 + terms.max_latency_rise):
        rise = canary.quantile(0.5) / live.quantile(0.5) - 1
        return f"the median answer takes {rise:.0%} longer, {terms.max_latency_rise:.0%} is allowed"
    return ""


def _error_rise(live: Counts, canary: Counts, z: float) -> float:
    """Lower bound of the difference between two shares."""
    if not live.requests:
        return _wilson(canary, -z)
    below = canary.share - _wilson(canary, -z)
    above = _wilson(live, z) - live.share
    return canary.share - live.share - math.hypot(below, above)


def _wilson(counts: Counts, z: float) -> float:
    """A bound of Wilson's score interval for the share that failed: the upper for positive z."""
    number, share = counts.requests, counts.share
    spread = math.sqrt(share * (1 - share) / number + z * z / (4 * number * number))
    bound = (share + z * z / (2 * number) + z * spread) / (1 + z * z / number)
    return min(1.0, max(0.0, bound))


def _median_bound(counts: Counts, z: float) -> float:
    """A bound of the median, in seconds: the upper for positive z."""
    return counts.quantile(0.5 + z / (2 * math.sqrt(counts.num_timed)))
