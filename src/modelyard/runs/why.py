"""Whether a stage would run again, and because of which file, param or code."""

from dataclasses import dataclass
from pathlib import Path

from modelyard.params import load
from modelyard.runs.pin import look, moved_on
from modelyard.runs.reproduce import explained, named_stages, open_repo
from modelyard.stages import STAGES


@dataclass(frozen=True)
class Reason:
    """One cause: ``kind`` is code, data, param, output, definition or upstream."""

    kind: str
    name: str
    state: str


@dataclass(frozen=True)
class Forecast:
    """A stage and why it would run again; no reason means that it would not."""

    stage: str
    reasons: tuple[Reason, ...]


def forecast(root: Path, only: str | None = None, ask: bool = False) -> list[Forecast]:
    """For each stage (or one), the reasons for which a run now would not skip it.

    ``ask``: a source without a pin is looked at as well, which may ask a server.

    Raises:
        WorkspaceError: DVC cannot read the project.
    """
    repo, params = open_repo(root), load(root).data
    result: list[Forecast] = []
    stale: set[str] = set()
    with explained("status"), repo.lock:
        by_name = named_stages(repo)
        for name in STAGES:
            stage = by_name[name]
            reasons = _reasons(stage)
            if name == "fetch" and moved_on(root, params):
                reasons.append(Reason("data", params.source, "not the file of data.sha256"))
            elif name == "fetch" and ask and look(root, params).outdated:
                reasons.append(Reason("data", params.source, "not pinned, and may be another now"))
            for upstream in _upstream(stage, by_name):
                if upstream in stale:
                    reasons.append(Reason("upstream", upstream, "would run again"))
            if reasons:
                stale.add(name)
            result.append(Forecast(name, tuple(reasons)))
    repo.close()
    return [item for item in result if only in (None, item.stage)]


def _reasons(stage) -> list[Reason]:  # noqa: ANN001 - DVC's own type, imported late
    reasons = []
    for dep in () if stage.frozen else stage.deps:
        for place, state in dep.workspace_status().items():
            if isinstance(state, dict):
                reasons += [Reason("param", key, value) for key, value in state.items()]
            else:
                kind = "data" if place.startswith(("data/", "models/", "metrics/")) else "code"
                reasons.append(Reason(kind, place, state))
    for out in stage.outs:
        reasons += [
            Reason("output", place, state) for place, state in out.workspace_status().items()
        ]
    if stage.changed_stage():
        reasons.append(Reason("definition", "dvc.yaml", "modified" if stage.md5 else "never run"))
    return reasons


def _upstream(stage, by_name: dict) -> list[str]:  # noqa: ANN001
    produced = {out.fs_path: name for name, other in by_name.items() for out in other.outs}
    return [produced[dep.fs_path] for dep in stage.deps if dep.fs_path in produced]
