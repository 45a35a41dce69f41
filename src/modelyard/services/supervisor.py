"""Start, watch and stop the local services; `modelyard up`, `down` and `status` call this.

``start`` spawns what is not up and returns at once, ``wait`` waits for health, ``up`` is both.
Nothing is printed: progress goes to ``on_event``.
"""

import time
from collections.abc import Collection, Mapping
from dataclasses import replace
from datetime import datetime
from pathlib import Path

from modelyard.errors import WorkspaceError
from modelyard.mlflow_api import without_credentials
from modelyard.services import planning, processes, records, seeds, specs, waiting
from modelyard.services.planning import Plan
from modelyard.services.records import Entry
from modelyard.services.service import OnEvent, Service, ServiceEvent, ServiceStatus
from modelyard.services.specs import ServiceSpec
from modelyard.settings import Settings

SERVICES = ("prefect", "mlflow", "follower", "serving", "worker")
_EXTERNAL = {
    "prefect": "prefect_api_url",
    "mlflow": "mlflow_tracking_uri",
    "serving": "serving_url",
    "worker": "prefect_api_url",
}
_STARTS = 3  # at most, where services end by no fault of their own
_EXEC_GRACE = 1.0  # s in which the child of a killed supervisor takes on its own environment


def up(
    settings: Settings,
    root: Path,
    on_event: OnEvent | None = None,
    timeout: float = waiting.START_TIMEOUT,
    names: Collection[str] | None = None,
    awaited: Collection[str] | None = None,
) -> dict[str, Service]:
    """Have every service up and healthy; those that are up already are left as they are.

    One that ends by no fault of its own, for instance because another program took its port a
    moment before it did, is started again.

    Args:
        settings: Ports, addresses and the state folder.
        root: The project.
        on_event: Told of each step.
        timeout: For each service, in s.
        names: Those to start, by default all.
        awaited: Those of them that must be up on return, by default all; the others are starting.

    Raises:
        ServiceUnavailable: One ended while starting, did not answer within ``timeout`` s, or is
            external and away.
        WorkspaceError: The process file, the record, or an address in the environment is not
            usable.
    """
    left = _STARTS
    while True:
        left -= 1
        services = start(settings, root, names, on_event)
        needed = services if awaited is None else awaited
        try:
            waiting.wait([services[name] for name in needed], timeout, on_event)
            waiting.refuse_ended(services.values())
        except waiting.Lost:
            if not left:
                raise
        else:
            return services


def start(
    settings: Settings,
    root: Path,
    names: Collection[str] | None = None,
    on_event: OnEvent | None = None,
) -> dict[str, Service]:
    """Spawn the services (of ``names``, by default all) that do not run; does not wait for them.

    Each is recorded in ``settings.services_file`` before and after it is spawned, under a lock: two
    calls at once start one set, and a kill at any moment leaves no process unknown. A service whose
    command or environment has changed, for instance because another one has a new address, is
    started again.

    Raises:
        WorkspaceError: As for ``up``.
    """
    all_specs = specs.load(root)
    chosen = [name for name in all_specs if names is None or name in names]
    try:
        entries, due = _start(settings, root, all_specs, chosen, on_event)
    except OSError as error:
        raise WorkspaceError(
            f"The services cannot be started: {error}",
            f"Make {settings.state_dir.absolute()} a writable folder with free space.",
        ) from error
    return {
        name: _service(name, settings, all_specs[name], entries, name in due) for name in chosen
    }


def down(settings: Settings) -> list[str]:
    """Stop the recorded services and their children alone; returns the names of those that ran."""
    with records.locked(settings.services_file):
        entries = _adopt(records.read(settings.services_file), _EXEC_GRACE)
        running = [name for name, entry in entries.items() if processes.find(entry)]
        processes.stop(entries.values())
        records.write(settings.services_file, {})
    return running


def status(settings: Settings) -> list[ServiceStatus]:
    """How each service is now; one that the environment places elsewhere is not asked."""
    entries = _adopt(records.read(settings.services_file))
    names = [*SERVICES, *(name for name in entries if name not in SERVICES)]
    return [_status(name, settings, entries.get(name)) for name in names]


