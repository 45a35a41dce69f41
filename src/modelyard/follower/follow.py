"""The follower: what serves follows the alias ``champion``; the other aliases follow what serves.

Each tick reads where things are and takes the next steps; nothing that matters is kept in memory.
So it may be killed between any two writes, and MLflow or the server may go and come: later ticks
converge.
"""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

from modelyard.errors import ModelyardError, ServiceUnavailable, WorkspaceError
from modelyard.follower.fetch import Fetcher, Registry
from modelyard.follower.folder import ModelFolder, list_folders
from modelyard.follower.records import Event, Pin, Refusal, Release, State
from modelyard.follower.serve_params import ServeFiles
from modelyard.follower.settle import (
    Patience,
    record_event,
    record_reconciled,
    record_refusal,
    settle,
)
from modelyard.mlflow_api.types import RegisteredModel, RegisteredVersion
from modelyard.registry import tags
from modelyard.registry.verdict import describe_verdict

_logger = logging.getLogger(__name__)

# MLflow takes 5000 characters in a tag; a person reads fewer.
_REASON_LENGTH = 500


class _Busy(Exception):  # noqa: N818 - no error: a rollback is at work, the next tick goes on
    pass


@dataclass
class Follower:
    """Follows the registered models ``names``, or all that have a champion.

    Args:
        registry: MLflow.
        fetcher: Brings versions.
        root: The serving folder.
        state_dir: Where the audit log is.
        names: Registered models; empty for all.
        patience: With the workers.
        serve: How each model is to be served.
    """

    registry: Registry
    fetcher: Fetcher
    root: Path
    state_dir: Path
    names: tuple[str, ...] = ()
    patience: Patience = field(default_factory=Patience)
    serve: ServeFiles = field(default_factory=ServeFiles)
    _checked: dict[str, tuple[int, int]] = field(default_factory=dict)
    _troubles: dict[str, str] = field(default_factory=dict)

    def tick(self) -> bool:
        """Take the next steps for every model.

        Returns:
            Whether a worker is at work on a version, so that it is worth looking again soon.

        Raises:
            ServiceUnavailable: MLflow is away; what needs only the folder has been done.
        """
        for folder in list_folders(self.root):
            with self._trouble(f"{folder.name} (folder)"), _locked(folder):
                self.serve.write(folder.path, folder.name)
                settle(folder, self.state_dir, self.patience)
        try:
            for model in self._models():
                with self._trouble(model.name):
                    self._follow(ModelFolder(self.root, model.name), model)
        except ServiceUnavailable:
            self._checked.clear()  # it may come back with other versions under the same numbers
            raise
        return any(self._is_busy(folder) for folder in list_folders(self.root))

    def _is_busy(self, folder: ModelFolder) -> bool:
        with self._trouble(f"{folder.name} (folder)"):
            return not folder.read().is_settled and bool(folder.live_workers())
        return False

    def _models(self) -> list[RegisteredModel]:
        if not self.names:
            return self.registry.search_registered_models()
        found = [self.registry.get_registered_model(name) for name in self.names]
        return [model for model in found if model is not None]

    def _follow(self, folder: ModelFolder, model: RegisteredModel) -> None:
        champion = model.aliases.get(tags.CHAMPION)
        if champion is None and not folder.path.exists():
            return
        state = folder.read()
        if state.pin is not None:
            self._reconcile(folder, model, state, state.pin)
            return
        self._publish(folder, model, state)
        if champion is None:
            self._forget(folder, state)
        elif not self._is_refused(folder, state, champion):
            self._bring(folder, state, champion)

    # ---- what serves -> the registry

    def _publish(self, folder: ModelFolder, model: RegisteredModel, state: State) -> None:
        """Let ``live``, ``previous`` and the tags say what the folder's history says."""
        live = state.confirmed
        if live is None:
            return
        version = live.release.version
        if model.aliases.get(tags.LIVE) != version and not self._has_digest(
            folder.name, live.release
        ):
            message = f"version {version} serves, but the registry does not have it any more"
            self._report(f"{folder.name} live", message)
            return
        wanted = {tags.LIVE: live.release, tags.PREVIOUS: state.previous and state.previous.release}
        for alias, release in wanted.items():
            if release is None or model.aliases.get(alias) == release.version:
                continue
            if alias == tags.LIVE or self._has_digest(folder.name, release):
                self.registry.set_alias(folder.name, alias, release.version)
        if not live.published:
            self._tell(folder, live)

    def _tell(self, folder: ModelFolder, event: Event) -> None:
        version = event.release.version
        self.registry.set_version_tag(folder.name, version, tags.WAS_LIVE, "true")
        tagged = self.registry.get_version(folder.name, version)
        if tagged is not None and tags.REFUSED in tagged.tags:
            self.registry.delete_version_tag(folder.name, version, tags.REFUSED)
        with _locked(folder):
            # Once more, in case a kill came between the history and the log.
            record_event(folder, self.state_dir, event)
            folder.mark_published(event)

    def _has_digest(self, name: str, release: Release) -> bool:
        version = self.registry.get_version(name, release.version)
        return version is not None and version.tags.get(tags.DIGEST) == release.digest

    # ---- the registry -> what serves

    def _bring(self, folder: ModelFolder, state: State, champion: int) -> None:
        """Fetch the champion and point to it, unless that is done."""
        pointer = state.pointer
        if pointer is not None and pointer.release.version == champion:
            if self._checked.get(folder.name) == (champion, pointer.sequence):
                return
            if self._has_digest(folder.name, pointer.release):
                self._checked[folder.name] = (champion, pointer.sequence)
                return
        version = self.registry.get_version(folder.name, champion)
        if version is None or version.status == "PENDING_REGISTRATION":
            return
        try:
            release = self.fetcher.fetch(folder, version)
        except (ServiceUnavailable, WorkspaceError):
            raise
        except ModelyardError as error:
            self._refuse(folder, state, version, error)
            return
        with _locked(folder):
            now = folder.read()
            if (now.pointer, now.pin) == (state.pointer, state.pin):
                folder.note_verdict(release, describe_verdict(version, self.fetcher.trusted))
                folder.point(release, pinned=False)

    def _refuse(
        self, folder: ModelFolder, state: State, version: RegisteredVersion, error: ModelyardError
    ) -> None:
        champion, digest = version.version, version.tags.get(tags.DIGEST, "")
        verdict = describe_verdict(version, self.fetcher.trusted)
        with _locked(folder):
            if folder.read().pin is not None:
                return
            reason = error.message[:_REASON_LENGTH]
            refusal = Refusal.new(Release(champion, digest), reason)
            folder.note_verdict(refusal.release, verdict)
            folder.write_refusal(refusal)
            record_refusal(folder, self.state_dir, refusal)
            pointer = state.pointer
            if not state.is_settled and pointer is not None and pointer.release.version != champion:
                # Another wish was on its way, which nobody has any more.
                folder.revert()
        _logger.error("refused version %d of %s: %s", champion, folder.name, refusal.reason)
        self._tell_refusal(folder, refusal)

    def _is_refused(self, folder: ModelFolder, state: State, champion: int) -> bool:
        """Whether this champion was refused before, and nobody has asked to try again.

        A person asks by taking the tag away, or by moving the alias away and back.
        """
        refusal = state.refusal
        if refusal is None:
            return False
        if refusal.release.version == champion:
            if not refusal.tagged:
                self._tell_refusal(folder, refusal)
                return True
            version = self.registry.get_version(folder.name, champion)
            if version is not None and tags.REFUSED in version.tags:
                return True
        with _locked(folder):
            folder.forget_refusal()
        return False

    def _forget(self, folder: ModelFolder, state: State) -> None:
        """Without a champion no refusal lasts: whoever sets the alias next asks anew."""
        if state.refusal is not None and state.is_settled:
            with _locked(folder):
                folder.forget_refusal()

    def _tell_refusal(self, folder: ModelFolder, refusal: Refusal) -> None:
        version, reason = refusal.release.version, refusal.reason[:_REASON_LENGTH]
        if self.registry.get_version(folder.name, version) is not None:
            self.registry.set_version_tag(folder.name, version, tags.REFUSED, reason)
        with _locked(folder):
            record_refusal(folder, self.state_dir, refusal)
            folder.write_refusal(replace(refusal, tagged=True))

    # ---- a rollback

    def _reconcile(
        self, folder: ModelFolder, model: RegisteredModel, state: State, pin: Pin
    ) -> None:
        """Tell the registry of a rollback that all workers followed, then take the pin away."""
        live = state.confirmed
        if live is None or live.release != pin.release or not state.is_settled:
            return
        champion = model.aliases.get(tags.CHAMPION)
        if self._has_digest(folder.name, pin.release):
            if champion != pin.release.version:
                self.registry.set_alias(folder.name, tags.CHAMPION, pin.release.version)
            self._publish(folder, model, state)
        elif champion is not None:
            # The version is gone from the registry: what was rolled back must not return instead.
            version = self.registry.get_version(folder.name, champion)
            digest = version.tags.get(tags.DIGEST, "") if version else ""
            reason = f"rolled back: {pin.reason}"
            with _locked(folder):
                folder.write_refusal(Refusal.new(Release(champion, digest), reason))
        with _locked(folder):
            if folder.read().pin == pin:
                record_reconciled(folder, self.state_dir, pin, champion)
                folder.unpin()

    @contextmanager
    def _trouble(self, name: str) -> Iterator[None]:
        """Report what is wrong with one model, once, and go on with the others."""
        try:
            yield
        except _Busy:
            return
        except ServiceUnavailable:
            raise
        except (ModelyardError, OSError) as error:
            self._report(name, str(error))
        else:
            self._troubles.pop(name, None)

    def _report(self, subject: str, message: str) -> None:
        """Log a lasting trouble once, not every tick."""
        if self._troubles.get(subject) != message:
            self._troubles[subject] = message
            _logger.error("%s: %s", subject, message)


@contextmanager
def _locked(folder: ModelFolder) -> Iterator[None]:
    with folder.lock() as held:
        if not held:
            raise _Busy
        yield


def check_folder(root: Path) -> None:
    """Make the serving folder and clear what a killed follower left in it.

    Raises:
        WorkspaceError: it cannot be written.
    """
    try:
        root.mkdir(parents=True, exist_ok=True)
        for folder in list_folders(root):
            folder.sweep()
    except OSError as error:
        raise WorkspaceError(
            f"the serving folder {root} cannot be written: {error.strerror}",
            "Free space or rights.",
        ) from None
