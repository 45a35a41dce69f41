"""The README on a fresh clone: its commands in order, on the real default dataset."""

import json
import re
import shutil
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import copy_project

pytestmark = [pytest.mark.slow, pytest.mark.server, pytest.mark.distributed]

ROOT = Path(__file__).parents[2]
NOT_HERE = ("git clone", "cd ", "make test", "make bench-overhead", "make stop")
"""Lines of the README that this test is, has done, or does at its end."""

GIVEN = ("source/", "recipes/my.yaml")
"""The reader's own file, and what `modelyard init` makes of it."""


def commands() -> list[str]:
    """The lines of the README's ``sh`` blocks, comments cut off."""
    blocks = re.findall(r"```sh\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    lines = [line.partition("  #")[0].strip() for block in blocks for line in block.splitlines()]
    return [line for line in lines if line and not line.startswith("#")]


def make_venv(root: Path) -> None:
    """An empty .venv that sees the packages of this interpreter.

    So `make install` finds them in place.
    """
    subprocess.run([sys.executable, "-m", "venv", str(root / ".venv")], check=True)
    (packages,) = (root / ".venv/lib").glob("python*/site-packages")
    seen = [path for path in sys.path if path.endswith("site-packages")]
    (packages / "packages.pth").write_text("\n".join(seen) + "\n")
    dvc = root / ".venv/bin/dvc"
    dvc.write_text(f'#!/bin/sh\nexec {root}/.venv/bin/python -m dvc "$@"\n')
    dvc.chmod(0o755)
    seeds = Path(sys.prefix) / "share/modelyard"
    if seeds.exists():
        shutil.copytree(seeds, root / ".venv/share/modelyard")


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    clone = copy_project(tmp_path_factory.mktemp("newcomer") / "modelyard")
    make_venv(clone)
    rows = [
        f"{20 + number % 37},{900.5 + number * 7 % 1013},{'good' if number % 5 else 'bad'}"
        for number in range(300)
    ]
    (clone / "source").mkdir(exist_ok=True)
    (clone / "source/my.csv").write_text("\n".join(["age,income,status", *rows]) + "\n")
    try:
        yield clone
    finally:
        shell(clone, "make stop", check=False)


def shell(root: Path, command: str, check: bool = True) -> str:
    done = subprocess.run(
        ["bash", "-c", command],
        cwd=root,
        check=False,
        capture_output=True,
        text=True,
        timeout=400,
        env={"PATH": f"{root}/.venv/bin:/usr/local/bin:/usr/bin:/bin", "HOME": str(root.parent)},
    )
    if check:
        assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
    return done.stdout


def test_make_run_ends_with_a_live_champion(root: Path) -> None:
    printed = shell(root, "make run")
    for step in ("fetch", "ingest", "train", "evaluate", "compress", "push", "register", "promote"):
        assert re.search(rf"^✓ {step} ", printed, re.MULTILINE), printed
    assert re.search(r"rows +5,000 accepted, 0 rejected", printed)
    accuracy = re.search(r"test accuracy, shipped \(\S+\) +(0\.\d+) \[", printed)
    assert accuracy
    assert float(accuracy[1]) > 0.93
    assert re.search(r"version +digits 1: .*champion.*live", printed)
    curl = next(line for line in printed.splitlines() if line.startswith("curl "))
    answer = json.loads(shell(root, curl))
    assert answer["model"] == "digits"
    assert str(answer["version"]) == "1"
    assert answer["predictions"][0]["label"] == "0"
    for service in ("Prefect", "MLflow", "model"):
        address = re.search(rf"^  {service} +(http://127\.0\.0\.1:\S+)$", printed, re.MULTILINE)
        assert address
        with urllib.request.urlopen(address[1]) as page:
            assert page.status == 200


def test_a_second_make_run_does_nothing_again(root: Path) -> None:
    printed = shell(root, "make run")
    marks = {
        line[0]
        for line in printed.splitlines()
        if re.match(r"\S (fetch|ingest|train|evaluate|compress|push|register|promote) ", line)
    }
    assert marks == {"="}
    assert "digits 1" in printed


@pytest.mark.parametrize("command", [line for line in commands() if not line.startswith(NOT_HERE)])
def test_every_other_command_of_the_readme_works(root: Path, command: str) -> None:
    if command == "make run":
        pytest.skip("done above, twice")
    shell(root, command)


def test_the_flow_in_the_readme_is_the_flow() -> None:
    (code,) = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    assert code.strip() in (ROOT / "flows/pipeline.py").read_text()


def test_the_working_tree_is_clean_but_for_the_results(root: Path) -> None:
    changed = shell(root, "git status --porcelain").split("\n")
    assert {line[3:] for line in changed if line} <= {"dvc.lock", "metrics/", *GIVEN}


def test_make_stop_ends_what_was_started_and_nothing_else(root: Path) -> None:
    bystander = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    started = json.loads((root / ".modelyard/services.json").read_text())
    assert "stopped: prefect, mlflow, follower, serving" in shell(root, "make stop")
    import psutil

    assert not any(psutil.pid_exists(service["pid"]) for service in started.values())
    assert bystander.poll() is None
    bystander.kill()
    bystander.wait()
    assert "nothing was up" in shell(root, "make stop")
