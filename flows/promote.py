"""A registered version to the live one, by hand or by schedule."""

from pathlib import Path

from prefect import flow

from modelyard.params import load
from modelyard.runs.promotion import wish
from modelyard.settings import Settings


@flow(name="promote", persist_result=False)
def promote(name: str, version: int) -> list[str]:
    """Make a version that passed its gate champion, wait until it is live, and return its aliases.

    Raises:
        GateRefused: it has no passed verdict, or what serves refused it; the champion serves on.
    """
    return list(wish(Path(), Settings(), load(), name, version))
