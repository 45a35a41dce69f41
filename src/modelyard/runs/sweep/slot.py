"""A place for one trial at a time: a worktree of the sweep's snapshot, and a process in it.

The process trains one trial after the other, so that torch and DVC are loaded once and what no
trial changes lies in the worktree already. A trial that is given up is ended with its process.
"""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO, Any

import psutil
import yaml

from modelyard import errors
from modelyard.artifacts import write_atomic
from modelyard.params import read_tree, with_overrides
from modelyard.params.sweep import as_overrides
from modelyard.runs import isolated, snapshot
from modelyard.runs.git import git
from modelyard.runs.janitor import remove_worktree
from modelyard.runs.snapshot import Snapshot
from modelyard.runs.sweep.trials import Trial
from modelyard.settings import Settings

_PATIENCE_S = 10.0
_LAST_BYTES = 2000
_NOT_ITS_FAULT = ("WorkspaceError", "ServiceUnavailable", "SourceError")


class Stopped(errors.ModelyardError):
    """The sweep was stopped while a trial was under way; it is taken up again."""


@dataclass(frozen=True)
class Failure:
    """Why a trial could not be trained."""

    reason: str


class Slot:
    """Worktree and process number ``index`` of a sweep.

    Not a data class: Prefect walks through those when they are a task's argument.
    """

    def __init__(self, root: Path, settings: Settings, base: Snapshot, index: int) -> None:
        self._root, self._settings = root, settings
        self._base = replace(base, run_id=f"{base.run_id}-{index}")
        self._log: IO[bytes] | None = None
        self._process: subprocess.Popen[str] | None = None
        self.worktree: Path | None = None
        self.closed = False

    def open(self, log: Path) -> None:
        """Make the worktree; what the process prints goes to ``log``."""
        name, commit = self._base.run_id, self._base.commit
        self.worktree = isolated.set_up(self._root, self._settings, name, [], None, commit)
        # The trials' code is the sweep's snapshot, which has a name of its own.
        git(self._root, "update-ref", "-d", f"{snapshot.REFS}/{name}")
        self._tree = read_tree(self.worktree / "params.yaml")
        self._log = log.open("ab")

    def run(
        self,
        trial: Trial,
        stream: dict[str, str],
        on_event: Callable[[dict[str, Any]], bool],
    ) -> dict[str, Any] | Failure | None:
        """Train a trial; gives the event ``done``, the failure, or None where it was given up.

        Args:
            trial: Its params are laid over those of the snapshot.
            stream: Where live curves go: ``tracking_uri`` and ``run_id``, or nothing.
            on_event: Called with each event before the last; true ends the trial.

        Raises:
            WorkspaceError, ServiceUnavailable, SourceError: what no trial can help.
            Stopped: the slot was closed meanwhile.
        """
        assert self.worktree is not None
        tree = with_overrides(self._tree, as_overrides(trial.params))
        text = yaml.safe_dump(tree, sort_keys=False, allow_unicode=True)
        write_atomic(self.worktree / "params.yaml", text.encode())
        process = self._process or self._start()
        assert process.stdin is not None
        assert process.stdout is not None
        with suppress(BrokenPipeError):
            process.stdin.write(json.dumps(stream) + "\n")
            process.stdin.flush()
        for line in process.stdout:
            event = json.loads(line)
            match event["event"]:
                case "done":
                    return event
                case "failed" if event["kind"] in _NOT_ITS_FAULT:
                    raise getattr(errors, event["kind"])(event["message"], event["remedy"])
                case "failed":
                    return Failure(event["message"])
                case _:
                    if on_event(event):
                        self.stop()
                        return None
        return self._lost(process)

    def stop(self) -> None:
        """End the process and its workers, by their own ids; the next trial starts another."""
        process, self._process = self._process, None
        if process is None:
            return
        with suppress(psutil.NoSuchProcess):
            family = psutil.Process(process.pid).children(recursive=True)
            process.kill()
            # They end by themselves when they see that they are alone.
            _, alive = psutil.wait_procs(family, _PATIENCE_S)
            for worker in alive:
                with suppress(psutil.NoSuchProcess):
                    worker.kill()
        process.wait()

    def close(self) -> None:
        """End the process and remove the worktree."""
        self.closed = True
        self.stop()
        if self._log is not None:
            self._log.close()
        if self.worktree is not None:
            remove_worktree(self._root, self.worktree)

    def _start(self) -> subprocess.Popen[str]:
        assert self.worktree is not None
        environment = isolated.environment_in(self.worktree, self._settings, self._base.run_id)
        self._process = subprocess.Popen(
            [sys.executable, "-m", "modelyard.runs.sweep"],
            cwd=self.worktree,
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            text=True,
            encoding="utf-8",
            start_new_session=True,  # Ctrl-C reaches it once: from here
        )
        return self._process

    def _lost(self, process: subprocess.Popen[str]) -> Failure:
        """What to say of a process that ended without a word."""
        if self.closed:
            raise Stopped("the sweep was stopped", "The same command goes on.")
        status = process.wait()
        self._process = None
        if status >= 0:
            return Failure(f"its process ended with status {status}: {self._last_words()}")
        name = signal.Signals(-status).name
        more = ": memory ran out, mostly" if name == "SIGKILL" else ""
        return Failure(f"its process was ended by {name}{more}")

    def _last_words(self) -> str:
        assert self._log is not None
        with Path(self._log.name).open("rb") as file:
            file.seek(max(0, file.seek(0, os.SEEK_END) - _LAST_BYTES))
            return file.read().decode("utf-8", "replace").strip()
