"""From the process file to what is to run: ports, then addresses, then commands."""

import hashlib
import secrets
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from modelyard.artifacts import canonical
from modelyard.errors import WorkspaceError
from modelyard.mlflow_api import without_credentials
from modelyard.services import mlflow_auth, ports, specs
from modelyard.services.records import Entry
from modelyard.services.specs import ServiceSpec
from modelyard.settings import Settings

_LET_GO = 1.0  # s


@dataclass(frozen=True)
class Plan:
    """A service as it would be started now, with its environment and working directory."""

    entry: Entry
    env: dict[str, str]
    folder: Path


def plan(
    settings: Settings,
    root: Path,
    all_specs: Mapping[str, ServiceSpec],
    running: Mapping[str, Entry],
    last_ports: Mapping[str, int],
) -> dict[str, Plan]:
    """Plan every service that is not external, whether it runs or not.

    Args:
        settings: Preferred ports, the state folder, addresses of external services.
        root: The project.
        all_specs: The process file.
        running: The recorded services that live; they keep their ports.
        last_ports: Ports of former starts, preferred to the settings', so that addresses last.
    """
    state = settings.state_dir.absolute()
    chosen = _choose_ports(settings, all_specs, running, last_ports)
    urls = {name: f"http://{ports.HOST}:{port}" for name, port in chosen.items()}
    for name, spec in all_specs.items():
        if given := external(settings, spec):
            urls[name] = given
    accounts = _accounts(settings, all_specs, state)
    plans: dict[str, Plan] = {}
    for name, spec in all_specs.items():
        if external(settings, spec):
            continue
        values = (
            urls
            | accounts
            | {
                "python": sys.executable,
                "root": str(root.absolute()),
                "state": str(state),
                "folder": str(state / name),
                "trusted": str(settings.trusted.absolute()),
                "port": str(chosen.get(name, "")),
                "workers": str(settings.serving_workers),
            }
        )
        url = urls.get(name)
        env = {key: specs.fill(text, values, f"{name}.env.{key}") for key, text in spec.env.items()}
        entry = Entry(
            token=secrets.token_hex(16),
            command=tuple(specs.fill(part, values, f"{name}.command") for part in spec.command),
            log=state / "logs" / f"{name}.log",
            port=chosen.get(name),
            url=url,
            health=f"{url}{spec.health}" if url and spec.health else None,
            heartbeat=specs.fill(spec.heartbeat, values, f"{name}.heartbeat")
            if spec.heartbeat
            else None,
            env_sha256=hashlib.sha256(canonical(env)).hexdigest(),
        )
        plans[name] = Plan(entry, env, state / name)
    return plans


def _accounts(
    settings: Settings, all_specs: Mapping[str, ServiceSpec], state: Path
) -> dict[str, str]:
    """Whether the local MLflow server asks for accounts, and the file of the follower's."""
    here = "mlflow" in all_specs and not external(settings, all_specs["mlflow"])
    wanted = here and mlflow_auth.is_wanted(state / "mlflow", settings.mlflow_auth)
    file = mlflow_auth.account_file(settings.key_folder.absolute(), mlflow_auth.FOLLOWER)
    return {
        "mlflow_auth": "true" if wanted else "false",
        "mlflow_account": str(file) if wanted else "",
    }


def external(settings: Settings, spec: ServiceSpec) -> str | None:
    """The address that the environment gives for a service, without Prefect's /api, or None.

    Raises:
        WorkspaceError: It is not an http address.
    """
    given: str | None = getattr(settings, spec.external) if spec.external else None
    if not given:
        return None
    if not given.startswith(("http://", "https://")):
        raise WorkspaceError(
            f"The environment sets {spec.external} to {without_credentials(given)!r},"
            " which is no server's address.",
            "Set it to an http:// or https:// address, or unset it to use the local service.",
        )
    return given.rstrip("/").removesuffix("/api")


def _choose_ports(
    settings: Settings,
    all_specs: Mapping[str, ServiceSpec],
    running: Mapping[str, Entry],
    last_ports: Mapping[str, int],
) -> dict[str, int]:
    chosen = {name: entry.port for name, entry in running.items() if entry.port}
    for name, spec in all_specs.items():
        if spec.port and name not in chosen and not external(settings, spec):
            preferred: int = getattr(settings, spec.port)
            wanted = [preferred]
            if name in last_ports:
                # A process that was killed a moment ago may not have let go of it yet.
                ports.await_free(last_ports[name], _LET_GO)
                wanted = [last_ports[name], preferred]
            chosen[name] = ports.choose(wanted, chosen.values())
    return chosen
