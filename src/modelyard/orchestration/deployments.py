"""prefect.yaml as deployments of a Prefect server, registered in a second by its REST API.

`prefect deploy --all` does the same from the same file, in half a minute, and turns every schedule
and trigger to what the file says; here what a person has switched on stays on. A deployment whose
definition is registered already, known by the digest in its version, is left alone.
"""

import hashlib
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from modelyard.artifacts import canonical
from modelyard.errors import WorkspaceError
from modelyard.orchestration import automations
from modelyard.orchestration.run_rules import RunRules
from modelyard.prefect_api import PrefectApi

PREFECT_YAML = "prefect.yaml"
POOL = "local"
_TIMINGS = ("cron", "interval", "rrule")


@dataclass(frozen=True)
class Definition:
    """A deployment as prefect.yaml has it, with its flow's name and form."""

    name: str
    flow: str
    fields: dict[str, Any]
    schedules: tuple[dict[str, Any], ...]
    triggers: tuple[dict[str, Any], ...]

    @property
    def digest(self) -> str:
        """Equal for equal definitions."""
        parts = [self.flow, self.fields, self.schedules, self.triggers]
        return hashlib.sha256(canonical(parts)).hexdigest()[:16]


def register(root: Path, api: PrefectApi, rules: RunRules) -> list[str]:
    """Tell Prefect of the work pool, the deployments, the automations and the limits.

    Returns:
        The names of the deployments that were new or had changed.

    Raises:
        WorkspaceError: prefect.yaml is missing, or a deployment is not as Prefect wants it; names
            it. The others are registered.
        ServiceUnavailable: Prefect is away.
    """
    _ensure_limits(api, rules)
    automations.ensure(api)
    _ensure_pool(api, root)
    known = {tree["name"]: tree for tree in api.find("deployments", {})}
    changed, faults = [], []
    for entry in _entries(root):
        try:
            definition = _definition(entry, root / PREFECT_YAML)
        except WorkspaceError as error:
            faults.append(error)
            continue
        found = known.get(definition.name)
        if found is None or found["version"] != definition.digest:
            _register(api, definition, found)
            changed.append(definition.name)
    if faults:
        raise faults[0]
    return changed


def read(root: Path) -> list[Definition]:
    """The deployments of prefect.yaml.

    Raises:
        WorkspaceError: as for ``register``.
    """
    return [_definition(entry, root / PREFECT_YAML) for entry in _entries(root)]


def _entries(root: Path) -> list[dict[str, Any]]:
    import yaml

    path = root / PREFECT_YAML
    try:
        return list(yaml.safe_load(path.read_text(encoding="utf-8"))["deployments"])
    except FileNotFoundError:
        raise WorkspaceError(
            f"{path} is missing", f"Restore it: git checkout {PREFECT_YAML}"
        ) from None
    except (KeyError, TypeError, yaml.YAMLError) as error:
        raise WorkspaceError(f"{path} has no list of deployments ({error})") from None


def _definition(entry: dict[str, Any], path: Path) -> Definition:
    try:
        name, pool = entry["name"], entry.get("work_pool") or {}
        flow = _flow(entry["entrypoint"])
        limit = entry.get("concurrency_limit") or {}
        fields = {
            "entrypoint": entry["entrypoint"],
            "description": entry.get("description", ""),
            "tags": entry.get("tags", []),
            "parameters": entry.get("parameters", {}),
            "parameter_openapi_schema": _form(flow),
            "enforce_parameter_schema": True,
            "work_pool_name": pool.get("name", POOL),
            "job_variables": pool.get("job_variables", {}),
            "pull_steps": [],
        }
        if limit:
            fields["concurrency_limit"] = limit["limit"]
            fields["concurrency_options"] = {"collision_strategy": limit["collision_strategy"]}
        schedules = tuple(_schedule(item) for item in entry.get("schedules", []))
        return Definition(name, flow.name, fields, schedules, tuple(entry.get("triggers", [])))
    except Exception as error:
        # Also whatever the flow's module raises while it is imported.
        raise WorkspaceError(
            f"{path}: deployment {entry.get('name')!r}: {type(error).__name__}: {error}",
            "It needs a name, an entrypoint (module.function) that can be imported, and of each"
            " schedule a slug.",
        ) from error


