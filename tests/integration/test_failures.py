"""What goes wrong on a user's machine: each line of docs/failures.md that needs a whole run."""

import json
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest
import yaml

from modelyard import services
from modelyard.settings import Settings
from tests import project

pytestmark = [pytest.mark.slow, pytest.mark.server]

ROOT = Path(__file__).parents[2]


def test_every_failure_in_the_table_names_a_test_that_exists() -> None:
    text = (ROOT / "docs/failures.md").read_text()
    sources = "\n".join(path.read_text() for path in (ROOT / "tests").rglob("test_*.py"))
    names = set(re.findall(r"`(test_\w+)`", text))
    assert len(names) > 10
    for name in names:
        assert f"def {name}(" in sources or list((ROOT / "tests").rglob(f"{name}.py")), name


@pytest.mark.parametrize(
    ("section", "values", "message"),
    [
        ("train", {"epoch": 3}, "train.epoch: unknown key; did you mean 'epochs'?"),
        ("train", {"epochs": "many"}, "train.epochs: 'many': input should be a valid integer"),
        ("train", {"epochs": 0}, "train.epochs: 0 is out of range; nearest: at least 1"),
        ("train", {"batch_size": 33}, "batch_size 33 is not a multiple of workers 2; nearest: 32"),
    ],
)
def test_failures_params(small: Path, section: str, values: dict, message: str) -> None:
    edit(small, section, values)
    done = project.modelyard(small, "run", check=False)
    assert done.returncode == 1
    assert message in done.stderr
    assert "Traceback" not in done.stderr
    assert not (small / "data").exists()
    assert not (small / ".modelyard" / "services.json").exists(), "nothing was started"


def test_failures_source(cold: Path, servers: dict[str, str]) -> None:
    source = cold / "samples" / "bands.csv"
    content = source.read_bytes()

    source.unlink()
    assert_fails(cold, servers, "fetch", "samples/bands.csv")
    source.write_bytes(b"")
    assert_fails(cold, servers, "fetch", "bands.csv")
    source.write_bytes(content + b"\n")
    done = assert_fails(cold, servers, "fetch", "data.sha256")
    assert yaml.safe_load((cold / "params.yaml").read_text())["data"]["sha256"] in done.stderr
    source.write_bytes(content)
    assert "✓ fetch" in project.modelyard(cold, "run", "--no-up", **servers).stdout


@pytest.mark.parametrize("place", ["data", ".dvc/cache"])
def test_failures_full_disk(cold: Path, servers: dict[str, str], place: str) -> None:
    folder = cold / place
    folder.mkdir(parents=True, exist_ok=True)
    with full_disk(cold, folder) as inside:
        run = [*inside, sys.executable, "-m", "modelyard.cli", "run", "--no-up"]
        done = project.call(cold, *run, check=False, **servers)
        assert done.returncode == 1
        assert "no space left" in done.stderr.lower()
        assert "Traceback" not in done.stderr
        assert "dataset" not in project.call(cold, *inside, "ls", "data").stdout or place != "data"
        lock = cold / "dvc.lock"
        assert not lock.exists() or "train" not in lock.read_text()
        project.call(cold, *inside, "rm", str(folder / "ballast"))
        done = project.call(cold, *run, **servers)
        assert re.search("[✓=] register", done.stdout), done.stdout


@pytest.mark.distributed
def test_failures_interrupted(small: Path, servers: dict[str, str]) -> None:
    edit(small, "train", {"epochs": 300, "early_stopping": None})
    with project.started(small, "run", "--no-up", **servers) as process:
        wait_for_checkpoint(small)
        family = psutil.Process(process.pid).children(recursive=True)
        process.send_signal(signal.SIGINT)
        output, _ = process.communicate(timeout=60)
    assert process.returncode == 130, output
    assert "interrupted" in output
    assert "Traceback" not in output
    _, alive = psutil.wait_procs(family, timeout=10)
    assert not alive
    assert "  train:" not in (small / "dvc.lock").read_text()
    edit(small, "train", {"epochs": 3})
    printed = project.modelyard(small, "run", "--no-up", **servers).stdout
    assert re.search(r"^[✓↺] train", printed, re.MULTILINE)


