"""`modelyard doctor`: what would keep a run from ending well here, and the remedy."""

import os
import shutil
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from modelyard.errors import ModelyardError
from modelyard.mlflow_api import without_credentials
from modelyard.services import health, ports, specs, supervisor
from modelyard.services.planning import external
from modelyard.settings import Settings

LOCK = "requirements.lock"
MIN_FREE_GB = 2.0  # of 1e9 bytes: an installation's caches, a dataset, checkpoints, two packages
OLDEST_PYTHON = (3, 11)


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at. ``remedy`` is empty where ``ok``."""

    name: str
    ok: bool
    detail: str
    remedy: str = ""


def _finding(name: str, ok: bool, detail: str, remedy: str) -> Finding:
    return Finding(name, ok, detail, "" if ok else remedy)


def examine(root: Path, settings: Settings) -> list[Finding]:
    """Look at all that a run needs, changing nothing; a check that fails is a finding too."""
    findings: list[Finding] = []
    for name, check in _CHECKS.items():
        try:
            findings += check(root, settings)
        except (ModelyardError, OSError, ValueError) as error:
            remedy = error.remedy if isinstance(error, ModelyardError) else ""
            text = error.message if isinstance(error, ModelyardError) else str(error)
            findings.append(Finding(name, False, text, remedy or "Correct what it names."))
    return findings


def _python(root: Path, settings: Settings) -> Iterator[Finding]:
    del root, settings
    version = ".".join(map(str, sys.version_info[:3]))
    yield _finding(
        "python",
        sys.version_info >= OLDEST_PYTHON,
        f"{version} at {sys.executable}",
        f"Use Python {'.'.join(map(str, OLDEST_PYTHON))} or newer: make clean, then make install",
    )


def _packages(root: Path, settings: Settings) -> Iterator[Finding]:
    """Installed versions against the lock; a local build (2.13.0+cpu) equals its release."""
    del settings
    lock = root / LOCK
    if not lock.exists():
        return
    wrong: list[str] = []
    pins = list(parse_lock(lock.read_text(encoding="utf-8")))
    for name, wanted in pins:
        try:
            found = metadata.version(name)
        except metadata.PackageNotFoundError:
            wrong.append(f"{name} {wanted} is missing")
            continue
        if found.split("+")[0] != wanted.split("+")[0]:
            wrong.append(f"{name} is {found}, not {wanted}")
    detail = f"{len(wrong)} of {len(pins)} differ from {LOCK}: {'; '.join(wrong[:5])}"
    good = f"all {len(pins)} as in {LOCK}"
    yield Finding("packages", not wrong, detail if wrong else good, "Run: make install")


def parse_lock(text: str) -> Iterator[tuple[str, str]]:
    """The (name, version) pins of a lock file; comments, options and markers are passed over."""
    for line in text.splitlines():
        pin = line.split("#")[0].split(";")[0].strip()
        name, separator, version = pin.partition("==")
        if separator and not pin.startswith("-"):
            yield name.split("[")[0].strip(), version.split()[0]


def _git(root: Path, settings: Settings) -> Iterator[Finding]:
    del settings
    if not shutil.which("git"):
        yield Finding("git", False, "git is not installed", "Install git.")
        return
    answer = _run(root, "git", "rev-parse", "--verify", "--short", "HEAD")
    yield _finding(
        "git",
        answer is not None,
        f"commit {answer}" if answer else f"{root} is not a git repository with a commit",
        "Run: git init && git add . && git commit (each run names the code it used)",
    )


def _disk(root: Path, settings: Settings) -> Iterator[Finding]:
    del settings
    free = shutil.disk_usage(root).free / 1e9
    yield _finding(
        "disk",
        free >= MIN_FREE_GB,
        f"{free:.1f} GB free at {root}",
        f"Free at least {MIN_FREE_GB:g} GB; unused results of former runs go with: dvc gc -w",
    )


def _state(root: Path, settings: Settings) -> Iterator[Finding]:
    """The state folder, or where it will be made, must be writable."""
    del root
    state = settings.state_dir.absolute()
    place = next(folder for folder in (state, *state.parents) if folder.exists())
    ok = place.is_dir() and os.access(place, os.W_OK | os.X_OK)
    yield _finding(
        "state folder",
        ok,
        f"{state} is {'writable' if ok else 'not writable'}",
        f"Make {place} a folder you may write to, or set MODELYARD_STATE_DIR to another.",
    )


def _keys(root: Path, settings: Settings) -> Iterator[Finding]:
    """Nobody but the owner may read a private key, or enter its folder."""
    del root
    if not settings.key_folder.is_dir():
        yield Finding("keys", True, "none yet: made at the first registration")
        return
    trusted = settings.key_folder / "trusted"
    open_files = [
        path
        for path in [settings.key_folder, *settings.key_folder.rglob("*")]
        if trusted not in (path, *path.parents)
        and not path.name.endswith(".pub.pem")
        and stat.S_IMODE(path.stat().st_mode) & (stat.S_IRWXG | stat.S_IRWXO)
    ]
    names = ", ".join(map(str, open_files))
    yield _finding(
        "keys",
        not open_files,
        f"readable by others: {names}" if open_files else "readable by their owner alone",
        f"Run: chmod go= {' '.join(map(str, open_files))}",
    )


def _services(root: Path, settings: Settings) -> Iterator[Finding]:
    """Each service: up, or down with a port for it; a server elsewhere must answer."""
    now = {service.name: service for service in supervisor.status(settings)}
    for name, spec in specs.load(root).items():
        service = now.get(name)
        if given := external(settings, spec):
            ok = spec.health is None or health.answers(f"{given}{spec.health}", timeout=5)
            yield _finding(
                name,
                ok,
                f"elsewhere: {without_credentials(given)} {'answers' if ok else 'does not answer'}",
                "Start that server, or unset its address to use the local service.",
            )
        elif service and service.state != "down":
            yield _finding(
                name,
                service.state == "up",
                f"{service.state}{f' at {service.url}' if service.url else ''}",
                f"If it stays so: modelyard down, then modelyard up. Its log: {service.log}",
            )
        elif spec.port and not ports.is_free(port := getattr(settings, spec.port)):
            # Not a fault: `up` takes another port and says so.
            yield Finding(name, True, f"down; port {port} is in use, a free one will be taken")
        else:
            yield Finding(name, True, "down: modelyard up starts it")


def _cores(root: Path, settings: Settings) -> Iterator[Finding]:
    """More workers than cores train, but slower than fewer would."""
    del settings
    from modelyard.params import load

    workers = load(root).train.workers
    available = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    cores = available or 1
    yield _finding(
        "cores",
        workers <= cores,
        f"{cores} for train.workers {workers}",
        f"Set train.workers to {cores} or less in params.yaml.",
    )


def _dvc(root: Path, settings: Settings) -> Iterator[Finding]:
    """A default remote, so that dataset versions are kept somewhere else than in the cache."""
    del settings
    config = root / ".dvc/config"
    if not config.exists():
        yield Finding("dvc", False, f"{config} is missing", "Run: git checkout .dvc/config")
        return
    files = [path for path in (config, root / ".dvc/config.local") if path.exists()]
    lines = [line for path in files for line in path.read_text(encoding="utf-8").splitlines()]
    settings_of = {
        key.strip(): value.strip() for key, _, value in (x.partition("=") for x in lines)
    }
    remote = settings_of.get("remote")
    yield _finding(
        "dvc",
        remote is not None,
        f"default remote {remote}" if remote else "no default remote",
        "Run: dvc remote add --default NAME FOLDER_OR_URL",
    )


def _run(root: Path, *command: str) -> str | None:
    answer = subprocess.run(command, cwd=root, capture_output=True, text=True, check=False)
    return answer.stdout.strip() if answer.returncode == 0 else None


_CHECKS: dict[str, Callable[[Path, Settings], Iterator[Finding]]] = {
    "python": _python,
    "packages": _packages,
    "git": _git,
    "disk": _disk,
    "state folder": _state,
    "keys": _keys,
    "services": _services,
    "cores": _cores,
    "dvc": _dvc,
}
