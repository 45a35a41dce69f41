"""Which of the judged candidates ships."""

from collections.abc import Mapping, Sequence
from typing import Literal

from modelyard.compression.candidates import REFERENCE, Judged

AS_QUICK = 1.2
"""Medians up to this many times the best count as equal: two runs of one machine differ by less."""

UNSEEN_MS = 0.01
"""Nor is a difference up to this seen: a request costs about 0.1 ms without any model."""


def select(
    judged: Sequence[Judged],
    latency_ms: Mapping[str, float],
    objective: Literal["latency", "size"],
) -> str:
    """Name the best candidate within the accuracy budget, or fp32 where none is.

    By ``latency`` those within ``AS_QUICK`` or ``UNSEEN_MS`` of the quickest count as equally
    quick, and of them the smallest file wins, so that two machines of the same kind choose alike.
    By ``size`` the smallest file wins. Files of equal size are told apart by their names.

    Args:
        judged: All candidates.
        latency_ms: Median latency of one row by name.
        objective: What to make small.
    """
    eligible = [candidate for candidate in judged if candidate.within_budget]
    if not eligible:
        return REFERENCE
    if objective == "latency":
        quickest = min(latency_ms[candidate.name] for candidate in eligible)
        limit = max(quickest * AS_QUICK, quickest + UNSEEN_MS)
        eligible = [candidate for candidate in eligible if latency_ms[candidate.name] <= limit]
    return min(eligible, key=lambda candidate: (candidate.size_bytes, candidate.name)).name
