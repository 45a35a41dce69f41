"""kill -9 in each stage, then run again.

Only what was unfinished is repeated, and the digests are the same.
"""

import json
import shutil
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from tests import project

pytestmark = [pytest.mark.slow, pytest.mark.server, pytest.mark.distributed]

STAGES = ["fetch", "ingest", "train", "cross_validate", "baselines", "evaluate", "compress"]


def finished_stages(root: Path) -> list[str]:
    lock = root / "dvc.lock"
    text = lock.read_text() if lock.exists() else ""
    return [name for name in STAGES if f"\n  {name}:" in text]


def checkpoints(root: Path) -> list[Path]:
    return list((root / ".modelyard" / "checkpoints").glob("*/epoch-*/manifest.json"))


def until(condition: Callable[[], bool], process: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + 120
    while not condition():
        assert process.poll() is None, process.communicate()[0]
        assert time.monotonic() < deadline
        time.sleep(0.01)


@pytest.mark.parametrize("stage", ["fetch", "ingest", "train", "evaluate", "compress"])
def test_kill_in_each_stage(
    repeated: Path, tmp_path: Path, servers: dict[str, str], stage: str
) -> None:
    root = tmp_path / "clone"
    copy_until(repeated, root, stage)
    before = STAGES[: STAGES.index(stage)]
    assert finished_stages(root) == before
    with project.started(root, "run", "--no-up", **servers) as process:
        if stage == "train":
            until(lambda: bool(checkpoints(root)), process)
        else:
            until(lambda: under_way(root, stage), process)
        family = psutil.Process(process.pid).children(recursive=True)
        process.send_signal(signal.SIGKILL)
        process.wait()
    _, alive = psutil.wait_procs(family, timeout=15)
    assert not alive, "a killed flow leaves no worker behind"
    assert finished_stages(root) == before, "the killed stage is not recorded"
    saved = len(checkpoints(root))
    printed = project.modelyard(root, "run", "--no-up", **servers).stdout
    marks = {
        line.split()[1]: line[0]
        for line in printed.splitlines()
        if line[:1] in "✓↺=✗!" and line[:1]
    }
    assert [marks[name] for name in before] == ["="] * len(before)
    assert marks[stage] == "✓"
    assert (saved > 0) == (stage == "train")
    assert package_digest(root) == package_digest(repeated)
    assert (root / "dvc.lock").read_text() == (repeated / "dvc.lock").read_text()


def test_kill_of_a_training_worker(repeated: Path, tmp_path: Path, servers: dict[str, str]) -> None:
    root = tmp_path / "clone"
    copy_until(repeated, root, "train")
    log = {"PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL": "WARNING"}
    with project.started(root, "run", "--no-up", **servers, **log) as process:
        until(lambda: bool(checkpoints(root)), process)
        ranks = workers(process)
        assert sorted(ranks) == ["rank 0", "rank 1"]
        ranks["rank 1"].kill()
        output, _ = process.communicate(timeout=150)
    assert process.returncode == 0, output
    lost = "rank 1 of 2 was ended by SIGKILL; starting again from the last checkpoint"
    assert lost in " ".join(output.split())
    assert package_digest(root) == package_digest(repeated)
    assert (root / "dvc.lock").read_text() == (repeated / "dvc.lock").read_text()


def workers(process: subprocess.Popen[str]) -> dict[str, psutil.Process]:
    """The training workers below ``process``, by the names that they give themselves."""
    family = psutil.Process(process.pid).children(recursive=True)
    return {name: child for child in family if (name := child.name()).startswith("rank ")}


def under_way(root: Path, stage: str) -> bool:
    """Whether DVC holds the outputs of the stage for writing."""
    lock = root / ".dvc" / "tmp" / "rwlock"
    try:
        held = json.loads(lock.read_text() or "{}")
    except (FileNotFoundError, ValueError):
        return False
    output = {"fetch": "data/raw", "ingest": "data/dataset", "evaluate": "reports/evaluation"}.get(
        stage, "models/package"
    )
    return any(path.endswith(output) for path in held.get("write", {}))


def copy_until(source: Path, target: Path, stage: str) -> None:
    """A copy of a finished clone in which ``stage`` has never run; nothing after it lies there."""
    import yaml

    shutil.copytree(source, target, symlinks=True)
    kept = STAGES[: STAGES.index(stage)]
    lock = yaml.safe_load((target / "dvc.lock").read_text())
    for name in STAGES:
        if name not in kept:
            for out in lock["stages"].pop(name)["outs"]:
                path = target / out["path"]
                shutil.rmtree(path) if path.is_dir() else path.unlink()
    if kept:
        (target / "dvc.lock").write_text(yaml.safe_dump(lock, sort_keys=False))
    else:
        (target / "dvc.lock").unlink()
    shutil.rmtree(target / ".modelyard", ignore_errors=True)
    # What the stages before and after made is in the run cache; the stage itself has never run.
    for record in (target / ".dvc/cache/runs").glob("*/*/*"):
        if f"cmd: modelyard stage {stage}\n" in record.read_text():
            record.unlink()
            record.parent.rmdir()


def package_digest(root: Path) -> str:
    return json.loads((root / "models/package/manifest.json").read_text())["digest"]
