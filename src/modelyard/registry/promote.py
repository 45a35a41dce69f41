"""Promotion as a wish: ``champion`` is moved here; the follower makes it so, or says why not."""

import time
from collections.abc import Callable
from pathlib import Path

from modelyard.errors import GateRefused, ServiceUnavailable
from modelyard.mlflow_api import MlflowApi
from modelyard.registry import tags as names
from modelyard.registry.copies import check_release, copied_from

_POLL_SECONDS = 0.2


def promote(api: MlflowApi, name: str, version: int, trusted: Path) -> None:
    """Point ``champion`` to a version that passed its gate, or that has been live before.

    The gate must have compared it with what is live now: between gate and promotion another version
    may have become so. The follower asks the same of a wish that was made elsewhere.

    Args:
        api: The MLflow server.
        name: Of the registered model.
        version: Its number.
        trusted: Folder of PEM public keys whose signatures count.

    Raises:
        GateRefused: there is no such version, no passed verdict of it, or an outdated one.
        ServiceUnavailable: MLflow is away.
    """
    wanted = api.get_version(name, version)
    if wanted is None:
        raise GateRefused(
            f"MLflow has no version {version} of {name}", "See its versions in the MLflow UI."
        )
    if names.CHAMPION in wanted.aliases and names.REFUSED not in wanted.tags:
        return
    # Anyone can set this tag. It saves a former champion the gate here; whether it was live, the
    # follower decides by its own history. A copy has it from its source.
    was_live = names.WAS_LIVE in wanted.tags
    if copied_from(wanted):
        was_live = not {names.LIVE, names.PREVIOUS}.isdisjoint(wanted.aliases)
    if not was_live:
        live = api.get_version_by_alias(name, names.LIVE)
        against = live.tags.get(names.DIGEST) if live else None
        digest = wanted.tags.get(names.DIGEST, "")
        check_release(api.get_version, wanted, digest, against, trusted)
    if names.REFUSED in wanted.tags:
        # A new wish is a new try; the old reason must not be taken for its answer.
        api.delete_version_tag(name, version, names.REFUSED)
    api.set_alias(name, names.CHAMPION, version)
    if names.CHALLENGER in wanted.aliases:
        api.delete_alias(name, names.CHALLENGER)


def wait_live(
    api: MlflowApi,
    name: str,
    version: int,
    timeout: float,
    is_canary: Callable[[], bool] = lambda: False,
) -> None:
    """Wait until the follower has made a version live, or lets it answer some callers first.

    Args:
        api: The MLflow server.
        name: Of the registered model.
        version: Its number.
        timeout: Seconds to wait.
        is_canary: Whether it answers some callers already.

    Raises:
        GateRefused: the follower or a server refused it; the message is the reason.
        ServiceUnavailable: nothing happened within ``timeout``, or MLflow is away.
    """
    end = time.monotonic() + timeout
    while True:
        found = api.get_version(name, version)
        if found is None:
            raise GateRefused(f"version {version} of {name} is gone", "Register it again.")
        if names.LIVE in found.aliases or is_canary():
            return
        if reason := found.tags.get(names.REFUSED):
            raise GateRefused(
                f"version {version} of {name} was refused: {reason}",
                "What was live before serves on.",
            )
        if time.monotonic() >= end:
            raise ServiceUnavailable(
                f"version {version} of {name} is champion but was not live after {timeout:g} s",
                "See whether follower and server run: `modelyard status`.",
            )
        time.sleep(_POLL_SECONDS)
