"""From a registered version to the live one: gate, wish, wait.

It is what `promote` does in a flow or by hand. Each wish, and what a person decided, is an entry of
the audit trail; the follower writes there what became of it.
"""

import contextlib
import hashlib
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING

from modelyard.artifacts import Layout, ModelVersion, read_json
from modelyard.errors import GateRefused, ModelyardError, ServiceUnavailable
from modelyard.follower import audit
from modelyard.follower.audit import Wish
from modelyard.mlflow_api import MlflowApi, RegisteredVersion
from modelyard.params import Params
from modelyard.runs.publish import connect
from modelyard.runs.summary import Promotion
from modelyard.settings import Settings

if TYPE_CHECKING:
    from modelyard.registry.verdict import Verdict

TIMEOUT = 30.0
"""Seconds to wait for the follower's answer."""


@dataclass(frozen=True)
class Decision:
    """What a person said to a version that passed its gate."""

    approve: bool
    by: str
    note: str


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


def judge_number(
    root: Path, settings: Settings, params: Params, name: str, number: int
) -> "Verdict":
    """As ``judge``, of the version that MLflow has by this number.

    Raises:
        GateRefused: it has none.
        ServiceUnavailable: MLflow is away.
    """
    with connect(settings) as api:
        found = _registered(api, name, number)
    digest = found.tags.get("modelyard.digest", "")
    return judge(root, settings, params, ModelVersion(name, number, digest, found.run_id))


def advance(root: Path, settings: Settings, params: Params, version: ModelVersion) -> Promotion:
    """Judge a registered version.

    Where the gate passes and the mode is auto, make it champion and wait; in mode approve the
    outcome is ``waiting``, and who runs the flow asks a person. A version that is live already is
    left alone. A refusal is an outcome, not an error: the champion serves on.

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
        # A run that changes nothing comes to the same verdict, which is told once.
        told = hashlib.sha256(verdict.to_json().encode()).hexdigest()[:32]
        _note(settings, version, Wish("pipeline", audit.person()), "refused", verdict.reason, told)
        return Promotion("refused", verdict.reason, aliases)
    mode, aliases = params.promote.mode, tuple({*aliases, "challenger"})
    if mode == "manual":
        reason = f"passed its gate; `modelyard promote {version.version}` makes it champion"
        return Promotion("manual", reason, aliases)
    if mode == "approve":
        return Promotion("waiting", "passed its gate; waits for a person in Prefect's UI", aliases)
    try:
        asked = Wish("pipeline", audit.person())
        aliases = wish(root, settings, params, version.name, version.version, asked)
    except GateRefused as refusal:
        return Promotion("refused", refusal.message, aliases)
    return wished(settings, version, aliases, perf_counter() - started)


def wish(
    root: Path,
    settings: Settings,
    params: Params,
    name: str,
    version: int,
    asked: Wish | None = None,
) -> tuple[str, ...]:
    """Move alias champion to a version that passed its gate, and wait until it is live or a canary.

    A version without a verdict, or with one against an earlier champion, is judged again where
    this folder has a dataset to judge it on. Return its aliases.

    Args:
        root: The project's folder.
        settings: Where MLflow and the audit trail are.
        params: Margin and budgets.
        name: Of the registered model.
        version: Its number.
        asked: By which path and whom; by default the command of whoever runs this process.

    Raises:
        GateRefused: its gate did not pass, or the follower refused it; the message is the reason.
        ServiceUnavailable: MLflow is away, or no follower made it live in time.
    """
    from modelyard.registry.promote import promote, wait_live

    asked = asked or Wish("promote", audit.person())
    with connect(settings) as api:
        found = _registered(api, name, version)
        if not {"champion", "live"} <= set(found.aliases):
            subject = ModelVersion(
                name, version, found.tags.get("modelyard.digest", ""), found.run_id
            )
            _note(settings, subject, asked, "wished", "")
            try:
                _promote(root, settings, params, subject, api)
            except ModelyardError as error:
                outcome = "refused" if isinstance(error, GateRefused) else "failed"
                _note(settings, subject, asked, outcome, error.message)
                raise
        else:
            promote(api, name, version, settings.trusted)
        wait_live(api, name, version, TIMEOUT, lambda: bool(canary_words(settings, name, version)))
        return _registered(api, name, version).aliases


def wished(
    settings: Settings, version: ModelVersion, aliases: tuple[str, ...], seconds: float
) -> Promotion:
    """What became of a wish that was granted: the version is live, or a canary."""
    if "live" in aliases:
        return Promotion("live", "", aliases, seconds)
    words = canary_words(settings, version.name, version.version)
    return Promotion("canary", words or "its canary is over; `modelyard log` says how", aliases)


def canary_words(settings: Settings, name: str, version: int) -> str:
    """What a version's canary does, empty where none has begun."""
    try:
        found = read_json(settings.serving / name / "canary.json")
        if found["version"] != version or found["since"] is None:
            return ""
        percent, minutes = found["percent"], found["terms"]["minutes"]
    except (OSError, ValueError, KeyError, TypeError):
        return ""
    return f"answers {percent:g} % of the callers first, for {minutes:g} min: `modelyard status`"


