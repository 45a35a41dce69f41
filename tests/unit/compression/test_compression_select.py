"""The choice among judged candidates."""

from random import Random
from typing import Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelyard.compression.candidates import Judged
from modelyard.compression.select import AS_QUICK, UNSEEN_MS, select
from modelyard.evaluation.comparison import PairedComparison

COMPARISON = PairedComparison(0.0, -0.01, 0.01, 1.0, "not worse by more than margin")


def _judged(name: str, size: int, within: bool = True) -> Judged:
    return Judged(name, name, size, 0.9, COMPARISON, within)


FILES = [_judged("fp32", 400), _judged("fp16", 200), _judged("int8", 100)]


@pytest.mark.parametrize(
    ("latency", "objective", "chosen"),
    [
        ({"fp32": 1.0, "fp16": 1.0, "int8": 0.3}, "latency", "int8"),
        ({"fp32": 1.0, "fp16": 1.1, "int8": 1.6}, "latency", "fp16"),
        ({"fp32": 1.0, "fp16": 1.3, "int8": 1.6}, "latency", "fp32"),
        ({"fp32": 1.0, "fp16": 1.3, "int8": 1.6}, "size", "int8"),
        ({"fp32": 0.005, "fp16": 0.011, "int8": 0.014}, "latency", "int8"),
    ],
)
def test_choices(
    latency: dict[str, float], objective: Literal["latency", "size"], chosen: str
) -> None:
    assert select(FILES, latency, objective) == chosen


def test_outside_the_budget_nothing_is_chosen_for_its_speed() -> None:
    latency = {"fp32": 1.0, "int8": 0.1}
    files = [_judged("fp32", 400), _judged("int8", 100, within=False)]
    assert select(files, latency, "latency") == select(files, latency, "size") == "fp32"
    lost = [_judged("fp32", 400, within=False), _judged("int8", 100, within=False)]
    assert select(lost, latency, "latency") == "fp32"


files = st.lists(
    st.tuples(st.integers(1, 5), st.floats(0.01, 10), st.booleans()), min_size=1, max_size=6
)


@given(files, st.sampled_from(["latency", "size"]), st.randoms())
def test_the_choice_is_eligible_undominated_and_blind_to_order(
    rows: list[tuple[int, float, bool]], objective: Literal["latency", "size"], random: Random
) -> None:
    judged = [_judged(f"c{number}", size, ok) for number, (size, _, ok) in enumerate(rows)]
    latency = {f"c{number}": value for number, (_, value, _) in enumerate(rows)}
    chosen = select(judged, latency, objective)
    shuffled = list(judged)
    random.shuffle(shuffled)
    assert select(shuffled, latency, objective) == chosen
    eligible = {item.name: item for item in judged if item.within_budget}
    if not eligible:
        assert chosen == "fp32"
        return
    quickest = min(latency[name] for name in eligible)
    limit = max(quickest * AS_QUICK, quickest + UNSEEN_MS)
    if objective == "latency":
        assert latency[chosen] <= limit
    for name, item in eligible.items():
        as_quick = latency[name] <= limit
        if objective == "size" or as_quick:
            assert eligible[chosen].size_bytes <= item.size_bytes
