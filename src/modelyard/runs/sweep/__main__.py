"""The process of a slot: trains trial after trial in its worktree, and tells of each epoch.

Requests come as lines of JSON on the standard input, events go as such to the standard output. When
the input ends (the sweep has ended, was killed, or gives the trial up), so does this process,
whatever it is doing, and its workers with it.
"""

import json
import os
import queue
import signal
import sys
import threading
from collections.abc import Callable
from dataclasses import asdict
from hashlib import sha256
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from modelyard.artifacts import Dataset, Layout, read_json
from modelyard.errors import ModelyardError
from modelyard.params import load
from modelyard.runs.pin import check_pin
from modelyard.runs.reproduce import Pipeline
from modelyard.runs.sweep.study import TRIED
from modelyard.settings import Settings
from modelyard.stages import Execution

if TYPE_CHECKING:
    from modelyard.training.context import EpochRecord, Stream

Tell = Callable[..., None]


def main() -> None:
    """Serve requests until the input ends."""
    sys.path.insert(0, str(Path.cwd()))
    events = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # what a library prints is no event
    lock = threading.Lock()

    def tell(event: str, **values: Any) -> None:
        with lock:
            events.write(json.dumps({"event": event, **values}) + "\n")
            events.flush()

    requests: queue.SimpleQueue[dict[str, Any]] = queue.SimpleQueue()
    threading.Thread(target=_read, args=(sys.stdin, requests), daemon=True).start()
    first = True
    while True:
        request = requests.get()
        try:
            _train(Path().resolve(), request, first, tell)
        except ModelyardError as error:
            tell("failed", kind=type(error).__name__, message=error.message, remedy=error.remedy)
        except Exception as error:
            tell("failed", kind=type(error).__name__, message=f"{type(error).__name__}: {error}")
        first = False


def _read(stream: IO[str], requests: "queue.SimpleQueue[dict[str, Any]]") -> None:
    for line in stream:
        requests.put(json.loads(line))
    os.kill(os.getpid(), signal.SIGKILL)


def _train(root: Path, request: dict[str, Any], first: bool, tell: Tell) -> None:
    """Bring the stages of a trial up to date with the params.yaml that lies in ``root`` now."""
    settings = Settings()
    execution = Execution(settings, _stream(request), lambda epoch: _tell_epoch(epoch, tell))
    check_pin(root, load(root).data)
    pipeline = Pipeline(root)
    try:
        if first:
            pipeline.restore()
        for name in TRIED:
            done = pipeline.run(name, execution)
            tell("stage", name=name, outcome=done.outcome, seconds=done.seconds)
    finally:
        pipeline.close()
    layout = Layout(root)
    tell(
        "done",
        metrics=read_json(layout.metrics("train")),
        epochs=read_json(layout.trained / "history.json"),
        rows=_digest_rows(Dataset.read(layout.dataset)),
    )


def _tell_epoch(epoch: "EpochRecord", tell: Tell) -> None:
    tell("epoch", epoch=asdict(epoch))


def _stream(request: dict[str, Any]) -> "Callable[[str], Stream | None] | None":
    """Where the live curves go: the trial's own run in MLflow, if there is one."""
    if not request.get("run_id"):
        return None
    from modelyard.training.context import Stream

    return lambda _: Stream(request["tracking_uri"], request["run_id"])


def _digest_rows(dataset: Dataset) -> str:
    """Hex sha256 of the validation rows' positions and targets."""
    import pyarrow.parquet as pq

    table = pq.read_table(dataset.split("validation"), columns=["row", "target"])
    digest = sha256()
    for name in ("row", "target"):
        digest.update(json.dumps(table.column(name).to_pylist()).encode())
    return digest.hexdigest()


if __name__ == "__main__":
    main()
