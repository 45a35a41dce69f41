"""The challenger as a shadow: fetched, verified, and pointed to by ``shadow.json``.

Its answers are for nobody, so that no verdict is asked for; a trusted signature is.
"""

import logging
import time
from dataclasses import dataclass, field

from modelyard.errors import ModelyardError, ServiceUnavailable, WorkspaceError
from modelyard.follower.fetch import Fetcher
from modelyard.follower.folder import ModelFolder
from modelyard.follower.records import Release, State
from modelyard.mlflow_api.types import RegisteredModel
from modelyard.params.serve import Shadow
from modelyard.registry import tags

_logger = logging.getLogger(__name__)

_AGAIN_S = 60.0
"""After this a version that could not be had is tried again."""


@dataclass
class ShadowFollower:
    """Lets ``shadow.json`` follow the alias ``challenger``.

    Args:
        fetcher: Brings versions.
    """

    fetcher: Fetcher
    _checked: dict[str, Release] = field(default_factory=dict)
    _failed: dict[str, tuple[int, float]] = field(default_factory=dict)

    def forget(self) -> None:
        """Look again at everything: the registry was away."""
        self._checked.clear()

    def follow(self, folder: ModelFolder, model: RegisteredModel, terms: Shadow | None) -> None:
        """Take the next step.

        Raises:
            ServiceUnavailable: MLflow is away.
            WorkspaceError: the folder cannot be written.
            Busy: somebody else changes it.
        """
        challenger = model.aliases.get(tags.CHALLENGER) if terms else None
        if challenger is None and not (folder.path / "shadow.json").exists():
            return
        state = folder.read()
        if challenger is None or not _is_apart(challenger, state):
            self._remove(folder, state)
        else:
            known = self._checked.get(folder.name)
            if known is None or known != state.shadow or known.version != challenger:
                self._bring(folder, state, challenger)

    def _bring(self, folder: ModelFolder, state: State, challenger: int) -> None:
        failed = self._failed.get(folder.name)
        if failed and failed[0] == challenger and time.monotonic() < failed[1] + _AGAIN_S:
            return
        version = self.fetcher.registry.get_version(folder.name, challenger)
        if version is None:
            self._remove(folder, state)
            return
        try:
            release = self.fetcher.fetch_unjudged(folder, version)
        except (ServiceUnavailable, WorkspaceError):
            raise
        except ModelyardError as error:
            self._failed[folder.name] = challenger, time.monotonic()
            _logger.error("version %d of %s is no shadow: %s", challenger, folder.name, error)
            self._remove(folder, state)
            return
        self._failed.pop(folder.name, None)
        with folder.hold():
            if state.shadow != release:
                folder.point_shadow(release)
                folder.prune()
                _logger.info("version %d of %s is its shadow", challenger, folder.name)
        self._checked[folder.name] = release

    def _remove(self, folder: ModelFolder, state: State) -> None:
        self._checked.pop(folder.name, None)
        if state.shadow is not None:
            with folder.hold():
                folder.remove_shadow()


def _is_apart(challenger: int, state: State) -> bool:
    """Whether the challenger answers nobody yet; without a live version nobody is answered."""
    if state.confirmed is None or state.pointer is None:
        return False
    taken = {state.pointer.release.version}
    if state.canary is not None:
        taken.add(state.canary.release.version)
    return challenger not in taken
