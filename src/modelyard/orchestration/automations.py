"""What Prefect's server does by itself: end the runs of dead processes, start runs on events."""

from typing import Any

from modelyard.prefect_api import PrefectApi

HEARTBEAT = "prefect.flow-run.heartbeat"
SILENCE = 90
"""Seconds without a heartbeat, of which a run sends one every 30, after which it is dead."""
STUCK = 600
"""Seconds from a worker's taking a run to its beginning, after which the worker is dead."""
NEW_DATA = "modelyard.new-data"

_ENDS = ("Completed", "Failed", "Cancelled", "Crashed", "TimedOut")
_RESTS = ("Paused", "Suspended", "AwaitingRetry", "Scheduled", "Late", "Cancelling")


def ensure(api: PrefectApi) -> None:
    """Make the project's own automations, where they are missing or differ."""
    known = {item["name"]: item for item in api.find("automations", {})}
    for wanted in (heartbeat_watch(), pending_watch()):
        found = known.get(wanted["name"])
        if found is None:
            api.call("POST", "/automations/", wanted)
        elif found["description"] != wanted["description"]:
            api.call("PUT", f"/automations/{found['id']}", wanted | {"enabled": found["enabled"]})


def heartbeat_watch(silence: int = SILENCE) -> dict[str, Any]:
    """A run whose process was killed sends no heartbeat and no end: it is set to Crashed.

    Args:
        silence: Seconds without a sign of life.
    """
    after = [HEARTBEAT]
    expect = [HEARTBEAT, *(f"prefect.flow-run.{name}" for name in (*_ENDS, *_RESTS))]
    return _crash(
        "modelyard: runs without a heartbeat",
        f"A flow run that was alive and gave no sign of life for {silence} s is crashed.",
        (after, expect, silence),
        f"No sign of life for {silence} s: its process was killed, or the machine stopped."
        " Retry goes on from what is finished, and training from its last checkpoint.",
    )


def pending_watch(patience: int = STUCK) -> dict[str, Any]:
    """A run that a worker took and that never began is set to Crashed.

    Args:
        patience: Seconds from Pending to any other state.
    """
    expect = [f"prefect.flow-run.{name}" for name in ("Running", *_ENDS, *_RESTS)]
    return _crash(
        "modelyard: runs that never began",
        f"A flow run that a worker took and that did not begin within {patience} s is crashed.",
        (["prefect.flow-run.Pending"], expect, patience),
        f"Taken by a worker, and not begun within {patience} s: the worker was stopped.",
    )


def for_deployment(trigger: dict[str, Any], deployment_id: str, owner: str) -> dict[str, Any]:
    """The automation of a trigger that prefect.yaml gives to a deployment; off unless it says so.

    Args:
        trigger: As in prefect.yaml: name, enabled, match, expect, parameters.
        deployment_id: What it runs.
        owner: The resource that it is removed with.
    """
    action = {
        "type": "run-deployment",
        "source": "selected",
        "deployment_id": deployment_id,
        "parameters": trigger.get("parameters"),
        "job_variables": trigger.get("job_variables"),
    }
    own = ("name", "enabled", "description", "parameters", "job_variables")
    rest = {key: value for key, value in trigger.items() if key not in own}
    return {
        "name": trigger["name"],
        "description": trigger.get("description", ""),
        "enabled": trigger.get("enabled", False),
        "trigger": {"type": "event", "posture": "Reactive", "threshold": 1, "within": 0} | rest,
        "actions": [action],
        "owner_resource": owner,
    }


def owned(api: PrefectApi, deployment_id: str) -> list[dict[str, Any]]:
    """The automations that run a deployment."""
    return [item for item in api.find("automations", {}) if deployment_id in _runs(item)]


def expects(automation: dict[str, Any], event: str) -> bool:
    """Whether an automation is on and waits for ``event``."""
    return automation["enabled"] and event in automation["trigger"].get("expect", ())


def _runs(automation: dict[str, Any]) -> list[str | None]:
    return [action.get("deployment_id") for action in automation["actions"]]


def _crash(
    name: str, description: str, rule: tuple[list[str], list[str], int], message: str
) -> dict[str, Any]:
    after, expect, within = rule
    return {
        "name": name,
        "description": description,
        "enabled": True,
        "trigger": {
            "type": "event",
            "posture": "Proactive",
            "match": {"prefect.resource.id": "prefect.flow-run.*"},
            "for_each": ["prefect.resource.id"],
            "after": after,
            "expect": expect,
            "threshold": 1,
            "within": within,
        },
        "actions": [
            {
                "type": "change-flow-run-state",
                "state": "CRASHED",
                "name": "Crashed",
                "message": message,
            }
        ],
    }