def _start(
    settings: Settings,
    root: Path,
    all_specs: Mapping[str, ServiceSpec],
    chosen: Collection[str],
    on_event: OnEvent | None,
) -> tuple[dict[str, Entry], Collection[str]]:
    """Do what ``start`` promises; returns the record, and the names of what was started."""
    with records.locked(settings.services_file):
        before = records.read(settings.services_file)
        known = _adopt(before, _EXEC_GRACE)
        running = {name: entry for name, entry in known.items() if processes.find(entry)}
        last_ports = {name: entry.port for name, entry in known.items() if entry.port}
        plans = planning.plan(settings, root, all_specs, running, last_ports)
        due = {
            name: plans[name]
            for name in chosen
            if name in plans and not _is_current(running.get(name), plans[name].entry)
        }
        if due:
            _tell_plans(settings, all_specs, due, known, running, on_event)
            # A service that is gone may have left children.
            processes.stop(known[name] for name in due if name in known)
        entries = known | {name: plan.entry for name, plan in due.items()}
        if entries != before:
            records.write(settings.services_file, entries)
        for name, plan in due.items():
            entries[name] = _spawn(plan, all_specs[name])
            records.write(settings.services_file, entries)
    return entries, due


def _adopt(entries: dict[str, Entry], grace: float = 0.0) -> dict[str, Entry]:
    """Find by their token the processes whose supervisor was killed before it noted the pid.

    Between fork and exec such a process does not carry its token yet: it is looked for during
    ``grace`` s.
    """
    lost = {entry.token: name for name, entry in entries.items() if entry.pid is None}
    adopted = dict(entries)
    deadline = time.monotonic() + grace
    while lost:
        for token, found in processes.with_token(lost).items():
            if found:
                name = lost.pop(token)
                leader = min(found, key=lambda process: process.create_time())
                adopted[name] = replace(
                    entries[name], pid=leader.pid, create_time=leader.create_time()
                )
        if time.monotonic() >= deadline:
            break
        time.sleep(0.05)
    return adopted


def _is_current(running: Entry | None, planned: Entry) -> bool:
    """Whether a running service is as it would be started now, by whatever interpreter."""
    return running is not None and (running.command[1:], running.env_sha256) == (
        planned.command[1:],
        planned.env_sha256,
    )


def _tell_plans(
    settings: Settings,
    all_specs: Mapping[str, ServiceSpec],
    due: Mapping[str, Plan],
    known: Mapping[str, Entry],
    running: Collection[str],
    on_event: OnEvent | None,
) -> None:
    if on_event is None:
        return
    for name, plan in due.items():
        wish = all_specs[name].port
        preferred = getattr(settings, wish) if wish else None
        last = known[name].port if name in known else preferred
        if preferred and plan.entry.port not in (preferred, last):
            text = f"port {preferred} is in use by another program: using {plan.entry.port}"
            on_event(ServiceEvent(name, "port", text))
        if name in running:
            on_event(
                ServiceEvent(
                    name, "restart", "what it is started with has changed: starting it again"
                )
            )
        else:
            place = f" at {plan.entry.url}" if plan.entry.url else ""
            on_event(ServiceEvent(name, "started", f"starting{place}"))


def _spawn(plan: Plan, spec: ServiceSpec) -> Entry:
    plan.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    if spec.seed:
        seeds.plant(spec.seed, plan.folder)
    process = processes.spawn(plan.entry, plan.env, plan.folder)
    return replace(plan.entry, pid=process.pid, create_time=process.create_time())


def _service(
    name: str, settings: Settings, spec: ServiceSpec, entries: Mapping[str, Entry], started: bool
) -> Service:
    if given := planning.external(settings, spec):
        url = without_credentials(given)
        return Service(name, url, f"{url}{spec.health}" if spec.health else None)
    entry = entries[name]
    return Service(name, entry.url, entry.health, entry, started)


def _status(name: str, settings: Settings, entry: Entry | None) -> ServiceStatus:
    given = getattr(settings, _EXTERNAL[name]) if name in _EXTERNAL else None
    if given:
        return ServiceStatus(name, without_credentials(given), "external")
    process = processes.find(entry) if entry else None
    if entry is None or process is None:
        return ServiceStatus(name, entry.url if entry else None, "down")
    created = process.create_time()
    return ServiceStatus(
        name=name,
        url=entry.url,
        state="up" if waiting.is_up(entry, time.time() - created) else "starting",
        pid=process.pid,
        memory_mb=processes.memory(process),
        since=datetime.fromtimestamp(created).astimezone(),
        log=entry.log,
    )
