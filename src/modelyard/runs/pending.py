"""What waits for a person: versions that passed their gate, refused wishes, failed runs."""

from collections.abc import Iterable

from modelyard.errors import ServiceUnavailable
from modelyard.registry import tags
from modelyard.runs.listing import BAD, RunRecord
from modelyard.runs.publish import connect
from modelyard.settings import Settings


def pending(settings: Settings, records: Iterable[RunRecord]) -> list[str]:
    """A line for each, with the command that settles it; MLflow being away leaves its part out.

    Args:
        settings: Where the servers are.
        records: Runs, the latest first.
    """
    return [*_models(settings), *_failed(records)]


def _models(settings: Settings) -> list[str]:
    lines = []
    try:
        with connect(settings) as api:
            for model in api.search_registered_models():
                aliases = model.aliases
                wanted, live = aliases.get(tags.CHAMPION), aliases.get(tags.LIVE)
                challenger = aliases.get(tags.CHALLENGER)
                if challenger is not None and challenger not in (wanted, live):
                    lines.append(
                        f"{model.name} {challenger} passed its gate and is not promoted:"
                        f" modelyard promote {challenger} --name {model.name}"
                    )
                if wanted is not None and wanted != live:
                    found = api.get_version(model.name, wanted)
                    why = found.tags.get(tags.REFUSED, "") if found else ""
                    lines.append(
                        f"{model.name} {wanted} is wished to be champion and not live"
                        f"{f': refused: {why}' if why else ' yet'}"
                    )
    except ServiceUnavailable:
        pass
    return lines


def _failed(records: Iterable[RunRecord]) -> list[str]:
    """Runs that ended badly and were not followed by one that ended well in the same way."""
    settled: set[str] = set()
    lines = []
    for record in records:
        if record.state_type == "COMPLETED":
            settled.add(record.deployment_id)
        elif record.state_type in BAD and record.deployment_id not in settled:
            settled.add(record.deployment_id)
            step = f" in {record.step}" if record.step else ""
            lines.append(
                f"run {record.run_id} ({record.how}) {record.state.lower()}{step}:"
                f" modelyard runs show {record.run_id}"
            )
    return lines
