"""Kills of a rank and of a run, Ctrl-C, damaged checkpoints: the final bytes stay the same."""

import logging
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
import training_project
from training_project import make_project, model_params, run, train_params, worker_pids

from modelyard.artifacts import Layout
from modelyard.errors import TrainingFailed

pytestmark = [pytest.mark.distributed, pytest.mark.slow]

# 4 steps an epoch: in the middle of epoch 3, after two checkpoints.
STEP = 10


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> str:
    layout = make_project(tmp_path_factory.mktemp("undisturbed"))
    return run(layout, model_params(folder=str(layout.root)), train_params())[0]


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    return make_project(tmp_path)


def _assert_gone(pids: list[int]) -> None:
    """Every worker ends within seconds."""
    assert pids
    deadline = time.monotonic() + 20
    while any(map(_runs, pids)):
        assert time.monotonic() < deadline, "workers are left"
        time.sleep(0.05)


def _runs(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


@pytest.mark.parametrize("rank", [0, 1])
def test_a_killed_rank_is_replaced(
    rank: int, layout: Layout, undisturbed: str, caplog: pytest.LogCaptureFixture
) -> None:
    model = model_params("kill self", folder=str(layout.root), rank=rank, step=STEP)
    digest, _, reported = run(layout, model, train_params())
    assert digest == undisturbed
    assert [record.epoch for record in reported] == [1, 2, 3, 4]
    assert len(worker_pids(layout.root)) == 4
    assert f"rank {rank} of 2 was ended by SIGKILL" in caplog.text
    _assert_gone(worker_pids(layout.root))


def test_a_rank_that_is_killed_every_time_ends_the_training(layout: Layout) -> None:
    model = model_params("kill self", folder=str(layout.root), rank=1, step=2, once=False)
    with pytest.raises(TrainingFailed, match="ended by SIGKILL, after 2 restarts") as failure:
        run(layout, model, train_params())
    assert "train.batch_size" in failure.value.remedy
    _assert_gone(worker_pids(layout.root))


def test_a_killed_run_leaves_no_process_and_resumes(layout: Layout, undisturbed: str) -> None:
    program = (
        "import training_project as p; from pathlib import Path; from modelyard.artifacts import "
        "Layout; import sys; root = sys.argv[1]; p.run(Layout(Path(root)), p.model_params("
        f"'kill parent', folder=root, rank=1, step={STEP}), p.train_params())"
    )
    environment = {**os.environ, "PYTHONPATH": str(Path(training_project.__file__).parent)}
    ended = subprocess.run(
        [sys.executable, "-c", program, str(layout.root)], env=environment, timeout=120, check=False
    )
    assert ended.returncode == -signal.SIGKILL
    _assert_gone(worker_pids(layout.root))
    assert not layout.trained.exists()
    model = model_params("kill parent", folder=str(layout.root), rank=1, step=STEP)
    digest, _, reported = run(layout, model, train_params())
    assert digest == undisturbed
    assert [record.epoch for record in reported] == [3, 4]


def test_ctrl_c_is_keyboard_interrupt_and_resumes(layout: Layout, undisturbed: str) -> None:
    before = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    model = model_params("interrupt parent", folder=str(layout.root), rank=0, step=STEP)
    with pytest.raises(KeyboardInterrupt):
        run(layout, model, train_params())
    assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == before
    _assert_gone(worker_pids(layout.root))
    assert run(layout, model, train_params())[0] == undisturbed


def test_a_damaged_checkpoint_is_skipped(
    layout: Layout, undisturbed: str, caplog: pytest.LogCaptureFixture
) -> None:
    model = model_params(folder=str(layout.root))
    run(layout, model, train_params())
    kept = sorted(path.name for path in (layout.root / "checkpoints").glob("epoch-*"))
    assert kept == ["epoch-00003", "epoch-00004"]
    weights = layout.root / "checkpoints/epoch-00004/model.safetensors"
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)
    with caplog.at_level(logging.WARNING):
        digest, _, reported = run(layout, model, train_params())
    assert "epoch-00004 is damaged (model.safetensors was changed)" in caplog.text
    assert [record.epoch for record in reported] == [4]
    assert digest == undisturbed


def test_no_pickle_in_a_checkpoint(layout: Layout, undisturbed: str) -> None:
    assert undisturbed
    run(layout, model_params(folder=str(layout.root)), train_params(epochs=1))
    names = {path.name for path in (layout.root / "checkpoints/epoch-00001").iterdir()}
    assert names == {
        "model.safetensors",
        "optimizer.safetensors",
        "best.safetensors",
        "state.json",
        "manifest.json",
    }