def decide(
    root: Path, settings: Settings, params: Params, name: str, version: int, decision: Decision
) -> tuple[str, ...]:
    """Note what a person decided of a version, and make it champion where the answer is yes.

    Raises:
        GateRefused: the answer is no, or as ``wish``.
        ServiceUnavailable: as ``wish``.
    """
    with connect(settings) as api:
        found = _registered(api, name, version)
    subject = ModelVersion(name, version, found.tags.get("modelyard.digest", ""), found.run_id)
    asked = Wish("approval", decision.by)
    _note(settings, subject, asked, "approved" if decision.approve else "denied", decision.note)
    if not decision.approve:
        said = f": {decision.note}" if decision.note else ""
        raise GateRefused(
            f"{name} version {version} was not approved by {decision.by}{said}",
            "What is live serves on.",
        )
    return wish(root, settings, params, name, version, asked)


def _promote(
    root: Path, settings: Settings, params: Params, version: ModelVersion, api: MlflowApi
) -> None:
    """Set the alias; judge once more where the verdict does not count and a dataset is here."""
    from modelyard.registry.promote import promote

    name, number = version.name, version.version
    try:
        promote(api, name, number, settings.trusted)
    except GateRefused:
        if not (Layout(root).dataset / "dataset.json").exists():
            raise
        verdict = judge(root, settings, params, version)
        if not verdict.passed:
            raise GateRefused(f"{name} version {number}: {verdict.reason}") from None
        promote(api, name, number, settings.trusted)


def _registered(api: MlflowApi, name: str, version: int) -> RegisteredVersion:
    found = api.get_version(name, version)
    if found is None:
        raise GateRefused(
            f"MLflow has no version {version} of {name}", "See its versions in the MLflow UI."
        )
    return found


def _note(
    settings: Settings,
    version: ModelVersion,
    asked: Wish,
    outcome: audit.Outcome,
    reason: str,
    entry_id: str = "",
) -> None:
    """Write an entry to the audit trail, with what is live and what the verdict says, if known."""
    from modelyard.registry.copies import describe_release

    found, live, said = None, None, "none"
    with connect(settings) as api, contextlib.suppress(ServiceUnavailable):
        found = api.get_version(version.name, version.version)
        live = api.get_version_by_alias(version.name, "live")
        said = describe_release(api.get_version, found, settings.trusted) if found else said
    record = audit.Record(
        id=entry_id or audit.new_id(),
        name=version.name,
        source=live.version if live else None,
        target=version.version,
        path=asked.path,
        by=asked.by,
        verdict=said,
        outcome=outcome,
        reason=reason,
        digest=version.digest,
    )
    audit.append(settings.state_dir, record)
