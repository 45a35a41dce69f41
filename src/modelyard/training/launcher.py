"""Starts the workers from the calling process by torch's elastic launcher, and watches over them.

Workers are forked from a server process that has torch loaded already: half a second instead of
five. A worker that is killed from outside (out of memory, say) is replaced by starting all again
from the last checkpoint; an exception in a worker is final, because it would come again.
"""

import atexit
import dataclasses
import logging
import multiprocessing
import os
import shutil
import signal
import tempfile
import threading
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from multiprocessing import forkserver
from pathlib import Path
from typing import TYPE_CHECKING

from modelyard.errors import TrainingFailed
from modelyard.training import checkpoints, failures

if TYPE_CHECKING:
    from modelyard.training.worker import Job

_logger = logging.getLogger(__name__)

_MAX_RELAUNCHES = 2
_PRELOADED = ["modelyard.training.preloaded"]
_SCRATCH = "modelyard-train-"
_STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def warm_up() -> None:
    """Start the process that loads torch for the workers, without waiting for it.

    Called by the stage itself; called earlier, it loads while something else is done.
    """
    # Without it torch advises, for each worker, against the option that worker.py explains.
    os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")
    multiprocessing.set_forkserver_preload(_PRELOADED)
    forkserver.ensure_running()
    atexit.unregister(_end_server)
    atexit.register(_end_server)


def _end_server() -> None:
    """End the server at once: by itself it would first load torch to the end."""
    pid = getattr(forkserver._forkserver, "_forkserver_pid", None)  # type: ignore[attr-defined]
    if pid is not None:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def threads_of_each(workers: int) -> int:
    """Threads of a worker, so that workers x threads is the number of cores."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return max(1, (cores or 1) // workers)


def launch(job: "Job") -> None:
    """Run the training to its end.

    Raises:
        TrainingFailed: a rank failed or was killed again and again; the message has its rank and
            traceback.
        ModelyardError: a rank found an error of params, data or disk.
    """
    lost = _launch_once(job)
    for _ in range(_MAX_RELAUNCHES):
        if lost is None or lost.signal in _STOP_SIGNALS:
            break
        _logger.warning("%s; starting again from the last checkpoint", lost)
        lost = _launch_once(job)
    if lost is None:
        return
    if lost.signal in _STOP_SIGNALS:
        raise TrainingFailed(str(lost), "Run again to go on from the last checkpoint.")
    raise TrainingFailed(
        f"{lost}, after {_MAX_RELAUNCHES} restarts",
        "SIGKILL mostly means that memory ran out: lower train.workers or train.batch_size, "
        "then run again.",
    )


@dataclasses.dataclass(frozen=True)
class _Lost:
    """A worker that ended by a signal and left no word."""

    rank: int
    workers: int
    signal: signal.Signals

    def __str__(self) -> str:
        return f"rank {self.rank} of {self.workers} was ended by {self.signal.name}"


def _launch_once(job: "Job") -> _Lost | None:
    """Launch the workers in a folder of their own, from the newest checkpoint."""
    resume = checkpoints.newest(job.checkpoints, job.inputs)
    checkpoints.discard_after(job.checkpoints, resume)
    _remove_leftovers(Path(tempfile.gettempdir()))
    with tempfile.TemporaryDirectory(prefix=f"{_SCRATCH}{os.getpid()}-") as scratch:
        return _run(dataclasses.replace(job, resume=resume, scratch=Path(scratch)))


def _remove_leftovers(folder: Path) -> None:
    """Remove the folders of launches whose process was killed before it could."""
    for scratch in folder.glob(f"{_SCRATCH}*-*"):
        pid = scratch.name.removeprefix(_SCRATCH).partition("-")[0]
        if pid.isdecimal() and not _runs(int(pid)):
            shutil.rmtree(scratch, ignore_errors=True)  # another user's may not be ours to remove


def _runs(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except (PermissionError, OverflowError):
        pass
    return True


def _run(job: "Job") -> _Lost | None:
    """Launch the workers once and wait for all of them; says which was killed, if one was."""
    from torch.distributed.elastic.multiprocessing import DefaultLogsSpecs, SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.launcher.api import LaunchConfig, elastic_launch

    from modelyard.training.worker import run_worker

    workers = job.train.workers
    # Else a restart under the elastic agent connects to the store of the launch before.
    os.environ["TORCH_DISABLE_SHARE_RDZV_TCP_STORE"] = "1"
    # Its errors reach the caller as exceptions; its log repeats them with a table for operators of
    # clusters.
    for name in ("", ".agent.server.api", ".multiprocessing.api"):
        logging.getLogger(f"torch.distributed.elastic{name}").setLevel(logging.CRITICAL)
    config = LaunchConfig(
        min_nodes=1,
        max_nodes=1,
        nproc_per_node=workers,
        run_id=uuid.uuid4().hex,
        rdzv_backend="c10d",
        rdzv_endpoint=str(job.scratch / "rendezvous"),
        rdzv_configs={"store_type": "file"},
        max_restarts=0,
        start_method="forkserver",
        local_addr="127.0.0.1",
        logs_specs=DefaultLogsSpecs(log_dir=str(job.scratch / "logs")),
        shutdown_timeout=5,
        signals_to_handle="SIGTERM,SIGINT,SIGHUP",
    )
    warm_up()
    try:
        with _signal_handlers_kept():
            elastic_launch(config, run_worker)(job)
    except ChildFailedError as error:
        if failure := failures.first_failure(job.scratch, workers):
            raise failure from None
        rank, lost = min(error.failures.items())
        if lost.exitcode < 0:
            return _Lost(rank, workers, signal.Signals(-lost.exitcode))
        raise TrainingFailed(
            f"rank {rank} of {workers} ended with exit code {lost.exitcode} and left no traceback",
            "Look for a call of exit in the model's code.",
        ) from None
    except SignalException as error:
        # As if the elastic agent had never taken the signal: Ctrl-C is KeyboardInterrupt again.
        signal.raise_signal(error.sigval)
        raise TrainingFailed(
            f"the training was stopped by {error.sigval.name}",
            "Run again to go on from the last checkpoint.",
        ) from None
    return None


@contextmanager
def _signal_handlers_kept() -> Iterator[None]:
    """Put the caller's signal handlers back, which the agent replaces in the main thread."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.getsignal(number) for number in _STOP_SIGNALS}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