@pytest.mark.distributed
def test_failures_mlflow_gone(small: Path, servers: dict[str, str], tmp_path: Path) -> None:
    edit(small, "train", {"epochs": 40, "early_stopping": None})
    settings = Settings(state_dir=tmp_path / "own", mlflow_port=0)
    address = {"PREFECT_API_URL": servers["PREFECT_API_URL"]}
    try:
        own = services.start(settings, ROOT, names=["mlflow"])
        services.wait(own.values())
        address["MLFLOW_TRACKING_URI"] = str(own["mlflow"].url)
        with project.started(small, "run", "--no-up", **address) as process:
            wait_for_checkpoint(small)
            assert services.down(settings) == ["mlflow"]
            output, _ = process.communicate(timeout=120)
        assert process.returncode == 0, output
        assert "✓ train" in output
        assert "! register" in output
        assert "`modelyard register` when it is back" in output
        again = services.start(settings, ROOT, names=["mlflow"])
        services.wait(again.values())
        address["MLFLOW_TRACKING_URI"] = str(again["mlflow"].url)
        printed = project.modelyard(small, "register", **address).stdout
        digest = json.loads((small / "models/package/manifest.json").read_text())["digest"]
        assert f"bands version 1 registered, digest {digest[:12]}" in printed
    finally:
        services.down(settings)


def test_failures_prefect_away(small: Path) -> None:
    done = project.modelyard(small, "run", "--no-up", check=False)
    assert done.returncode == 1
    assert "no Prefect server is known" in done.stderr
    away = {
        "PREFECT_API_URL": "http://127.0.0.1:9/api",
        "MLFLOW_TRACKING_URI": "http://127.0.0.1:9",
    }
    done = project.modelyard(small, "run", "--no-up", check=False, **away)
    assert done.returncode == 1
    assert "http://127.0.0.1:9/api" in done.stderr
    assert "Traceback" not in done.stderr
    assert not (small / "data").exists()


def test_failures_remote_away(small: Path, servers: dict[str, str]) -> None:
    (small / ".dvc" / "config.local").write_text("['remote \"local\"']\n    url = /proc/nowhere\n")
    printed = project.modelyard(small, "run", "--no-up", **servers).stdout
    assert "! push" in printed
    assert "✓ register" in printed or "= register" in printed
    (small / ".dvc" / "config.local").unlink()
    printed = project.modelyard(small, "run", "--no-up", **servers).stdout
    assert re.search(r"✓ push .* \d+ files", printed)


@pytest.mark.distributed
def test_failures_two_runs(small: Path, servers: dict[str, str]) -> None:
    edit(small, "train", {"epochs": 300, "early_stopping": None})
    with project.started(small, "run", "--no-up", **servers) as process:
        wait_for_checkpoint(small)
        second = project.modelyard(small, "run", "--no-up", check=False, **servers)
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=60)
    assert second.returncode == 1
    assert f"another run works in this folder (process {process.pid})" in second.stderr
    assert "--isolated" in second.stderr


def assert_fails(
    root: Path, servers: dict[str, str], step: str, said: str
) -> subprocess.CompletedProcess[str]:
    done = project.modelyard(root, "run", "--no-up", check=False, **servers)
    assert done.returncode == 1
    assert f"✗ {step}" in done.stdout
    assert said in done.stderr
    assert "Traceback" not in done.stderr
    assert not (root / "data" / "dataset").exists()
    return done


def edit(root: Path, section: str, values: dict) -> None:
    path = root / "params.yaml"
    tree = yaml.safe_load(path.read_text())
    tree[section] |= values
    path.write_text(yaml.safe_dump(tree, sort_keys=False))


def wait_for_checkpoint(root: Path) -> None:
    """Until the training has finished its first epoch."""
    deadline = time.monotonic() + 90
    while time.monotonic() < deadline:
        if list((root / ".modelyard" / "checkpoints").glob("*/*/manifest.json")):
            return
        time.sleep(0.05)
    pytest.fail("no checkpoint appeared within 90 s")


@contextmanager
def full_disk(root: Path, folder: Path) -> Iterator[list[str]]:
    """A filesystem on ``folder`` with 64 KiB left beside a file ``ballast``.

    Gives the words before a command in ``root``.
    Only such commands see it: it is mounted in namespaces of its own, which anyone may make where
    the kernel allows it, and goes with the process that holds them.
    """
    mount = (
        'mount -t tmpfs -o size=64m tmpfs "$0" && fallocate -l $((65472 * 1024)) "$0/ballast"'
        " && echo mounted && exec cat"
    )
    if not shutil.which("unshare"):
        pytest.skip("a small filesystem cannot be mounted here: there is no unshare")
    reasons = []
    for own, kept in [(["--user", "--map-root-user"], ["--user"]), ([], [])]:
        with subprocess.Popen(
            ["unshare", *own, "--mount", "sh", "-c", mount, str(folder)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        ) as holder:
            assert holder.stdin and holder.stdout and holder.stderr  # noqa: PT018
            if holder.stdout.readline() == "mounted\n":
                target = ["--preserve-credentials", f"--target={holder.pid}", "--mount", *kept]
                try:
                    yield ["nsenter", *target, "env", f"--chdir={root}"]
                finally:
                    holder.stdin.close()
                return
            reasons.append(holder.stderr.read().strip())
    pytest.skip(f"a small filesystem cannot be mounted here: {'; '.join(reasons)}")
