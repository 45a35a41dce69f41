"""From a registered version to the live one: gate, wish, wait.

It is what `promote` does in a flow or by hand.
"""

from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING

from modelyard.artifacts import Layout, ModelVersion
from modelyard.errors import GateRefused
from modelyard.params import Params
from modelyard.runs.publish import connect
from modelyard.runs.summary import Promotion
from modelyard.settings import Settings

if TYPE_CHECKING:
    from modelyard.registry.verdict import Verdict

TIMEOUT = 30.0
"""Seconds to wait for the follower's answer."""


def judge(root: Path, settings: Settings, params: Params, version: ModelVersion) -> "Verdict":
    """Compare a registered version with the champion on this folder's test split.

    The verdict is signed and stored.

    Raises:
        ServiceUnavailable: MLflow is away.
    """
    from modelyard.registry.gate import gate

    layout = Layout(root)
    with connect(settings) as api:
        keys, trusted = settings.key_folder, settings.trusted
        return gate(version, layout, params.promote, api, keys, trusted, settings.measurements)


def advance(root: Path, settings: Settings, params: Params, version: ModelVersion) -> Promotion:
    """Judge a registered version.

    Where the gate passes and the mode is auto, make it champion and wait. A version that is live
    already is left alone. A refusal is an outcome, not an error: the champion serves on.

    Raises:
        ServiceUnavailable: MLflow is away.
    """
    started = perf_counter()
    with connect(settings) as api:
        found = api.get_version(version.name, version.version)
    aliases = found.aliases if found else ()
    if {"champion", "live"} <= set(aliases):
        return Promotion("unchanged", aliases=aliases)
    verdict = judge(root, settings, params, version)
    if not verdict.passed:
        return Promotion("refused", verdict.reason, aliases)
    if params.promote.mode == "manual":
        reason = f"passed its gate; `modelyard promote {version.version}` makes it champion"
        return Promotion("manual", reason, tuple({*aliases, "challenger"}))
    try:
        aliases = wish(root, settings, params, version.name, version.version)
    except GateRefused as refusal:
        return Promotion("refused", refusal.message, aliases)
    return Promotion("live", "", aliases, perf_counter() - started)


def wish(
    root: Path, settings: Settings, params: Params, name: str, version: int
) -> tuple[str, ...]:
    """Move alias champion to a version that passed its gate, and wait until it is live.

    A version without a verdict, or with one against an earlier champion, is judged again where
    this folder has a dataset to judge it on. Return its aliases.

    Raises:
        GateRefused: its gate did not pass, or the follower refused it; the message is the reason.
        ServiceUnavailable: MLflow is away, or no follower made it live in time.
    """
    from modelyard.registry.promote import promote, wait_live

    with connect(settings) as api:
        try:
            promote(api, name, version, settings.trusted)
        except GateRefused:
            found = api.get_version(name, version)
            if found is None or not (Layout(root).dataset / "dataset.json").exists():
                raise
            digest = found.tags.get("modelyard.digest", "")
            verdict = judge(
                root, settings, params, ModelVersion(name, version, digest, found.run_id)
            )
            if not verdict.passed:
                raise GateRefused(f"{name} version {version}: {verdict.reason}") from None
            promote(api, name, version, settings.trusted)
        wait_live(api, name, version, timeout=TIMEOUT)
        found = api.get_version(name, version)
        return found.aliases if found else ()
