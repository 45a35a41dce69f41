"""The audit trail: who wished for what, by which path, and what became of it.

A hash-chained line (see ``chain``) for each wish of ours, each change of what serves, each refusal
and each reconciliation. An alias that was moved in MLflow comes without a wish of ours: who did it
is told by a server of ours that asks for accounts, and by no other.
"""

import getpass
import os
import uuid
from collections.abc import Callable
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

from modelyard.errors import ModelyardError, ServiceUnavailable
from modelyard.follower import chain
from modelyard.follower.chain_check import ChainReport, check_chain
from modelyard.mlflow_api import AliasMove, RegisteredVersion
from modelyard.registry.copies import copied_from
from modelyard.registry.tags import CHAMPION

FILE = "audit.jsonl"
UNKNOWN = "unknown"
_LENGTH = 2000
"""Characters of a reason that are kept."""

Way = Literal["promote", "pipeline", "approval", "alias", "copy", "rollback"]
Outcome = Literal[
    "wished",
    "approved",
    "denied",
    "canary",
    "withdrawn",
    "live",
    "refused",
    "failed",
    "reconciled",
]


@dataclass(frozen=True)
class Wish:
    """By which path a version was wished for, and by whom, where that is known."""

    path: Way = "alias"
    by: str = UNKNOWN


@dataclass(frozen=True)
class Record:
    """An entry of the trail.

    Attributes:
        id: An entry is written once, however often its writer repeats itself.
        name: The model.
        source: What was live before (``from`` in the file).
        target: What it is about (``to`` in the file).
        path: How the wish came: our promote command, the pipeline, a person's approval in Prefect,
            an alias moved in MLflow (``copy``: to a version that was copied from another registered
            model), a rollback.
        by: Who wished it, or "unknown".
        verdict: What the gate's signed verdict said: "passed: ...", "not passed: ..." or "none".
        outcome: What became of it.
        reason: Why, or what the person noted.
        digest: The package's.
        load_ms: Milliseconds that the slowest worker needed to load it.
    """

    id: str
    name: str
    source: int | None
    target: int
    path: Way
    by: str
    verdict: str
    outcome: Outcome
    reason: str
    digest: str
    load_ms: float = 0.0


def append(state: Path, record: Record) -> None:
    """Append to the trail in the state folder, unless the record is there: writers may repeat.

    Raises:
        OSError: it cannot be written.
    """
    tree = asdict(record)
    tree["from"], tree["to"] = tree.pop("source"), tree.pop("target")
    tree |= {"at": now(), "reason": record.reason[:_LENGTH], "verdict": record.verdict[:_LENGTH]}
    chain.append(state / FILE, tree)


def read(state: Path) -> ChainReport:
    """The whole trail of the state folder, checked."""
    return check_chain(state / FILE)


def find_wish(state: Path, name: str, version: int) -> Wish:
    """The wish of ours that asked for a version and is not answered yet.

    Where there is none, or another version was wished for since, an alias was moved in MLflow.
    """
    for entry in reversed(chain.read_tail(state / FILE)):
        if entry.get("name") != name or entry["outcome"] == "canary":
            continue
        if entry["outcome"] == "wished" and entry["to"] == version:
            return Wish(entry["path"], entry["by"])
        if entry["outcome"] == "wished" or entry["to"] == version or entry["path"] == "rollback":
            break
    return Wish()


def who_moved(moves: Callable[[str, str], list[AliasMove]], version: RegisteredVersion) -> Wish:
    """The wish of whoever moved ``champion`` to a version in MLflow.

    Args:
        moves: ``MlflowApi.alias_moves``.
        version: Where the alias points now. Where the last known move is another, this one was not
            recorded, and nobody is named.

    Raises:
        ServiceUnavailable: MLflow is away.
    """
    path: Way = "copy" if copied_from(version) else "alias"
    try:
        told = [move for move in moves(version.name, CHAMPION) if move.alias == CHAMPION]
    except ServiceUnavailable:
        raise
    except ModelyardError:
        told = []
    if told and (told[0].action, told[0].version) == ("set", version.version):
        return Wish(path, told[0].by)
    return Wish(path)


def person() -> str:
    """Who gives the command: the account at MLflow, else the name that this process runs under.

    A worker's job runs under nobody's name.
    """
    if account := os.environ.get("MLFLOW_TRACKING_USERNAME"):
        return account
    if "PREFECT__FLOW_RUN_ID" in os.environ:
        return UNKNOWN
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return UNKNOWN


def new_id() -> str:
    """An entry's."""
    return uuid.uuid4().hex


def now() -> str:
    """The time in UTC, ISO 8601."""
    return datetime.now(UTC).isoformat(timespec="milliseconds")
