"""Stages through DVC in this process.

DVC decides whether a stage must run and records it; our function does the work.

``dvc repro`` starts a shell for each stage. Here DVC's one call that does so is replaced, while a
stage is under way, by a call of the stage's function, which saves a process and its imports a
stage. DVC is pinned, and a contract test compares both ways. Everything else (hashing, cache,
locks, dvc.lock) is DVC's own.
"""

import hashlib
import json
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter, sleep
from typing import TYPE_CHECKING, Any, Literal

from modelyard import stages
from modelyard.artifacts import canonical, sha256_file, write_atomic
from modelyard.errors import ModelyardError, ServiceUnavailable, WorkspaceError
from modelyard.params import load
from modelyard.runs.git import check_repository

if TYPE_CHECKING:
    from dvc.repo import Repo

_DATA = ("data", "models", "metrics")
"""Folders of the stages' outputs; all else that a stage depends on is code."""

Outcome = Literal["executed", "restored", "unchanged"]


@dataclass(frozen=True)
class StageRun:
    """How a stage ended.

    Its function ran, its result came from the cache, or nothing had changed.
    """

    name: str
    outcome: Outcome
    seconds: float


class Pipeline:
    """The stages of dvc.yaml in ``root``, run one by one.

    It remembers the code that the run began with.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        _mend_rwlock(root)
        # Any: DVC attaches the commands to Repo as functions, and a checker takes them for unbound.
        self._repo: Any = open_repo(root)
        self._params = (root / "params.yaml").read_bytes()
        self._code = {name: self._code_state(name) for name in stages.STAGES}
        self._unchanged = self._find_unchanged()

    def run(self, name: str, execution: stages.Execution, force: bool = False) -> StageRun:
        """Bring the outputs of a stage up to date and record it in dvc.lock.

        ``force`` runs its function though nothing that DVC knows of has changed.

        Raises:
            WorkspaceError: code or params changed since the run began (they would not be what the
                snapshot names), or DVC cannot work (no space, a lock held by a run that hangs).
            ModelyardError: what the stage refuses.
        """
        self._check_snapshot(name)
        started, executed = perf_counter(), []
        if name in self._unchanged and not force:
            return StageRun(name, "unchanged", perf_counter() - started)
        with _quiet(), _dispatch(self.root, execution, executed), explained(name):
            reproduced = self._repo.reproduce(targets=[name], single_item=True, force=force)
        outcome: Outcome = "executed" if executed else "restored" if reproduced else "unchanged"
        if outcome != "unchanged":
            self._unchanged = frozenset()
        return StageRun(name, outcome, perf_counter() - started)

    def is_unchanged(self, name: str) -> bool:
        """Whether DVC would skip a stage now, as far as this run knows."""
        return name in self._unchanged

    def restore(self) -> None:
        """Bring the outputs that dvc.lock names from the cache into a fresh worktree.

        Only as far as they are there.
        """
        if not (self.root / "dvc.lock").exists():
            return
        with _quiet(), explained("checkout"):
            self._repo.checkout(force=True, allow_missing=True)

    def push(self) -> int:
        """Copy the outputs of the stages to the configured remote; return the number of files sent.

        Raw rows with personal data stay here.

        Raises:
            ServiceUnavailable: the remote is away or refuses.
        """
        pushed, now = self.root / ".modelyard" / "pushed", self._pushable()
        if pushed.exists() and pushed.read_bytes() == now:
            return 0
        try:
            with _quiet(), explained("push"):
                num_files = self._repo.push(targets=self._shared())
        except Exception as error:
            # Each kind of remote raises errors of its own library.
            remote = self._repo.config["core"].get("remote", "the DVC remote")
            raise ServiceUnavailable(f"{remote}: {error}", "`dvc push` tries again.") from error
        write_atomic(pushed, now)
        return num_files

    def close(self) -> None:
        """Release DVC's databases."""
        self._repo.close()

    def _check_snapshot(self, name: str) -> None:
        changed = [] if self._code_state(name) == self._code[name] else ["its code"]
        if (self.root / "params.yaml").read_bytes() != self._params:
            changed.append("params.yaml")
        if changed:
            raise WorkspaceError(
                f"stage {name}: {' and '.join(changed)} changed since the run began, "
                "so its snapshot would not name what ran",
                "Run again; unchanged stages are not repeated.",
            )

    def _find_unchanged(self) -> frozenset[str]:
        """The stages that DVC would skip now: asked once, as DVC reads all of dvc.yaml each time.

        The answer holds until a stage of this run changes something.
        """
        with _quiet(), explained("status"), self._repo.lock:
            return frozenset(
                name for name, stage in named_stages(self._repo).items() if not stage.changed()
            )

    def _shared(self) -> list[str] | None:
        fields = load(self.root).data.schema_.fields
        if any(field.pii for field in fields):
            return [name for name in stages.STAGES if name != "fetch"]
        return None

    def _pushable(self) -> bytes:
        """What a push depends on: the recorded outputs, and the remote as DVC resolves it."""
        name = self._repo.config["core"].get("remote")
        remote = self._repo.config["remote"].get(name, {})
        place = [name, str(remote.get("url")), str(remote.get("endpointurl"))]
        recorded = sha256_file(self.root / "dvc.lock")
        return hashlib.sha256(canonical([recorded, place])).hexdigest().encode()

    def _code_state(self, name: str) -> dict[str, tuple[int, int]]:
        code = [path for path in stages.dependencies(name, self.root) if path.parts[0] not in _DATA]
        return stages.fingerprint(code, self.root)


