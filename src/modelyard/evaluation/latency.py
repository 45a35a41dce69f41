"""How long a model file takes on this machine, measured once a file and machine.

Latencies are no stage outputs: they differ from run to run. They are kept by the file's sha256 and
the machine's fingerprint, so that every way to run a stage on a machine sees the same numbers and
makes the same choice.
"""

import hashlib
import logging
import os
import platform
import time
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from modelyard.artifacts import canonical, read_json, sha256_file, write_json

if TYPE_CHECKING:
    import numpy as np

BATCH = 32
ROUNDS = 40
MAX_SECONDS = 10.0
"""After this no further round is begun; a large model is measured in fewer of them."""
WARMUP_SECONDS = 0.02
SLICE_SECONDS = 0.004
"""Time for one file and batch size in a round: tens of calls, yet short beside other load."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Measurement:
    """Milliseconds a call of one ONNX file on one thread: with one row, and with a batch of 32."""

    p50_ms: float
    p95_ms: float
    batch_p50_ms: float
    batch_p95_ms: float


@dataclass(frozen=True)
class Machine:
    """What a latency depends on beside the file."""

    cpu: str
    cores: int
    onnxruntime: str

    @property
    def fingerprint(self) -> str:
        """Sixteen hex digits that name this kind of machine."""
        return hashlib.sha256(canonical(asdict(self))).hexdigest()[:16]


def this_machine() -> Machine:
    """The machine that runs this process."""
    # Not by importing it, which costs 0.3 s where nothing is to be measured.
    return Machine(_cpu_model(), os.cpu_count() or 1, version("onnxruntime"))


def read_measurement(measurements: Path, file_sha256: str) -> Measurement | None:
    """What was measured of a file on this kind of machine, or None.

    Args:
        measurements: The folder of measurements (``Settings.measurements``).
        file_sha256: Of the ONNX file, hex.
    """
    path = _path(measurements, this_machine(), file_sha256)
    try:
        return Measurement(**read_json(path)["latency"])
    except FileNotFoundError:
        return None
    except (ValueError, KeyError, TypeError):
        _log.warning("%s cannot be read and is measured again", path)
        return None


def measure_latency(
    files: dict[str, Path], measurements: Path, rows: "dict[str, np.ndarray]"
) -> dict[str, Measurement]:
    """Latency of each ONNX file, measured together or, where all are known on this machine, read.

    If one is unknown, all are measured anew: figures that are to be compared come from the same
    minute. The files take turns in short slices, so that what else the machine does meets all of
    them alike.

    Args:
        files: ONNX files by name; a dynamic first axis is the batch.
        measurements: Folder that keeps the results.
        rows: Raw columns by input name, [N, ...] each: what a text costs depends on its words.

    Returns:
        A measurement by name.
    """
    digests = {name: sha256_file(path) for name, path in files.items()}
    known = {name: read_measurement(measurements, digest) for name, digest in digests.items()}
    found = {name: measurement for name, measurement in known.items() if measurement}
    if len(found) == len(files):
        return found
    machine = this_machine()
    measured = _measure({name: _Subject.load(path, rows) for name, path in files.items()})
    for name, measurement in measured.items():
        content = {"machine": asdict(machine), "latency": asdict(measurement)}
        write_json(_path(measurements, machine, digests[name]), content)
    return measured


@dataclass(frozen=True)
class _Subject:
    """A loaded file with its inputs of one row and of a batch."""

    session: Any
    one_row: "dict[str, np.ndarray]"
    batch: "dict[str, np.ndarray]"

    @classmethod
    def load(cls, path: Path, rows: "dict[str, np.ndarray]") -> "_Subject":
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        options.inter_op_num_threads = 1
        session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        names = [item.name for item in session.get_inputs()]
        return cls(
            session,
            {name: rows[name][:1] for name in names},
            {name: _repeated(rows[name], BATCH) for name in names},
        )

    def run(self, feed: "dict[str, np.ndarray]", seconds: float) -> list[float]:
        """Milliseconds of each call until ``seconds`` have passed, at least one."""
        times, now = [], time.perf_counter()
        end = now + seconds
        while now < end or not times:
            self.session.run(None, feed)
            before, now = now, time.perf_counter()
            times.append((now - before) * 1e3)
        return times


def _measure(subjects: dict[str, _Subject]) -> dict[str, Measurement]:
    one_row: dict[str, list[float]] = {name: [] for name in subjects}
    batch: dict[str, list[float]] = {name: [] for name in subjects}
    for subject in subjects.values():
        subject.run(subject.one_row, WARMUP_SECONDS)
        subject.run(subject.batch, WARMUP_SECONDS)
    end = time.perf_counter() + MAX_SECONDS
    for number in range(ROUNDS):
        if number and time.perf_counter() > end:
            break
        for name, subject in subjects.items():
            one_row[name] += subject.run(subject.one_row, SLICE_SECONDS)
        for name, subject in subjects.items():
            batch[name] += subject.run(subject.batch, SLICE_SECONDS)
    return {name: _summary(one_row[name], batch[name]) for name in subjects}


def _summary(one_row: list[float], batch: list[float]) -> Measurement:
    import numpy as np

    p50, p95 = np.quantile(one_row, [0.5, 0.95]).round(6).tolist()
    batch_p50, batch_p95 = np.quantile(batch, [0.5, 0.95]).round(6).tolist()
    return Measurement(p50, p95, batch_p50, batch_p95)


def _repeated(column: "np.ndarray", count: int) -> "np.ndarray":
    """The first ``count`` rows, begun again where there are fewer."""
    return column[[number % len(column) for number in range(count)]]


def _cpu_model() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def _path(measurements: Path, machine: Machine, file_sha256: str) -> Path:
    return measurements / machine.fingerprint / f"{file_sha256}.json"
