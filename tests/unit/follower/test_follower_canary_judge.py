"""The judgement of a canary, by numbers alone."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelyard.follower import canary_judge
from modelyard.follower.canary_judge import Counts, judge
from modelyard.params.serve import Canary

TERMS = Canary(percent=10, minutes=10, max_error_rise=0.01, max_latency_rise=0.5, min_requests=100)
MINUTE = 60.0


@st.composite
def _counts(draw: st.DrawFn, least: int = 0) -> Counts:
    requests = draw(st.integers(least, 5000))
    failed = draw(st.integers(0, requests))
    ends = draw(st.lists(st.floats(1e-4, 10), min_size=1, max_size=4, unique=True))
    answered, latencies = requests - failed, []
    for end in sorted(ends)[1:]:
        number = draw(st.integers(0, answered))
        latencies.append((end, number))
        answered -= number
    latencies.append((min(ends), answered))
    return Counts(requests, failed, tuple(sorted(latencies)))


def _timed(requests: int, failed: int = 0, ms: float = 4.0) -> Counts:
    """Counts of answers whose latencies spread by a factor of 2 around ``ms``."""
    levels = (np.arange(requests - failed) + 0.5) / max(1, requests - failed)
    ends, numbers = np.unique(np.round(ms / 1000 * 2 ** (2 * levels - 1), 4), return_counts=True)
    return Counts(requests, failed, tuple(zip(ends.tolist(), numbers.tolist(), strict=True)))


@pytest.mark.parametrize(
    ("live", "canary", "minutes", "outcome", "reason"),
    [
        (_timed(900), _timed(100), 10, "promote", "canary 0 of 100 failed, median 4 ms"),
        (_timed(900), _timed(100), 9.9, "goes on", ""),
        (_timed(900, 9), _timed(100, 1), 10, "promote", "live 9 of 900 failed"),
        (_timed(900), _timed(100, 30), 0.1, "take back", "30.0% more requests fail, 1.0% are"),
        (_timed(900), _timed(99, 99), 0.1, "goes on", ""),
        (_timed(9000, 2700), _timed(1000, 300), 10, "promote", "canary 300 of 1000 failed"),
        (_timed(900), _timed(100, ms=9), 0.1, "take back", "the median answer takes"),
        (_timed(900), _timed(100, ms=5), 10, "promote", ""),
        (_timed(900, ms=0.1), _timed(100, ms=0.3), 10, "promote", ""),
        (_timed(900), _timed(99), 10, "goes on", ""),
        (_timed(900), _timed(99), 20, "take back", "only 99 requests in 20 min, 100 are needed"),
        (_timed(900), _timed(100, 2), 9, "goes on", ""),
        (_timed(900), _timed(100, 2), 10, "goes on", ""),
        (_timed(900), _timed(100, 2), 20, "take back", "2.0% more requests fail"),
        (Counts(), _timed(100), 10, "promote", "live 0 of 0 failed"),
        (Counts(), _timed(100, 50), 0.1, "take back", "50.0% more requests fail"),
        (_timed(900), _timed(100, 100), 0.1, "take back", "100.0% more requests fail"),
    ],
)
def test_what_becomes_of_a_canary(
    live: Counts, canary: Counts, minutes: float, outcome: str, reason: str
) -> None:
    judgement = judge(live, canary, TERMS, minutes * MINUTE)
    assert judgement.outcome == outcome
    assert reason in judgement.reason


def test_the_bound_of_the_rise_is_newcombes() -> None:
    """His first example, 56 of 70 and 48 of 80, in table II of the paper, by method 10."""
    live, canary = Counts(80, 48), Counts(70, 56)
    assert canary_judge._error_rise(live, canary, 1.959964) == pytest.approx(0.0524, abs=5e-5)
    assert canary_judge._error_rise(live, canary, 0.0) == pytest.approx(56 / 70 - 48 / 80)


@given(_counts(), _counts(), st.floats(0, 30))
def test_a_judgement_is_always_possible_and_an_end_says_why(
    live: Counts, canary: Counts, minutes: float
) -> None:
    judgement = judge(live, canary, TERMS, minutes * MINUTE)
    assert bool(judgement.reason) == (judgement.outcome != "goes on")
    if minutes < 10:
        assert judgement.outcome != "promote"
    if minutes >= 20:
        assert judgement.outcome != "goes on"
    if canary.requests < TERMS.min_requests:
        assert judgement.outcome == ("take back" if minutes >= 20 else "goes on")
    if judgement.outcome == "promote":
        assert canary.share <= live.share + TERMS.max_error_rise + 1e-9


@given(_counts(least=200), st.floats(0, 30), st.integers(0, 200))
def test_more_failures_never_help(live: Counts, minutes: float, more: int) -> None:
    order = ("promote", "goes on", "take back")
    worse = Counts(200, more, live.latencies)
    outcomes = [
        judge(live, c, TERMS, minutes * MINUTE) for c in (Counts(200, 0, live.latencies), worse)
    ]
    first, second = (order.index(outcome.outcome) for outcome in outcomes)
    assert first <= second


@given(_counts(), _counts(), _counts())
def test_workers_counts_add_up_in_any_order(one: Counts, two: Counts, three: Counts) -> None:
    assert (one + two) + three == three + (two + one)
    assert (one + two).num_timed == one.num_timed + two.num_timed


def test_an_equal_version_is_hardly_ever_taken_back_early() -> None:
    """5 % of each fail; judged every second of 10 minutes, 1 of 100 canaries may be unlucky."""
    rng = np.random.default_rng(0)
    taken = 0
    for _ in range(100):
        live = np.cumsum(rng.binomial(30, 0.05, 600))
        canary = np.cumsum(rng.binomial(3, 0.05, 600))
        taken += any(
            judge(
                Counts(30 * second, int(live[second - 1])),
                Counts(3 * second, int(canary[second - 1])),
                TERMS,
                float(second - 1),
            ).outcome
            == "take back"
            for second in range(1, 601)
        )
    assert taken <= 1


@pytest.mark.parametrize(
    "tree",
    [
        {"requests": 1, "failed": 2, "latencies": []},
        {"requests": 1, "failed": -1, "latencies": []},
        {"requests": 1, "failed": 0, "latencies": [[0.1, -1]]},
    ],
)
def test_impossible_counts_are_refused(tree: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="failed of"):
        Counts.parse(tree)
