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
from modelyard.follower.audit import Wish, who_moved
from modelyard.follower.canary import withdraw
from modelyard.follower.fetch import Fetcher, Registry
from modelyard.follower.folder import Busy, ModelFolder, list_folders
from modelyard.follower.patience import Patience
from modelyard.follower.records import CanaryPointer, Pin, Refusal, Release, State
from modelyard.follower.serve_params import ServeFiles
from modelyard.follower.settle import settle
from modelyard.follower.shadow import ShadowFollower
from modelyard.follower.trail import record_event, record_reconciled, record_refusal
from modelyard.mlflow_api.types import RegisteredModel, RegisteredVersion
from modelyard.registry import tags
from modelyard.registry.copies import describe_release

_logger = logging.getLogger(__name__)

# MLflow takes 5000 characters in a tag; a person reads fewer.
_REASON_LENGTH = 500


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
    _shadows: ShadowFollower = field(init=False)

    def __post_init__(self) -> None:
        self._shadows = ShadowFollower(self.fetcher)

    def tick(self) -> bool:
        """Take the next steps for every model.

        Returns:
            Whether a worker is at work on a version, so that it is worth looking again soon.

        Raises:
            ServiceUnavailable: MLflow is away; what needs only the folder has been done.
        """
        for folder in list_folders(self.root):
            with self._trouble(f"{folder.name} (folder)"), folder.hold():
                self.serve.write(folder.path, folder.name)
                settle(folder, self.state_dir, self.patience)
        try:
            for model in self._models():
                with self._trouble(model.name):
                    folder = ModelFolder(self.root, model.name)
                    self._follow(folder, model)
                    self._shadows.follow(folder, model, self.serve.of(model.name).shadow)
        except ServiceUnavailable:
            self._shadows.forget()
            self._checked.clear()  # it may come back with other versions under the same numbers
            raise
        return any(self._is_busy(folder) for folder in list_folders(self.root))

    def _is_busy(self, folder: ModelFolder) -> bool:
        with self._trouble(f"{folder.name} (folder)"):
            state = folder.read()
            loads = state.canary is not None and state.canary.since is None
            return (loads or not state.is_settled) and bool(folder.live_workers())
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
        if state.canary is not None and state.canary.release.version != champion:
            state = self._withdraw(folder, state.canary, champion)
        if champion is None:
            self._forget(folder, state)
        elif not self._is_refused(folder, state, champion):
            self._bring(folder, state, champion)

    # ---- what serves -> the registry

    def _publish(self, folder: ModelFolder, model: RegisteredModel, state: State) -> None:
        """Let ``live``, ``previous`` and the tags say what the folder's history says.

        Followers of other folders write the same aliases. Lest two that serve different versions
        undo each other's words for ever, each tells its news once, and puts right what is wrong.
        """
        live = state.confirmed
        if live is None:
            return
        version, said = live.release.version, model.aliases.get(tags.LIVE)
        if said != version and not self._has_digest(folder.name, live.release):
            message = f"version {version} serves, but the registry does not have it any more"
            self._report(f"{folder.name} live", message)
            return
        if not live.published:
            self._tag_live(folder.name, version)
        if not live.published or (said != version and self._is_wrong(model, version, said)):
            former = state.previous and state.previous.release
            if former is not None and self._has_digest(folder.name, former):
                self._set_alias(model, tags.PREVIOUS, former.version)
            self._set_alias(model, tags.LIVE, version)
        if not live.published:
            with folder.hold():
                # Once more, in case a kill came between the history and the log.
                record_event(folder, self.state_dir, live)
                folder.mark_published(live)

    def _is_wrong(self, model: RegisteredModel, version: int, said: int | None) -> bool:
        """Whether ``live`` may not name ``said`` where this folder's workers serve ``version``.

        It may if that served somewhere, unless ours is the one that is wanted.
        """
        if said is None or version == model.aliases.get(tags.CHAMPION):
            return True
        other = self.registry.get_version(model.name, said)
        return other is None or tags.WAS_LIVE not in other.tags

    def _tag_live(self, name: str, version: int) -> None:
        self.registry.set_version_tag(name, version, tags.WAS_LIVE, "true")
        tagged = self.registry.get_version(name, version)
        if tagged is not None and tags.REFUSED in tagged.tags:
            self.registry.delete_version_tag(name, version, tags.REFUSED)

    def _set_alias(self, model: RegisteredModel, alias: str, version: int) -> None:
        if model.aliases.get(alias) != version:
            self.registry.set_alias(model.name, alias, version)

    def _has_digest(self, name: str, release: Release) -> bool:
        version = self.registry.get_version(name, release.version)
        return version is not None and version.tags.get(tags.DIGEST) == release.digest

    # ---- the registry -> what serves

    def _bring(self, folder: ModelFolder, state: State, champion: int) -> None:
        """Fetch the champion and point to it, unless that is done."""
        pointer = state.canary or state.pointer
        if pointer is not None and pointer.release.version == champion:
            if self._checked.get(folder.name) == (champion, pointer.sequence):
                return
            if self._has_digest(folder.name, pointer.release):
                self._checked[folder.name] = (champion, pointer.sequence)
                return
        version = self.registry.get_version(folder.name, champion)
        if version is None or version.status == "PENDING_REGISTRATION":
            return
        moved = who_moved(self.registry.alias_moves, version)
        try:
            release = self.fetcher.fetch(folder, version)
        except (ServiceUnavailable, WorkspaceError):
            raise
        except ModelyardError as error:
            self._refuse(folder, state, version, error, moved)
            return
        verdict = describe_release(self.registry.get_version, version, self.fetcher.trusted)
        with folder.hold():
            now = folder.read()
            if (now.pointer, now.pin, now.canary) == (state.pointer, state.pin, state.canary):
                folder.note_verdict(release, verdict)
                folder.note_wish(release, moved.path, moved.by)
                self._point(folder, now, release)

    def _point(self, folder: ModelFolder, state: State, release: Release) -> None:
        """Point to a release, or let it prove itself as a canary beside what is live first.

        A former live version has done that.
        """
        terms = self.serve.of(folder.name).canary
        former = {event.release for event in state.history}
        if terms is None or state.confirmed is None or release in former:
            folder.point(release, pinned=False)
            return
        if not state.is_settled:
            # Another wish was on its way, which nobody has any more.
            folder.revert()
        folder.point_canary(release, terms)

    def _withdraw(self, folder: ModelFolder, canary: CanaryPointer, champion: int | None) -> State:
        to = "taken away" if champion is None else f"moved to version {champion}"
        with folder.hold():
            if folder.read().canary == canary:
                withdraw(folder, self.state_dir, canary, f"the alias champion was {to}")
            return folder.read()

    def _refuse(
        self,
        folder: ModelFolder,
        state: State,
        version: RegisteredVersion,
        error: ModelyardError,
        moved: Wish,
    ) -> None:
        champion, digest = version.version, version.tags.get(tags.DIGEST, "")
        verdict = describe_release(self.registry.get_version, version, self.fetcher.trusted)
        with folder.hold():
            now = folder.read()
            if now.pin is not None:
                return
            reason = error.message[:_REASON_LENGTH]
            refusal = Refusal.new(Release(champion, digest), reason)
            folder.note_verdict(refusal.release, verdict)
            folder.note_wish(refusal.release, moved.path, moved.by)
            folder.write_refusal(refusal)
            record_refusal(folder, self.state_dir, refusal)
            if now.canary is not None:
                folder.remove_canary()
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
        with folder.hold():
            folder.forget_refusal()
        return False

    def _forget(self, folder: ModelFolder, state: State) -> None:
        """Without a champion no refusal lasts: whoever sets the alias next asks anew."""
        if state.refusal is not None and state.is_settled:
            with folder.hold():
                folder.forget_refusal()

    def _tell_refusal(self, folder: ModelFolder, refusal: Refusal) -> None:
        version, reason = refusal.release.version, refusal.reason[:_REASON_LENGTH]
        if self.registry.get_version(folder.name, version) is not None:
            self.registry.set_version_tag(folder.name, version, tags.REFUSED, reason)
        with folder.hold():
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
            with folder.hold():
                folder.write_refusal(Refusal.new(Release(champion, digest), reason))
        with folder.hold():
            if folder.read().pin == pin:
                record_reconciled(folder, self.state_dir, pin, champion)
                folder.unpin()

    @contextmanager
    def _trouble(self, name: str) -> Iterator[None]:
        """Report what is wrong with one model, once, and go on with the others."""
        try:
            yield
        except Busy:
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
