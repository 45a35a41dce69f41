"""What DVC and Prefect cost over plain function calls, for the same work on the default dataset.

(a) every step as a plain function call in one process; (b) the stages by ``dvc repro``; (c) the
flow. Each in a fresh clone from empty caches, (a) and (c) with services up, in turn, ``--rounds``
times. Whole processes are timed.
"""

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from statistics import median
from time import perf_counter

ROOT = Path(__file__).parents[1]
NUM_STAGES = 7


def main() -> None:
    """Measure, print the bars, write them."""
    from bars import bar, publish

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--inside", choices=["plain", "warm"], help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.inside:
        {"plain": plain, "warm": warm}[arguments.inside]()
        return
    figures: dict[str, list[float]] = {}
    for number in range(1, arguments.rounds + 1):
        with tempfile.TemporaryDirectory(prefix="modelyard-bench-") as folder:
            for name, seconds in one_round(Path(folder)).items():
                figures.setdefault(name, []).extend(seconds)
        print(f"round {number}: " + ", ".join(f"{k} {median(v):.2f}" for k, v in figures.items()))
    allowed = 1.15 * median(figures["plain_s"]) + 3
    bars = [
        bar("flow_cold_s", figures["flow_s"], "<=", allowed),
        bar("flow_unchanged_process_s", figures["unchanged_s"], "<=", 3.0),
        bar("flow_unchanged_stage_s", figures["warm_stage_s"], "<=", 0.1),
        bar("raw_data_to_live_s", figures["to_live_s"], "<=", 60.0),
    ]
    plainly, dvc, flow = (median(figures[name]) for name in ("plain_s", "dvc_s", "flow_s"))
    print(f"plain calls {plainly:.1f} s, dvc repro (stages alone) {dvc:.1f} s, flow {flow:.1f} s")
    publish("overhead", ROOT, bars, figures)


def one_round(folder: Path) -> dict[str, list[float]]:
    """Each way once, in a clone of its own; figure -> seconds."""
    figures: dict[str, list[float]] = {}
    here = str(Path(__file__).resolve())
    with services(clone(folder, "plain")) as root:
        figures["plain_s"] = [timed(root, here, "--inside", "plain")]
    figures["dvc_s"] = [timed(clone(folder, "dvc"), "-m", "dvc", "repro", "--quiet")]
    with services(clone(folder, "flow")) as root:
        figures["flow_s"] = [timed(root, "-m", "modelyard.cli", "run", "--no-up")]
        figures["unchanged_s"] = [
            timed(root, "-m", "modelyard.cli", "run", "--no-up") for _ in range(5)
        ]
        figures["warm_stage_s"] = [float(output(root, here, "--inside", "warm").split()[-1])]
    fresh = clone(folder, "fresh")
    try:
        figures["to_live_s"] = [timed(fresh, "-m", "modelyard.cli", "run")]
    finally:
        timed(fresh, "-m", "modelyard.cli", "down")
    return figures


def plain() -> None:
    """Inside a clone: every step as a function call, without DVC's or Prefect's part."""
    from modelyard.params import load
    from modelyard.runs.promotion import advance
    from modelyard.runs.snapshot import new_run_id, take
    from modelyard.settings import Settings
    from modelyard.stages import STAGES, Execution, execute

    root, settings, params = Path.cwd(), Settings(), load()
    snapshot = take(root, new_run_id())
    for name in STAGES:
        execute(name, root, Execution(settings))
    version = register_plainly(root, settings, params, snapshot)
    assert advance(root, settings, params, version).outcome == "live"


def register_plainly(root, settings, params, snapshot):  # noqa: ANN001, ANN201
    """Register as the task does, with the package's digest in place of dvc.lock's hashes."""
    from modelyard.artifacts import Layout, sha256_file
    from modelyard.registry.record import record
    from modelyard.registry.register import register
    from modelyard.registry.runs import RunInfo
    from modelyard.runs.publish import connect
    from modelyard.stages import stage_key

    layout = Layout(root)
    info = RunInfo(
        run_id=snapshot.run_id,
        key=stage_key("compress", root, params),
        train_key=stage_key("train", root, params),
        snapshot_commit=snapshot.commit,
        snapshot_tree=snapshot.tree,
        prefect_url=None,
        raw_md5="0" * 32,
        dataset_md5="0" * 32,
        dvc_lock_sha256="0" * 64,
        lock_sha256=sha256_file(root / "requirements.lock"),
    )
    with connect(settings) as api:
        run_id = record(layout, params, info, api)
        return register(layout, params, info, run_id, api, settings.key_folder, settings.trusted)


def warm() -> None:
    """Inside a finished clone: seconds a stage takes when the flow runs again in one process."""
    os.environ["PREFECT_API_URL"] = str(_settings().address("prefect"))
    os.environ["PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL"] = "CRITICAL"
    from flows.pipeline import pipeline
    from modelyard.runs.progress import Progress, listen

    times: dict[tuple[str, str], float] = {}

    def note(progress: Progress) -> None:
        times[progress.step, progress.state] = perf_counter()

    for _ in range(2):
        times.clear()
        with listen(note):
            pipeline()
    print((times["compress", "unchanged"] - times["fetch", "started"]) / NUM_STAGES)


def _settings():  # noqa: ANN202
    from modelyard.settings import Settings

    return Settings()


class services:  # noqa: N801 - reads as a verb phrase
    """The clone's local services, up inside the block."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def __enter__(self) -> Path:
        timed(self.root, "-m", "modelyard.cli", "up")
        return self.root

    def __exit__(self, *_: object) -> None:
        timed(self.root, "-m", "modelyard.cli", "down")


def clone(folder: Path, name: str) -> Path:
    """A fresh clone of what is committed."""
    target = folder / name
    subprocess.run(["git", "clone", "--quiet", str(ROOT), str(target)], check=True)
    return target


def timed(root: Path, *words: str) -> float:
    """Wall seconds of ``python WORDS`` in a clone, as a whole process."""
    started = perf_counter()
    output(root, *words)
    return perf_counter() - started


def output(root: Path, *words: str) -> str:
    """What ``python WORDS`` prints in a clone, run with the clone's own code."""
    scripts = root.parent / "bin"
    if not scripts.exists():
        scripts.mkdir()
        (scripts / "modelyard").write_text(
            f'#!/bin/sh\nexec {sys.executable} -m modelyard.cli "$@"\n'
        )
        (scripts / "modelyard").chmod(0o755)
    environment = {
        **{key: text for key, text in os.environ.items() if not key.startswith("MODELYARD_")},
        "PYTHONPATH": os.pathsep.join([str(root / "src"), str(root)]),
        "PATH": f"{scripts}{os.pathsep}{os.environ['PATH']}",
    }
    done = subprocess.run(
        [sys.executable, *words],
        cwd=root,
        env=environment,
        check=False,
        capture_output=True,
        text=True,
    )
    if done.returncode:
        shutil.copytree(
            root / ".modelyard" / "logs", ROOT / ".modelyard" / "bench" / "logs", dirs_exist_ok=True
        )
        sys.exit(f"{' '.join(words)} failed in {root}:\n{done.stdout}\n{done.stderr}")
    return done.stdout


if __name__ == "__main__":
    main()
