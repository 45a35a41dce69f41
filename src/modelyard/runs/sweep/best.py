"""The best trial as a whole run: judged on the test split, compressed, registered, gated."""

import logging
from dataclasses import dataclass
from pathlib import Path

from modelyard.artifacts import read_json
from modelyard.errors import ModelyardError, ServiceUnavailable
from modelyard.params.sweep import as_overrides
from modelyard.runs import isolated, snapshot
from modelyard.runs.janitor import remove_worktree
from modelyard.runs.publish import connect
from modelyard.runs.sweep.record import SWEEP, TRIAL
from modelyard.runs.sweep.study import Study
from modelyard.runs.sweep.trials import Trial

GATED = "promote.mode=manual"
"""A sweep asks for no promotion: its version passes the gate or not, and waits for a person."""

_log = logging.getLogger(__name__)


class SweepFailed(ModelyardError):  # noqa: N818 - the name says what happened
    """No trial of a sweep finished, or the run of the best one failed."""


@dataclass(frozen=True)
class Registered:
    """The run of the best trial; ``version`` is None where MLflow was away."""

    run_id: str
    digest: str
    version: int | None = None
    aliases: tuple[str, ...] = ()


def choose(study: Study) -> Trial:
    """The best trial.

    Raises:
        SweepFailed: none has finished; the message has the first one's reason.
    """
    if (best := study.best) is not None:
        return best
    first = study.trials[0]
    raise SweepFailed(
        f"none of {len(study.trials)} trials of the sweep {study.params.name} has finished; "
        f"trial 0: {first.reason}",
        f"Mend what it names; to try the same again, delete {study.folder}.",
    )


def run_best(study: Study, best: Trial) -> Registered:
    """Run the pipeline in a worktree of the sweep's snapshot with the params of a trial.

    Its training comes from the cache. Done again for the same trial, it finds its version.

    Raises:
        SweepFailed: the run failed; its own lines say why.
    """
    root, settings, run_id = study.root, study.settings, snapshot.new_run_id()
    assert study.base is not None
    overrides = [*as_overrides(best.params), GATED]
    worktree = isolated.set_up(root, settings, run_id, overrides, None, study.base.commit)
    try:
        status = isolated.run_in(worktree, settings, run_id)
        if status:
            raise SweepFailed(
                f"the run of trial {best.number} ended with status {status}",
                "Its last lines say why; the same command runs it again.",
            )
        isolated.keep(root, worktree, run_id)
        digest = _digest(worktree)
    finally:
        remove_worktree(root, worktree)
    return _found(study, best, Registered(run_id, digest))


def _digest(worktree: Path) -> str:
    return read_json(worktree / "models/package/manifest.json")["digest"]


def _found(study: Study, best: Trial, run: Registered) -> Registered:
    """The run with its version, which is told of the sweep that it comes from."""
    from modelyard.registry.register import find_version

    try:
        with connect(study.settings) as api:
            if (found := find_version(api, study.model, run.digest)) is None:
                return run
            for key, value in ((SWEEP, study.params.name), (TRIAL, str(best.number))):
                api.set_version_tag(study.model, found.version, key, value)
            version = api.get_version(study.model, found.version)
            aliases = version.aliases if version else ()
            return Registered(run.run_id, run.digest, found.version, aliases)
    except ServiceUnavailable as error:
        _log.warning("registered later, by `modelyard register`: %s", error.message)
        return run
