"""modelyard doctor: each check can fail, and then says what to do."""

import shutil
import socket
import subprocess
from collections import namedtuple
from collections.abc import Callable
from importlib import metadata
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelyard.services import doctor
from modelyard.services.doctor import Finding, examine, parse_lock
from modelyard.settings import Settings

REPOSITORY = Path(__file__).parents[3]


def found(root: Path, settings: Settings) -> dict[str, Finding]:
    return {finding.name: finding for finding in examine(root, settings)}


def test_a_bare_folder_is_told_what_it_lacks(root: Path, settings: Settings) -> None:
    findings = found(root, settings)

    failed = {name for name, finding in findings.items() if not finding.ok}
    assert failed == {"git", "cores", "dvc"}
    assert all(findings[name].remedy for name in failed)
    assert not any(finding.remedy for finding in findings.values() if finding.ok)
    assert not settings.state_dir.exists()


def test_a_repository_with_params_and_a_remote_is_well(root: Path, settings: Settings) -> None:
    shutil.copy(REPOSITORY / "params.yaml", root)
    text = (root / "params.yaml").read_text()
    (root / "params.yaml").write_text(text.replace("workers: 2", "workers: 1"))
    (root / ".dvc").mkdir()
    (root / ".dvc/config").write_text("[core]\n    remote = store\n")
    (root / "requirements.lock").write_text(f"PyYAML=={metadata.version('pyyaml')}\n")
    git = ["git", "-c", "user.name=a", "-c", "user.email=a@b.c", "-C", str(root)]
    subprocess.run([*git, "init", "-q"], check=True)
    subprocess.run([*git, "commit", "-q", "--allow-empty", "-m", "first"], check=True)

    findings = found(root, settings)

    assert [finding for finding in findings.values() if not finding.ok] == []
    assert findings["dvc"].detail == "default remote store"


def test_versions_that_differ_from_the_lock_are_named(root: Path, settings: Settings) -> None:
    (root / "requirements.lock").write_text(
        f"PyYAML==0.1\nno-such-package==2\nhypothesis=={metadata.version('hypothesis')}+local\n"
    )

    finding = found(root, settings)["packages"]

    assert not finding.ok
    assert finding.detail.startswith("2 of 3 differ")
    assert "PyYAML is" in finding.detail
    assert "no-such-package 2 is missing" in finding.detail


@given(
    name=st.from_regex(r"[A-Za-z][A-Za-z0-9._-]{0,8}", fullmatch=True),
    version=st.from_regex(r"[0-9]+(\.[0-9]+){0,2}(\+cpu)?", fullmatch=True),
    end=st.sampled_from(["", " ", "  # why", " ; python_version > '3'", " --hash=sha256:0"]),
)
def test_pins_are_read_from_any_line(name: str, version: str, end: str) -> None:
    text = f"# head\n--index-url x==y\n\n{name}=={version}{end}\nother>=1\n"

    assert list(parse_lock(text)) == [(name, version)]


def test_a_full_disk_is_told(
    root: Path, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(doctor.shutil, "disk_usage", lambda path: usage(9, 8, 1_000_000_000))

    finding = found(root, settings)["disk"]

    assert not finding.ok
    assert finding.detail.startswith("1.0 GB free")


def test_a_state_folder_that_is_a_file_is_told(root: Path, settings: Settings) -> None:
    (root / "state").write_text("")

    finding = found(root, settings)["state folder"]
    (root / "state").unlink()

    assert not finding.ok
    assert "not writable" in finding.detail


def test_a_key_that_others_can_read_is_told(root: Path, settings: Settings) -> None:
    settings.trusted.mkdir(parents=True)
    settings.key_folder.chmod(0o700)
    (settings.trusted / "a.pem").write_text("public")
    key = settings.key_folder / "signing.pem"
    key.write_text("private")
    key.chmod(0o600)
    assert found(root, settings)["keys"].ok

    key.chmod(0o644)

    finding = found(root, settings)["keys"]
    assert not finding.ok
    assert finding.remedy == f"Run: chmod go= {key}"


def test_a_port_in_use_and_a_server_that_is_away_are_told(
    root: Path, settings: Settings, listener: Callable[[int], socket.socket]
) -> None:
    listener(settings.mlflow_port)
    away = settings.model_copy(update={"prefect_api_url": "http://127.0.0.1:1/api"})

    findings = found(root, away)

    assert findings["mlflow"].ok
    assert "is in use" in findings["mlflow"].detail
    assert not findings["prefect"].ok
    assert "http://127.0.0.1:1 does not answer" in findings["prefect"].detail
