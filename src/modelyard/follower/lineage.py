"""What a version must have been judged against to replace what serves here.

That is what serves here. But a follower that was away while another followed several promotions
finds a champion that was judged against a version which it never had; and a version that was
deleted from the registry cannot be judged against by anybody.
"""

from collections.abc import Callable
from pathlib import Path

from modelyard.errors import GateRefused
from modelyard.follower.records import State
from modelyard.mlflow_api.types import RegisteredVersion
from modelyard.registry import tags
from modelyard.registry.verdict import Verdict, check_verdict

GetVersion = Callable[[str, int], RegisteredVersion | None]

_NUM_STEPS = 20


def find_reference(
    get_version: GetVersion, version: RegisteredVersion, state: State, trusted: Path
) -> str | None:
    """The digest that the verdict of ``version`` must be about; None where the budgets are enough.

    - What serves here, as a rule.
    - What ``version`` was compared with, where signed verdicts lead from it, passed each, one
    against the other, to what serves here. None of them has served here: what was left, by a
    rollback say, is no step to anything.
    - Nothing, where nothing serves here, or its version is gone from the registry.

    Raises:
        ServiceUnavailable: the registry went away.
    """
    if state.confirmed is None:
        return None
    live = state.confirmed.release
    first = _passed(version, trusted)
    if first is not None and first.champion_digest == live.digest:
        return live.digest
    here = get_version(version.name, live.version)
    if here is None or here.tags.get(tags.DIGEST) != live.digest:
        return None
    served = {event.release.digest for event in state.history}
    step = first
    for _ in range(_NUM_STEPS):
        if step is None or step.champion_version is None or step.champion_digest in served:
            break
        former = get_version(version.name, step.champion_version)
        if former is None or former.tags.get(tags.DIGEST) != step.champion_digest:
            break
        step = _passed(former, trusted)
        if first is not None and step is not None and step.champion_digest == live.digest:
            return first.champion_digest
    return live.digest


def _passed(version: RegisteredVersion, trusted: Path) -> Verdict | None:
    digest = version.tags.get(tags.DIGEST, "")
    try:
        return check_verdict(version.tags, version.name, version.version, digest, trusted)
    except GateRefused:
        return None