def _mend_rwlock(root: Path) -> None:
    """Remove DVC's note of who reads and writes what, where a kill cut its writing short.

    DVC does not write it atomically, and refuses every command while it is damaged. Another
    command may be writing it just now: it is read a few times before it counts as damaged.
    """
    path = root / ".dvc" / "tmp" / "rwlock"
    for _ in range(5):
        try:
            json.loads(path.read_bytes())
        except FileNotFoundError:
            return
        except ValueError:
            sleep(0.05)
        else:
            return
    path.unlink(missing_ok=True)


def open_repo(root: Path) -> "Repo":
    """Open the DVC repository in ``root``.

    Commands wait for another's lock instead of failing after 3 s.

    Raises:
        WorkspaceError: there is none.
    """
    from dvc.exceptions import NotDvcRepoError
    from dvc.repo import Repo
    from dvc.scm import SCMError

    try:
        return Repo(str(root), _wait_for_lock=True)
    except SCMError as error:
        check_repository(root)
        raise WorkspaceError(f"git: {error}") from error
    except NotDvcRepoError:
        raise WorkspaceError(
            f"{root.resolve()} has no .dvc folder", "Clone the project whole, or run `dvc init`."
        ) from None


def named_stages(repo: Any) -> dict[str, Any]:
    """The stages of dvc.yaml by name, as they must be.

    Raises:
        WorkspaceError: one is missing, or has another command than ours.
    """
    found = {getattr(stage, "name", ""): stage for stage in repo.index.stages}
    for name in stages.STAGES:
        if name not in found or found[name].cmd != f"modelyard stage {name}":
            raise WorkspaceError(
                f"dvc.yaml has no stage {name} with the command `modelyard stage {name}`",
                "Restore it: `git checkout dvc.yaml`.",
            )
    return {name: found[name] for name in stages.STAGES}


@contextmanager
def _dispatch(root: Path, execution: stages.Execution, executed: list[str]) -> Iterator[None]:
    """While inside, DVC runs a stage's function in this process.

    It does so instead of running its command in a shell.
    """
    import dvc.stage.run as module

    def call(stage: Any, dry: bool = False, run_env: Any = None) -> None:
        assert not dry
        assert not run_env
        executed.append(stage.name)
        stages.execute(stage.name, root, execution)

    original, module.cmd_run = module.cmd_run, call
    try:
        yield
    finally:
        module.cmd_run = original


@contextmanager
def explained(doing: str) -> Iterator[None]:
    """Let our own errors through DVC's wrapping as they were raised; name the cause of DVC's."""
    from dvc.exceptions import DvcException
    from ruamel.yaml.error import YAMLError
    from voluptuous import Invalid

    try:
        yield
    except DvcException as error:
        cause: BaseException = error
        while cause.__cause__ is not None and not isinstance(cause, ModelyardError | OSError):
            cause = cause.__cause__
        if isinstance(cause, FileNotFoundError):
            raise WorkspaceError(
                f"{doing}: {cause.filename} is missing",
                "Restore it, for instance by `git checkout`.",
            ) from error
        if isinstance(cause, Invalid | YAMLError):
            raise _damaged(doing, cause) from error
        if isinstance(cause, ModelyardError | OSError) or not isinstance(cause, DvcException):
            raise cause from None
        raise WorkspaceError(f"{doing}: {cause}") from error
    except (ValueError, TypeError, KeyError, AttributeError, Invalid, YAMLError) as error:
        if isinstance(error, ModelyardError):
            raise
        raise _damaged(doing, error) from error


def _damaged(doing: str, error: BaseException) -> WorkspaceError:
    problem = f"{type(error).__name__} {error}".strip().partition("\n")[0]
    return WorkspaceError(
        f"{doing}: dvc.yaml, dvc.lock or .dvc/config is damaged: {problem}",
        "Restore it by `git checkout`; without dvc.lock, finished stages come from the cache.",
    )


@contextmanager
def _quiet() -> Iterator[None]:
    """Silence DVC's own progress and log lines: the run shows its own."""
    loggers = [logging.getLogger(name) for name in ("dvc", "dvc_data", "dvc_objects")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
