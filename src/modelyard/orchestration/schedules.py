"""Which deployments start by themselves, and switching them on and off."""

import difflib
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from modelyard.errors import ModelyardError
from modelyard.orchestration import automations
from modelyard.prefect_api import PrefectApi


@dataclass(frozen=True)
class Starter:
    """A deployment and what starts it: ``when`` in words, empty where only a person does."""

    name: str
    deployment_id: str
    when: str
    on: bool
    next_run: datetime | None


def starters(api: PrefectApi) -> list[Starter]:
    """Every deployment, by name.

    Raises:
        ServiceUnavailable: Prefect is away.
    """
    events = api.find("automations", {})
    found = [_starter(tree, events) for tree in api.find("deployments", {})]
    due = _next_runs(api, [item.deployment_id for item in found if item.on])
    return sorted(
        (
            Starter(item.name, item.deployment_id, item.when, item.on, due.get(item.deployment_id))
            for item in found
        ),
        key=lambda item: item.name,
    )


def switch(api: PrefectApi, name: str, on: bool) -> Starter:
    """Turn every schedule and trigger of a deployment on or off; return how it is then.

    Raises:
        ModelyardError: there is no such deployment, or nothing to switch in it.
        ServiceUnavailable: Prefect is away.
    """
    known = {tree["name"]: tree for tree in api.find("deployments", {})}
    if name not in known:
        near = difflib.get_close_matches(name, known, n=1)
        hint = f"Did you mean {near[0]}? " if near else ""
        raise ModelyardError(
            f"there is no deployment {name!r}",
            f"{hint}They are: {', '.join(sorted(known)) or 'none yet: `modelyard up`'}.",
        )
    tree = known[name]
    mine = automations.owned(api, tree["id"])
    if not tree["schedules"] and not mine:
        raise ModelyardError(
            f"{name} has no schedule and no trigger", "Give it one in prefect.yaml, or in the UI."
        )
    for item in tree["schedules"]:
        place = f"/deployments/{tree['id']}/schedules/{item['id']}"
        api.call("PATCH", place, {"active": on})
    if tree["schedules"]:
        # Of a changed deployment the scheduler makes runs in seconds, of a changed schedule in a
        # minute.
        api.call("PATCH", f"/deployments/{tree['id']}", {"description": tree["description"]})
    for item in mine:
        api.call("PATCH", f"/automations/{item['id']}", {"enabled": on})
    return next(item for item in starters(api) if item.name == name)


def _starter(tree: dict[str, Any], events: list[dict[str, Any]]) -> Starter:
    mine = [item for item in events if tree["id"] in str(item["actions"])]
    words = [_in_words(item["schedule"]) for item in tree["schedules"]]
    words += [f"event {', '.join(item['trigger'].get('expect', ()))}" for item in mine]
    on = any(item["active"] for item in tree["schedules"]) or any(item["enabled"] for item in mine)
    return Starter(tree["name"], tree["id"], "; ".join(words), on and not tree["paused"], None)


def _in_words(schedule: dict[str, Any]) -> str:
    zone = f" {schedule['timezone']}" if schedule.get("timezone") else ""
    if "cron" in schedule:
        return f"cron {schedule['cron']}{zone}"
    if "interval" in schedule:
        return f"every {schedule['interval']:,.0f} s"
    return f"rrule {schedule['rrule'].rpartition('RRULE:')[2]}{zone}"


def _next_runs(api: PrefectApi, deployments: list[str]) -> dict[str, datetime]:
    if not deployments:
        return {}
    body = {
        "flow_runs": {
            "deployment_id": {"any_": deployments},
            "state": {"type": {"any_": ["SCHEDULED"]}},
        },
        "sort": "NEXT_SCHEDULED_START_TIME_ASC",
        "limit": 200,
    }
    due: dict[str, datetime] = {}
    for tree in api.call("POST", "/flow_runs/filter", body):
        if tree["next_scheduled_start_time"]:
            when = datetime.fromisoformat(tree["next_scheduled_start_time"])
            due.setdefault(tree["deployment_id"], when)
    return due
