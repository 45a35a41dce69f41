"""A sweep under way: which trial is next, what has been reached, and the folder that remembers it.

The folder hangs from what the trials depend on (the file of the sweep, the params that they start
from, the code that they run): the same command goes on with the same sweep, and after a change of
any of these it begins a new one beside it.
"""

import fcntl
import hashlib
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from time import perf_counter
from typing import IO, Any

from modelyard import stages
from modelyard.artifacts import canonical, sha256_file, write_json
from modelyard.errors import WorkspaceError
from modelyard.params import parse, read_tree
from modelyard.params.sweep import SEARCHED, SweepParams, read_sweep
from modelyard.runs import snapshot
from modelyard.runs.snapshot import Snapshot
from modelyard.runs.sweep import search, trials
from modelyard.runs.sweep.slot import Slot
from modelyard.runs.sweep.trials import Trial
from modelyard.settings import Settings

TRIED = ("fetch", "ingest", "train")
"""The stages of a trial."""
_DATA = ("data", "models", "metrics")


class Study:
    """A sweep and its trials; its methods may be called from several threads.

    Not a data class: Prefect walks through those when they are a task's argument.
    """

    def __init__(self, root: Path, path: Path, settings: Settings) -> None:
        self.root, self.settings = root.resolve(), settings
        tree = read_tree(root / "params.yaml")
        self.params: SweepParams = read_sweep(path, tree)
        base = parse(tree)
        self.model, self._epochs = base.registry.name, base.train.epochs
        self.key = _key(root, self.params, tree)
        self.folder = settings.state_dir.resolve() / "sweeps" / self.params.name / self.key[:12]
        self.base: Snapshot | None = None
        self._lock = threading.RLock()
        self._trials = trials.read(self.folder / "trials")
        self._waiting: list[int] = []
        self._began: dict[int, float] = {}
        self._slots: dict[int, Slot] = {}
        self._shared = threading.Event()

    @contextmanager
    def under_way(self) -> Iterator[None]:
        """Hold the folder and a snapshot of the project; what works at the end is stopped.

        Raises:
            WorkspaceError: another process runs this sweep.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        with (self.folder / ".lock").open("w") as file:
            _hold(file, self.params.name)
            self.base = snapshot.take(self.root, snapshot.new_run_id())
            write_json(self.folder / "sweep.json", self.params.model_dump(mode="json"))
            self._trials = trials.read(self.folder / "trials")
            self._waiting = [trial.number for trial in self._trials if trial.state == "running"]
            try:
                yield
            finally:
                with self._lock:
                    slots, self._slots = self._slots, {}
                for slot in slots.values():
                    slot.close()

    @contextmanager
    def lane(self, index: int) -> Iterator[Slot]:
        """A place for one trial at a time.

        The first lane begins alone: what all trials share is made once, and found by the others.
        """
        assert self.base is not None
        try:
            if index > 0:
                self._shared.wait()
            slot = Slot(self.root, self.settings, self.base, index)
            with self._lock:
                self._slots[index] = slot
            slot.open(self.folder / f"lane-{index}.log")
            yield slot
        finally:
            if index == 0:
                self._shared.set()
            with self._lock:
                slot = self._slots.pop(index, None)
            if slot is not None:
                slot.close()

    def note_stage(self, name: str) -> None:
        """Take note that a stage of a trial has ended."""
        if name == TRIED[-2]:
            self._shared.set()

    @property
    def trials(self) -> tuple[Trial, ...]:
        """All trials so far, in order."""
        with self._lock:
            return tuple(self._trials)

    @property
    def best(self) -> Trial | None:
        """The best finished trial."""
        return search.best_of(self.params, self.trials)

    def ask(self) -> Trial | None:
        """The next trial: one that a kill cut off, else a new one; None when there are enough."""
        with self._lock:
            if self._waiting:
                trial = self._trials[self._waiting.pop(0)]
            else:
                params = search.propose(self.params, self._trials)
                if params is None:
                    return None
                trial = Trial(len(self._trials), params)
                self._trials.append(trial)
                self._save(trial)
            self._began[trial.number] = perf_counter()
            return trial

    def add_epoch(self, number: int, epoch: dict[str, Any]) -> bool:
        """Take note of an epoch; say whether the trial shall be given up."""
        with self._lock:
            trial = self._trials[number]
            known = tuple(item for item in trial.epochs if item["epoch"] < epoch["epoch"])
            trial = self._save(replace(trial, epochs=(*known, epoch)))
            if epoch["epoch"] >= trial.params.get("train.epochs", self._epochs):
                return False  # it has ended already
            return search.is_hopeless(self.params, self._trials, trial)

    def finish(self, number: int, ended: dict[str, Any]) -> Trial:
        """Take note of a trial's results; one judged on other rows than the rest has failed.

        Args:
            number: The trial's.
            ended: ``metrics``, ``epochs`` and ``rows`` as in ``Trial``.
        """
        with self._lock:
            trial = replace(
                self._trials[number],
                metrics=ended["metrics"],
                epochs=tuple(ended["epochs"]),
                rows=ended["rows"],
            )
            value = trial.measured(self.params.objective)
            judged = next((other for other in self._trials if other.state == "done"), None)
            if judged is not None and judged.rows != trial.rows:
                return self._end(
                    trial,
                    state="failed",
                    reason="its validation rows are not those of trial "
                    f"{judged.number}, so that the two do not compare",
                )
            return self._end(trial, state="done", value=value)

    def give_up(self, number: int) -> Trial:
        """Take note that the pruner ended a trial."""
        trial = self.trials[number]
        epoch = trial.epochs[-1]["epoch"]
        reason = f"after epoch {epoch}: worse than the median of the trials before"
        return self._end(trial, state="pruned", reason=reason)

    def fail(self, number: int, reason: str) -> Trial:
        """Take note that a trial failed; the sweep goes on."""
        return self._end(self.trials[number], state="failed", reason=reason)

    def update(self, number: int, change: Callable[[Trial], Trial]) -> Trial:
        """Change what is known of a trial, and write it."""
        with self._lock:
            return self._save(change(self._trials[number]))

    def _end(self, trial: Trial, **changes: Any) -> Trial:
        with self._lock:
            seconds = perf_counter() - self._began.pop(trial.number, perf_counter())
            return self._save(replace(trial, seconds=trial.seconds + seconds, **changes))

    def _save(self, trial: Trial) -> Trial:
        self._trials[trial.number] = trial
        trials.write(self.folder / "trials", trial)
        return trial


def _hold(file: IO[str], name: str) -> None:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise WorkspaceError(
            f"the sweep {name} is under way in another process", "Wait for it; its trials are kept."
        ) from None


def _key(root: Path, sweep: SweepParams, tree: dict[str, Any]) -> str:
    """Hex sha256 over what decides about the trials; how many there are may change."""
    code = [
        path
        for name in TRIED
        for path in stages.dependencies(name, root)
        if path.parts[0] not in _DATA
    ]
    parts = {
        "sweep": sweep.model_dump(mode="json", exclude={"trials", "parallel"}),
        "params": {section: tree[section] for section in SEARCHED},
        "code": {path: sha256_file(root / path) for path in stages.fingerprint(code, root)},
    }
    return hashlib.sha256(canonical(parts)).hexdigest()