def _form(flow: Any) -> dict[str, Any]:
    """A flow's parameters as JSON schema; one that it does not have is refused by its name."""
    from prefect.utilities.callables import parameter_schema

    schema = parameter_schema(flow).model_dump(exclude_unset=True)
    fields = {name: plain(field) for name, field in schema["properties"].items()}
    return schema | {"properties": fields, "additionalProperties": False}


def plain(field: dict[str, Any]) -> dict[str, Any]:
    """An optional field of a form as its type alone, which Prefect lets be empty.

    Of "a number of at least 1, or null" the UI shows a choice of two types instead of a field, and
    a refusal names no bound.
    """
    kinds = [kind for kind in field.get("anyOf", ()) if kind != {"type": "null"}]
    if len(kinds) != 1 or field.get("default", ...) is not None:
        return field
    return kinds[0] | {key: field[key] for key in field if key not in ("anyOf", "default")}


def _flow(entrypoint: str) -> Any:
    from importlib import import_module

    module, _, name = entrypoint.rpartition(".")
    return getattr(import_module(module), name)


def _schedule(item: dict[str, Any]) -> dict[str, Any]:
    """As Prefect's API takes it; a schedule of the file is off unless it says otherwise."""
    kept = ("timezone", "anchor_date", "day_or", *_TIMINGS)
    timing = {key: item[key] for key in kept if key in item}
    if sum(key in timing for key in _TIMINGS) != 1:
        raise KeyError(f"one of {', '.join(_TIMINGS)}")
    return {
        "slug": item["slug"],
        "active": item.get("active", False),
        "parameters": item.get("parameters", {}),
        "schedule": timing,
    }


def _register(api: PrefectApi, definition: Definition, found: dict[str, Any] | None) -> None:
    """Create or replace a deployment and its automations; what is switched on stays so."""
    flow = api.call("POST", "/flows/", {"name": definition.flow})
    running = {item["slug"]: item["active"] for item in (found or {}).get("schedules", [])}
    body = definition.fields | {
        "name": definition.name,
        "flow_id": flow["id"],
        "schedules": [
            item | {"active": running.get(item["slug"], item["active"])}
            for item in definition.schedules
        ],
    }
    made = api.call("POST", "/deployments/", body)
    owner = f"prefect.deployment.{made['id']}"
    before = {item["name"]: item["enabled"] for item in automations.owned(api, made["id"])}
    api.call("DELETE", f"/automations/owned-by/{owner}")
    for trigger in definition.triggers:
        automation = automations.for_deployment(trigger, made["id"], owner)
        enabled = before.get(automation["name"], automation["enabled"])
        api.call("POST", "/automations/", automation | {"enabled": enabled})
    # Last: its presence says that nothing is missing.
    api.call("PATCH", f"/deployments/{made['id']}", {"version": definition.digest})


def _ensure_pool(api: PrefectApi, root: Path) -> None:
    """A pool whose jobs run in the project's folder, by this interpreter unless one says more."""
    from prefect.workers.process import ProcessWorker

    template = ProcessWorker.get_default_base_job_template()
    properties = template["variables"]["properties"]
    properties["working_dir"]["default"] = str(root.absolute())
    properties["command"]["default"] = f"{sys.executable} -m prefect.engine"
    found = {item["name"]: item for item in api.find("work_pools", {})}
    body = {"base_job_template": template, "description": "Processes on the machine of `up`."}
    if POOL not in found:
        api.call("POST", "/work_pools/", body | {"name": POOL, "type": "process"})
    elif found[POOL]["base_job_template"] != template:
        api.call("PATCH", f"/work_pools/{POOL}", body)


def _ensure_limits(api: PrefectApi, rules: RunRules) -> None:
    known = {item["name"]: item["limit"] for item in api.find("v2/concurrency_limits", {})}
    for name, slots in rules.slots.items():
        if name not in known:
            api.call("POST", "/v2/concurrency_limits/", {"name": name, "limit": slots})
        elif known[name] != slots:
            api.call("PATCH", f"/v2/concurrency_limits/{name}", {"limit": slots})
